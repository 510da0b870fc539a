import copy
import dataclasses
import math
import random
import warnings
from typing import ClassVar

import lightning as L
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from algoperf_lightning import Loss, ParameterKind, Variant
from algoperf_lightning.baselines import AdamW
from algoperf_lightning.baselines.schedules import warmup_cosine
from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.errors import BadInputError, NotMeasuredWarning
from algoperf_lightning.testing import PlainSGD, check_target, train
from algoperf_lightning.workload import CheckpointMismatchError
from algoperf_lightning.workloads import Digits


def batch_of(workload, split="validation"):
    return next(iter(workload.data.evaluation_batches(0, 1)[["train", "validation", "test"].index(split)]))


def built(submission=None, **options):
    workload = Digits(submission or PlainSGD(), **options)
    workload.configure_model()
    return workload


# The submission's say


def test_a_schedule_is_stepped_after_every_step(tmp_path):
    seen = []

    class Watching(AdamW):
        def training_step(self, workload, batch):
            seen.append(self.optimizer.param_groups[0]["lr"])
            return super().training_step(workload, batch)

        def configure_optimizers(self, model, workload):
            configured = super().configure_optimizers(model, workload)
            self.optimizer = configured["optimizer"]
            return configured

    train(Digits(Watching(learning_rate=0.01, warmup_factor=0.001)), 30, tmp_path)
    assert seen == pytest.approx([0.01 * warmup_cosine(step, horizon=10_000, warmup=10) for step in range(30)])


@pytest.mark.parametrize("clip", [None, 0.01])
def test_gradients_are_clipped_by_their_global_norm_if_the_submission_says_so(tmp_path, clip):
    norms = []

    class Clipping(PlainSGD):
        gradient_clip = clip

        def configure_optimizers(self, model, workload):
            optimizer = super().configure_optimizers(model, workload)
            parameters = list(model.parameters())

            def note(*args):
                norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in parameters)))

            optimizer.register_step_post_hook(note)
            return optimizer

    train(Digits(Clipping()), 5, tmp_path)
    assert len(norms) == 5
    assert all(norm == pytest.approx(0.01, rel=1e-4) for norm in norms) if clip else min(norms) > 0.02


def test_a_submission_may_repeat_a_batch_and_the_stream_goes_on_from_what_was_drawn(tmp_path):
    trained_on = []

    class Echoing(PlainSGD):
        batch_sizes: ClassVar = {"digits": 8}

        def __init__(self):
            super().__init__()
            self.turn, self.kept = 0, None

        def select_batch(self, batches):
            self.turn += 1
            if self.turn % 2:
                self.kept = next(batches)
            return self.kept

        def training_step(self, workload, batch):
            trained_on.append(batch["targets"].clone())
            return super().training_step(workload, batch)

    workload = Digits(Echoing())
    trainer = train(workload, 6, tmp_path)
    assert all(torch.equal(trained_on[i], trained_on[i + 1]) for i in (0, 2, 4))
    assert not torch.equal(trained_on[1], trained_on[2])
    assert trainer.train_dataloader.state_dict() == {"drawn": 3}


def test_state_of_the_submission_is_saved_and_given_back_before_its_optimizers_are_made(tmp_path):
    class Counting(PlainSGD):
        def __init__(self):
            super().__init__()
            self.steps = 0
            self.at_configuration = None

        def configure_optimizers(self, model, workload):
            self.at_configuration = self.steps
            return super().configure_optimizers(model, workload)

        def training_step(self, workload, batch):
            self.steps += 1
            return super().training_step(workload, batch)

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state):
            self.steps = state["steps"]

    train(Digits(Counting()), 4, tmp_path).save_checkpoint(tmp_path / "c.ckpt")
    resumed = Digits(Counting())
    train(resumed, 7, tmp_path, checkpoint=tmp_path / "c.ckpt")
    assert resumed.submission.at_configuration == 4
    assert resumed.submission.steps == 7


def test_batch_size_dropout_and_defaults():
    class Own(PlainSGD):
        batch_sizes: ClassVar = {"digits": 24, "mnist": 3}
        dropout = 0.25

    workload = Digits(Own())
    assert (workload.batch_size, workload.dropout) == (24, 0.25)
    assert (Digits(PlainSGD()).batch_size, Digits(PlainSGD()).dropout) == (Digits.spec.batch_size, None)


