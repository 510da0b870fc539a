import copy
import dataclasses
import inspect
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from algoperf_lightning import Submission


class SignSGD(Submission):
    def __init__(self, lr: float = 1e-3, momentum: float = 0.9, *, nesterov: bool = False):
        self.lr = lr
        self.momentum = momentum
        self.nesterov = nesterov
        self.steps_seen = 0


class Required(Submission):
    def __init__(self, lr: float, schedule: dict[str, int]):
        self.lr = lr
        self.schedule = schedule


@dataclasses.dataclass
class Lion(Submission):
    lr: float = 2e-4
    beta: float = 0.95
    dropout: float | None = None
    label_smoothing: float = 0.1


@dataclasses.dataclass
class Milestones(Submission):
    steps: list[int] = dataclasses.field(default_factory=lambda: [10, 20])


class Plain(Submission):
    pass


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        pytest.param((), {}, {"lr": 1e-3, "momentum": 0.9, "nesterov": False}, id="defaults"),
        pytest.param((), {"lr": 0.1}, {"lr": 0.1, "momentum": 0.9, "nesterov": False}, id="keyword"),
        pytest.param((0.1, 0.8), {}, {"lr": 0.1, "momentum": 0.8, "nesterov": False}, id="positional"),
        pytest.param((0.1,), {"nesterov": True}, {"lr": 0.1, "momentum": 0.9, "nesterov": True}, id="mixed"),
        pytest.param((), {"momentum": 0.5, "lr": 0.1}, {"lr": 0.1, "momentum": 0.5, "nesterov": False}, id="any-order"),
    ],
)
def test_hyperparameters_are_the_arguments_defaults_included(args, kwargs, expected):
    submission = SignSGD(*args, **kwargs)
    assert submission.hyperparameters == expected
    assert list(submission.hyperparameters) == ["lr", "momentum", "nesterov"]
    assert (submission.lr, submission.momentum, submission.nesterov) == tuple(expected.values())


def test_hyperparameters_make_the_same_submission_again():
    first = SignSGD(0.1, nesterov=True)
    again = SignSGD(**first.hyperparameters)
    assert vars(again) == vars(first)


def test_hyperparameters_are_kept_as_given():
    class Clamped(Submission):
        def __init__(self, lr: float = 1.0):
            self.lr = min(lr, 0.5)

    submission = Clamped(lr=2.0)
    assert submission.lr == 0.5
    assert submission.hyperparameters == {"lr": 2.0}


def test_two_submissions_do_not_share_hyperparameters():
    first, second = SignSGD(lr=0.1), SignSGD(lr=0.2)
    assert (first.hyperparameters["lr"], second.hyperparameters["lr"]) == (0.1, 0.2)


def test_a_submission_without_arguments_has_no_hyperparameters():
    assert Plain().hyperparameters == {}


def test_works_in_local_scope_as_in_a_notebook_cell():
    class Local(SignSGD):
        def __init__(self, lr: float = 0.7):
            super().__init__(lr=lr, momentum=0.0)

    submission = Local()
    assert submission.hyperparameters == {"lr": 0.7}
    assert submission.momentum == 0.0


def test_arguments_handed_on_to_the_base_are_hyperparameters_by_their_names():
    class Warmed(SignSGD):
        def __init__(self, warmup: float = 0.1, **options):
            super().__init__(**options)
            self.warmup = warmup

    submission = Warmed(warmup=0.2, lr=0.5)
    assert submission.lr == 0.5
    assert submission.hyperparameters == {"warmup": 0.2, "lr": 0.5}
    assert Warmed(**submission.hyperparameters).lr == 0.5


def test_dataclass_submissions():
    submission = Lion(3e-4, label_smoothing=0.2)
    assert submission.hyperparameters == {"lr": 3e-4, "beta": 0.95, "dropout": None, "label_smoothing": 0.2}
    assert (submission.lr, submission.label_smoothing, submission.gradient_clip) == (3e-4, 0.2, None)
    assert dataclasses.replace(submission, lr=1.0).hyperparameters["lr"] == 1.0


def test_a_dataclass_default_that_is_made_afresh_is_recorded_as_its_value():
    submission = Milestones()
    assert submission.steps == [10, 20]
    assert submission.hyperparameters == {"steps": [10, 20]}


def test_a_class_with_its_own_constructor_does_not_record_fields_of_its_base():
    class Fixed(Milestones):
        def __init__(self, lr: float = 0.1):
            super().__init__([5])

    assert Fixed().hyperparameters == {"lr": 0.1}


