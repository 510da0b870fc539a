"""What every baseline must bear: a new one is tested by being registered."""

import copy
import inspect
import json
import pickle
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import docstring_parser
import lightning as L
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from odd_digits import NAMES, STEP_HINT, OddDigits, make, representatives

from algoperf_lightning import Submission, baselines, get_submission
from algoperf_lightning.testing import train
from algoperf_lightning.tuning.search_space import SearchSpace

CONFIGS = Path(str(files("algoperf_lightning.configs")))
OURS = [name for name in NAMES if get_submission(name).__module__.startswith(baselines.__name__)]
# The class has the current list of points; the file of its name is the paper's space.
SPACES = {"nadamw": "nadamw_full_budget"}

every = pytest.mark.parametrize("name", NAMES)
each_family = pytest.mark.parametrize("name", representatives())
each_of_ours = pytest.mark.parametrize("name", OURS)


def states_of(workload):
    return {name: value.clone() for name, value in workload.network.state_dict().items()}


def assert_equal(ones, others):
    differing = [name for name in ones if not torch.equal(ones[name], others[name])]
    assert not differing


@pytest.mark.slow
@every
def test_goes_on_bit_for_bit_through_all_it_does_at_times(name, tmp_path):
    """Twice the step hint: roots, snapshots, restarts, the end of the schedule; stopped just before most of them."""
    unbroken, broken, resumed = (OddDigits(make(name)) for _ in range(3))
    train(unbroken, 2 * STEP_HINT, tmp_path)
    trainer = train(broken, STEP_HINT - 1, tmp_path)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    train(resumed, 2 * STEP_HINT, tmp_path, checkpoint=tmp_path / "stopped.ckpt")
    assert_equal(states_of(unbroken), states_of(resumed))
    assert all(value.isfinite().all() for value in states_of(unbroken).values())


@every
def test_a_parameter_without_gradient_stays(name, tmp_path):
    workload = OddDigits(make(name))
    train(workload, 5, tmp_path)
    assert torch.equal(workload.network.unused, torch.ones(3, 2))
    assert workload.network.unused.grad is None
    assert workload.network.tied.weight is workload.network.codes.weight
    assert workload.network.scale.item() != 1.0


@each_family
def test_trains_in_mixed_precision(name, tmp_path):
    exact, mixed = (OddDigits(make(name)) for _ in range(2))
    train(exact, 6, tmp_path)
    train(mixed, 6, tmp_path, precision="bf16-mixed")
    fresh = OddDigits(make(name))
    fresh.configure_model()
    start, end, reference = states_of(fresh), states_of(mixed), states_of(exact)
    for key in ("conv.weight", "first.weight", "codes.weight", "scale", "norm.running_mean"):
        assert end[key].dtype is torch.float32
        assert end[key].isfinite().all()
        moved, apart = (reference[key] - start[key]).norm(), (end[key] - reference[key]).norm()
        assert moved > 0, key
        assert apart < 0.8 * moved, f"{key} went elsewhere"


class LargestNorm(L.Callback):
    def __init__(self):
        self.norms = []

    def on_train_batch_end(self, trainer, pl_module, *args):
        gradients = [p.grad for p in pl_module.network.parameters() if p.grad is not None]
        self.norms.append(torch.nn.utils.get_total_norm(gradients).item())


@each_family
def test_gradients_are_clipped(name, tmp_path):
    seen = []
    for limit in (None, 0.01):
        submission = make(name)
        submission.gradient_clip = limit
        train(OddDigits(submission), 4, tmp_path, callbacks=[norms := LargestNorm()])
        seen.append(max(norms.norms))
    assert seen[0] > 0.02
    assert 0.0099 < seen[1] < 0.0101