def test_a_variants_batch_size_counts_before_the_workloads():
    spec = dataclasses.replace(Digits.spec, variants={"wide": Variant(0.9, 0.9)})

    class Varied(Digits):
        pass

    Varied.spec = spec

    class Both(PlainSGD):
        batch_sizes: ClassVar = {"digits": 24, "digits_wide": 40}

    class One(PlainSGD):
        batch_sizes: ClassVar = {"digits": 24}

    assert Varied(Both(), variant="wide").batch_size == 40
    assert Varied(One(), variant="wide").batch_size == 24
    assert Varied(PlainSGD(), variant="wide").batch_size == spec.batch_size


# The view


def test_the_view_tells_what_the_rules_allow_and_no_name():
    workload = built()
    view = workload.view
    assert (view.loss_type, view.metric, view.direction) == ("softmax_cross_entropy", "validation/accuracy", "max")
    assert (view.step_hint, view.budget, view.eval_period) == (10_000, 60.0, 1.0)
    assert (view.validation_target, view.test_target) == (0.968, 0.96)
    assert (view.num_train_examples, view.batch_size) == (597, 64)
    assert view.parameter_kinds["conv1.weight"] is ParameterKind.CONV_WEIGHT
    assert view.output_parameters == {"head.weight", "head.bias"}
    assert view.model is workload.model
    public = [name for name in dir(view) if not name.startswith("_")]
    assert not [name for name in public if name != "model" and "digits" in str(getattr(view, name)).lower()]


def test_mean_counts_valid_units_only():
    view = built().view
    view._workload._trainer = type("Trainer", (), {"world_size": 1})()
    losses = torch.tensor([4.0, 0.0, 8.0])
    assert view.mean(Loss(losses)) == 4.0
    assert view.mean(Loss(losses, torch.tensor([2.0, 0.0, 1.0]))) == 4.0
    assert view.mean(Loss(torch.zeros(2), torch.zeros(2))) == 0.0  # nothing valid: no division by zero


# Loss and metrics, against torch itself


def test_training_loss_with_label_smoothing_and_weights():
    workload = built()
    batch = batch_of(workload)
    batch["weights"][:7] = 0
    loss = workload.loss(batch, label_smoothing=0.1)
    logits = workload.network(batch["inputs"])
    smooth = torch.full_like(logits, 0.1 / 10)
    smooth[torch.arange(len(logits)), batch["targets"]] += 0.9
    expected = -(smooth * logits.log_softmax(-1)).sum(-1)
    expected[:7] = 0
    torch.testing.assert_close(loss.per_example, expected)
    assert loss.weight.sum() == 593


def test_metrics_are_those_of_all_examples(tmp_path):
    workload = Digits(PlainSGD(lr=0.1))
    train(workload, 60, tmp_path, val_check_interval=60, check_val_every_n_epoch=None)
    workload.eval()
    for prefix, split in (("train", "eval_train"), ("validation", "validation"), ("test", "test")):
        columns = workload.data.open(split).columns
        with torch.no_grad():
            logits = workload.network(columns["inputs"]).double()
        accuracy = float((logits.argmax(-1) == columns["targets"]).double().mean())
        assert workload.evaluation[f"{prefix}/accuracy"] == pytest.approx(accuracy, abs=1e-12)
        loss = float(F.cross_entropy(logits, columns["targets"]))
        assert workload.evaluation[f"{prefix}/loss"] == pytest.approx(loss, rel=1e-5)
    assert 0.2 < workload.evaluation["validation/accuracy"] < 1


# Seeds, precision, identity


def test_the_seed_decides_model_and_data():
    one, same, other = built(seed=1), built(seed=1), built(seed=2)
    assert torch.equal(one.network.head.weight, same.network.head.weight)
    assert not torch.equal(one.network.head.weight, other.network.head.weight)
    assert one.data.seed == same.data.seed != other.data.seed


def test_building_a_model_leaves_the_callers_randomness_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    built()
    assert torch.equal(torch.rand(3), expected)