@pytest.mark.parametrize("submission", [Milestones(), Milestones([10, 20])], ids=["default", "given"])
def test_hyperparameters_stay_what_they_were_when_attributes_change(submission):
    submission.steps = [5]
    assert submission.hyperparameters == {"steps": [10, 20]}


@pytest.mark.parametrize(
    ("make", "name", "argument", "known"),
    [
        pytest.param(
            lambda: SignSGD(learning_rate=0.1), "SignSGD", "learning_rate", "lr, momentum, nesterov", id="class"
        ),
        pytest.param(lambda: Lion(betas=0.1), "Lion", "betas", "lr, beta, dropout, label_smoothing", id="dataclass"),
        pytest.param(lambda: Plain(lr=0.1), "Plain", "lr", "none", id="no-hyperparameters"),
        pytest.param(lambda: Required(0.1, momentum=1), "Required", "momentum", "lr, schedule", id="required"),
    ],
)
def test_an_unknown_argument_is_refused_by_name(make, name, argument, known):
    with pytest.raises(TypeError, match=argument) as error:
        make()
    assert str(error.value).startswith(f"{name}: ")
    assert str(error.value).endswith(f"Its hyperparameters are: {known}.")


def test_too_many_arguments_are_refused():
    with pytest.raises(TypeError, match="SignSGD: too many positional arguments"):
        SignSGD(0.1, 0.9, True)


def test_a_missing_argument_is_refused():
    with pytest.raises(TypeError, match=r"Required.*schedule"):
        Required(0.1)


def clones(submission):
    yield pickle.loads(pickle.dumps(submission))
    yield copy.deepcopy(submission)
    yield copy.copy(submission)


@pytest.mark.parametrize(
    "submission",
    [
        pytest.param(SignSGD(0.1, nesterov=True), id="defaults-overridden"),
        pytest.param(Required(0.1, schedule={"warmup": 5}), id="required-arguments"),
        pytest.param(Lion(lr=0.5), id="dataclass"),
        pytest.param(Plain(), id="plain"),
    ],
)
def test_pickled_and_copied_submissions_keep_their_attributes(submission):
    submission.steps_seen = 7
    submission.average = torch.ones(2)
    for clone in clones(submission):
        assert type(clone) is type(submission)
        assert clone.hyperparameters == submission.hyperparameters
        assert clone.steps_seen == 7
        assert torch.equal(clone.average, torch.ones(2))
        kept = {name for name in vars(submission) if name != "average"}
        assert {name: getattr(clone, name) for name in kept} == {name: getattr(submission, name) for name in kept}


def test_a_deep_copy_shares_nothing():
    submission = Required(0.1, schedule={"warmup": 5})
    clone = copy.deepcopy(submission)
    clone.schedule["warmup"] = 6
    assert submission.schedule == {"warmup": 5}
    assert submission.hyperparameters == {"lr": 0.1, "schedule": {"warmup": 5}}


def test_the_signature_that_a_command_line_reads_is_the_constructors():
    assert list(inspect.signature(SignSGD).parameters) == ["lr", "momentum", "nesterov"]
    assert list(inspect.signature(Lion).parameters) == ["lr", "beta", "dropout", "label_smoothing"]


def test_defaults_of_what_may_be_overridden():
    submission = Plain()
    assert (submission.search_space, submission.batch_sizes) == (None, {})
    assert (submission.dropout, submission.label_smoothing, submission.gradient_clip) == (None, 0.0, None)
    assert submission.state_dict() == {}
    submission.load_state_dict({})
    batches = iter(["first", "second"])
    assert [submission.select_batch(batches), submission.select_batch(batches)] == ["first", "second"]


def test_evaluation_hooks_leave_the_model_alone_by_default():
    model = nn.Linear(2, 2)
    before = copy.deepcopy(model.state_dict())
    Plain().before_evaluation(model)
    Plain().after_evaluation(model)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)


def test_the_default_step_is_the_mean_loss_with_label_smoothing_and_dropout():
    asked = []

    def loss(batch, *, label_smoothing, dropout):
        asked.append((batch, label_smoothing, dropout))
        return "loss of each example"

    workload = SimpleNamespace(loss=loss, mean=lambda loss: f"mean of the {loss}")
    assert Lion(label_smoothing=0.3, dropout=0.2).training_step(workload, "batch") == "mean of the loss of each example"
    assert asked == [("batch", 0.3, 0.2)]


def test_a_submission_without_an_optimizer_says_what_to_define():
    with pytest.raises(NotImplementedError, match="Plain must define configure_optimizers"):
        Plain().configure_optimizers(nn.Linear(1, 1), None)