@pytest.mark.slow
@each_family
def test_trains_a_compiled_model_as_any_other(name, tmp_path):
    plain, compiled = (OddDigits(make(name)) for _ in range(2))
    torch._dynamo.reset()
    compiled.configure_model()
    compiled.network.compile(backend="eager", fullgraph=True)
    for workload in (plain, compiled):
        train(workload, 4, tmp_path)
    torch._dynamo.reset()
    ones, others = states_of(plain), states_of(compiled)
    assert ones.keys() == others.keys()
    for key, value in ones.items():
        torch.testing.assert_close(others[key], value, rtol=1e-4, atol=1e-5, msg=key)


@every
def test_evaluations_leave_training_alone(name, tmp_path):
    class Evaluate(L.Callback):
        """As TimeBudget does around an evaluation."""

        def on_train_batch_end(self, trainer, pl_module, *args):
            pl_module.submission.before_evaluation(pl_module.network)
            pl_module.submission.after_evaluation(pl_module.network)

    plain, evaluated = (OddDigits(make(name)) for _ in range(2))
    train(plain, STEP_HINT, tmp_path)
    train(evaluated, STEP_HINT, tmp_path, callbacks=[Evaluate()])
    assert_equal(states_of(plain), states_of(evaluated))


@each_of_ours
def test_its_search_space_is_the_file_of_its_name(name):
    submission = get_submission(name)
    path = CONFIGS / "search_spaces" / f"{SPACES.get(name, name)}.json"
    if submission.search_space is None:
        assert not path.exists()
        return
    assert json.loads(path.read_text()) == json.loads(json.dumps(submission.search_space))
    assert SearchSpace.load(path, submission) == SearchSpace.of(submission)
    if isinstance(submission.search_space, dict):  # the order decides which sequence a key is drawn from
        assert list(json.loads(path.read_text())) == list(submission.search_space)


@each_of_ours
def test_its_configs_make_it(name):
    submission = get_submission(name)
    config = yaml.safe_load((CONFIGS / "submissions" / f"{name}.yaml").read_text())["submission"]
    assert config["class_path"] == f"algoperf_lightning.baselines.{submission.__name__}"
    assert isinstance(submission(**config.get("init_args", {})), submission)


def test_every_config_names_a_baseline_and_says_how_to_use_it():
    for path in (CONFIGS / "submissions").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())["submission"]
        assert f"--config submissions/{path.stem}" in path.read_text()
        module, _, cls = config["class_path"].rpartition(".")
        getattr(import_module(module), cls)(**config.get("init_args", {}))


@each_of_ours
def test_every_argument_has_a_default_and_is_described_in_docstring_and_help(name):
    submission = get_submission(name)
    signature = inspect.signature(submission).parameters
    described = docstring_parser.parse(submission.__doc__).params
    assert [each.arg_name for each in described if each.args[0] == "param"] == list(signature)
    arguments = {key: argument for key, argument in signature.items() if argument.kind is not argument.VAR_KEYWORD}
    assert [key for key, argument in arguments.items() if argument.default is argument.empty] == []
    parser = ArgumentParser()
    parser.add_class_arguments(submission)
    helps = {action.dest: action.help for action in parser._actions if action.dest in arguments}
    assert list(helps) == list(arguments)
    assert all(text.strip().endswith(".") for text in helps.values()), helps


def attributes(submission):
    """Those of a wrapped submission too, which has no equality."""
    return {
        key: attributes(value) if isinstance(value, Submission) else value for key, value in vars(submission).items()
    }


@each_of_ours
def test_copies_keep_arguments_and_attributes(name):
    submission = make(name)
    for clone in (copy.deepcopy(submission), pickle.loads(pickle.dumps(submission))):
        assert clone.hyperparameters == submission.hyperparameters
        assert attributes(clone) == attributes(submission)
        assert attributes(type(submission)(**clone.hyperparameters)) == attributes(submission)


@each_of_ours
def test_batch_sizes_are_positive_and_known_workloads(name):
    sizes = get_submission(name).batch_sizes
    assert sizes["wmt"] == 128
    assert sizes["mnist"] == 16
    assert all(isinstance(size, int) and size > 0 for size in sizes.values())