def test_evaluations_may_be_random_and_leave_the_randomness_of_training_alone(tmp_path):
    class RandomEvaluation(Digits):
        def evaluate(self, batch, metrics):
            torch.rand(3), np.random.rand(), random.random()
            super().evaluate(batch, metrics)

    class RandomTraining(PlainSGD):
        def training_step(self, workload, batch):
            noise = torch.rand(()) + np.random.rand() + random.random()
            return super().training_step(workload, batch) * noise

    never, often = RandomEvaluation(RandomTraining()), RandomEvaluation(RandomTraining())
    train(never, 6, tmp_path)
    train(often, 6, tmp_path, val_check_interval=2, check_val_every_n_epoch=None)
    assert torch.equal(never.network.head.weight, often.network.head.weight)


def test_trains_in_bfloat16(tmp_path):
    plain, mixed = Digits(PlainSGD(lr=0.1)), Digits(PlainSGD(lr=0.1))
    train(plain, 60, tmp_path)
    train(mixed, 60, tmp_path, precision="bf16-mixed", val_check_interval=60, check_val_every_n_epoch=None)
    assert mixed.network.head.weight.dtype is torch.float32
    assert not torch.equal(plain.network.head.weight, mixed.network.head.weight)
    assert mixed.evaluation["validation/loss"] < math.log(10)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    from lightning.pytorch.demos.boring_classes import BoringModel

    checkpoint = tmp_path / "c.ckpt"
    torch.save({"state_dict": BoringModel().state_dict(), "pytorch-lightning_version": "2.6.4"}, checkpoint)
    with pytest.raises(CheckpointMismatchError, match="not written by a run of algoperf_lightning"):
        train(Digits(PlainSGD()), 2, tmp_path, checkpoint=checkpoint)


def test_the_model_is_there_when_fit_starts():
    workload = Digits(PlainSGD())
    with pytest.raises(RuntimeError, match=r"build_model\(\)"):
        _ = workload.network
    assert sum(p.numel() for p in workload.build_model().parameters()) == 38_282


def test_a_workload_can_be_copied():
    assert copy.deepcopy(Digits(AdamW(learning_rate=0.5))).submission.hyperparameters["learning_rate"] == 0.5


def test_a_workload_that_was_fitted_can_be_copied_and_validated_with_each_metric_once(tmp_path):
    workload = Digits(PlainSGD())
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, "default_root_dir": tmp_path}
    clock = TimeBudget(unit="steps", budget=4, eval_period=2)
    L.Trainer(callbacks=[clock], **quiet).fit(workload)
    twin = copy.deepcopy(workload)
    assert twin.view.evaluations == workload.view.evaluations == tuple(clock.result.evaluations)
    for name, value in workload.network.state_dict().items():
        assert torch.equal(twin.network.state_dict()[name], value)
    splits = L.Trainer(**quiet).validate(twin, verbose=False)
    assert [{name.partition("/")[0] for name in each} for each in splits] == [{"train"}, {"validation"}, {"test"}]
    (last,) = clock.result.evaluations[-1:]
    assert {name: value for each in splits for name, value in each.items()} == pytest.approx(dict(last.metrics))


def test_unknown_versions_and_variants_are_refused():
    with pytest.raises(BadInputError, match=r"version '0\.7'"):
        Digits(PlainSGD(), version="0.7")
    with pytest.raises(BadInputError, match=r"variant of digits 'glu'\. There are none"):
        Digits(PlainSGD(), variant="glu")


def test_a_run_without_a_clock_says_that_nothing_is_measured(tmp_path):
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {**quiet, "enable_checkpointing": False, "default_root_dir": tmp_path, "max_steps": 1}
    with pytest.warns(NotMeasuredWarning, match=r"nothing is measured.*TimeBudget\(\)"):
        L.Trainer(**options).fit(Digits(PlainSGD()))
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotMeasuredWarning)
        L.Trainer(**options, callbacks=[TimeBudget(unit="steps")]).fit(Digits(PlainSGD()))
        train(Digits(PlainSGD()), 1, tmp_path)  # the checks of a workload need no clock


def test_a_target_that_the_first_evaluation_meets_is_refused(tmp_path):
    class Easy(Digits):
        spec = dataclasses.replace(Digits.spec, validation_target=0.01)

    check_target(Digits, tmp_path)
    with pytest.raises(AssertionError, match=r"has accuracy 0\.\d+ and meets the target 0\.01: choose a harder one"):
        check_target(Easy, tmp_path)
