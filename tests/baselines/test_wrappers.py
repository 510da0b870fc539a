"""Submissions around others: against slow forms, at evaluations, and from the command line."""

import copy
import io

import pytest
import torch
from odd_digits import OddDigits
from optimizer_cases import SHAPES, gradient_of, largest_difference, starts
from torch import nn

from algoperf_lightning import Submission, baselines, get_submission
from algoperf_lightning.commands.fit import parse
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim import CautiousDecay, EMANesterov, Lion, TailAverage
from algoperf_lightning.testing import train

STEPS = 12
RATE, DECAY = 1e-2, 0.3


def lion(parameters, decay=DECAY):
    return Lion(parameters, lr=RATE, betas=(0.9, 0.99), weight_decay=decay)


class Wrapped:
    """An optimizer with one of the wrappers around it, and their state as one."""

    def __init__(self, name, parameters):
        self.name, self.parameters = name, parameters
        self.optimizer = lion(parameters, DECAY if name == "cautious" else 0.0)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1 - step / 20)
        self.around = {
            "cautious": lambda: CautiousDecay(self.optimizer),
            "nesterov": lambda: EMANesterov(self.optimizer, beta=0.8, gamma=0.7, start=2, end=9),
            "tail": lambda: TailAverage(parameters, share=0.6, windows=3),
        }[name]()

    def run(self, first, end):
        gradient = gradient_of(SHAPES)
        for step in range(first, end):
            if self.name == "nesterov":
                self.around.go_ahead()
            for index, p in enumerate(self.parameters):
                found = gradient(step, index, p.detach().double())
                p.grad = None if found is None else found.to(p.dtype)
            self.optimizer.step()
            self.schedule.step()
            if self.name == "tail":
                self.around.update()
        ends = self.around.average() if self.name == "tail" else self.parameters
        return [p.detach().clone() for p in ends]

    def state(self):
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}
        state["parameters"] = [p.detach() for p in self.parameters]
        return state if self.name == "cautious" else {**state, "around": self.around.state_dict()}

    def load(self, state):
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        for p, value in zip(self.parameters, state["parameters"], strict=True):
            p.data.copy_(value)
        if "around" in state:
            self.around.load_state_dict(state["around"])


def slow(name, p, index):
    """One tensor, as the formulas say."""
    gradient, m, prev, average, windows = gradient_of(SHAPES), 0 * p, p, 0 * p, [[]]
    for step in range(STEPS):
        factor = 1 - step / 20
        if name == "nesterov" and 2 <= step < 9:
            p = p + 0.8 * factor * average
        g = gradient(step, index, p)
        if g is not None:
            moved, m = p - factor * RATE * torch.sign(0.9 * m + 0.1 * g), 0.99 * m + 0.01 * g
            if name == "cautious":
                moved = torch.where((p - moved) * p >= 0, moved - factor * RATE * DECAY * p, moved)
            p = moved
        average, prev = 0.7 * average + 0.3 * (p - prev), p
        if windows[-1] and len(windows[-1]) >= 0.6 * step / 2:
            windows = [*windows[-2:], []]
        windows[-1].append(p)
    return torch.stack([each for window in windows for each in window]).mean(0) if name == "tail" else p


@pytest.mark.parametrize("name", ["cautious", "nesterov", "tail"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_equals_its_slow_form_and_goes_on_from_every_step(name, dtype):
    def begin():
        return Wrapped(name, [nn.Parameter(p.to(dtype)) for p in starts(SHAPES)])

    through = begin().run(0, STEPS)
    expected = [slow(name, p, index) for index, p in enumerate(starts(SHAPES))]
    assert largest_difference(starts(SHAPES), expected) > 0.02
    assert largest_difference(through, expected) < (1e-12 if dtype is torch.float64 else 2e-6)
    broken = begin()
    for stop in range(1, STEPS):
        broken.run(stop - 1, stop)
        file = io.BytesIO()
        torch.save(broken.state(), file)
        file.seek(0)
        resumed = begin()
        resumed.load(torch.load(file, weights_only=True))
        assert largest_difference(through, resumed.run(stop, STEPS)) == 0, stop


def test_going_back_is_exact_and_going_twice_is_going_once():
    parameter = nn.Parameter(torch.tensor([0.1, 0.7]))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    ahead = EMANesterov(optimizer, start=0)
    for _ in range(2):
        ahead.go_ahead()
        start = parameter.detach().clone()
        ahead.go_back()
        ahead.go_ahead()
        ahead.go_ahead()
        assert torch.equal(parameter, start)
        parameter.grad = torch.ones(2)
        optimizer.step()
    stopped = parameter.detach().clone()
    ahead.go_ahead()
    assert not torch.equal(parameter, stopped)
    ahead.go_back()
    assert parameter.tolist() == stopped.tolist()


def test_the_tail_is_a_share_of_all_steps():
    weight = torch.zeros(1, dtype=torch.float64)
    for share, windows in ((0.25, 2), (0.1, 3), (0.5, 4)):
        average = TailAverage([weight], share, windows)
        for step in range(1, 2001):
            weight.fill_(step)
            average.update()
            tail = sum(average.counts)
            assert average.average()[0].item() == pytest.approx(step - (tail - 1) / 2)
            if step > 200:
                assert 0.8 * share < tail / step < share * windows / (windows - 1) + 0.01
        assert len(average.counts) <= windows


def test_cautious_decay_keeps_the_optimizers_own_option():
    parameter = nn.Parameter(torch.tensor([1.0, -1.0, 0.5]))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.5)
    CautiousDecay(optimizer)
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    parameter.grad = torch.tensor([1.0, 1.0, 0.0])
    optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    # Toward 0, away from it, and not moved.
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.9 - 0.05, -1.1, 0.5 - 0.025]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: EMANesterov(o, beta=-1.0), "EMANesterov: beta must not be negative, but got -1.0"),
        (lambda o: EMANesterov(o, gamma=1.0), r"gamma must be in \[0, 1\), but got 1.0"),
        (lambda o: EMANesterov(o, start=-1), "start must not be negative, but got -1"),
        (lambda o: CautiousDecay(o, -0.1), "weight_decay must not be negative, but got -0.1"),
        (lambda o: CautiousDecay(o), "Optimizer has no option 'weight_decay'"),
        (lambda o: TailAverage([], 0.0), r"share must be in \(0, 1\], but got 0.0"),
        (lambda o: TailAverage([], 0.5, 1), "windows must be 2 or more, but got 1"),
    ],
)
def test_what_they_cannot_use_is_refused(make, message):
    with pytest.raises(BadInputError, match=message):
        make(torch.optim.Optimizer([nn.Parameter(torch.zeros(1))], {"lr": 0.1}))


# As submissions


class SignDescent(Submission):
    """A user's, with all that a submission may choose."""

    batch_sizes = {"digits": 64}  # noqa: RUF012

    def __init__(self, lr=0.01, decay=0.1):
        self.lr, self.decay = lr, decay
        self.gradient_clip = 0.3
        self.seen = 0

    def configure_optimizers(self, model, workload):
        first, *rest = model.parameters()
        return [Lion([first], lr=self.lr, weight_decay=self.decay), Lion(rest, lr=self.lr, weight_decay=self.decay)]

    def before_step(self, model, workload):
        self.seen += 1
        return self.seen != 4  # one step is skipped

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


AROUND = {
    "cautious_decay": {},
    "ema_nesterov": {"look_ahead_start": 2, "look_ahead_gamma": 0.5},
    "tail_averaging": {"tail_share": 0.5},
}


@pytest.mark.parametrize("name", AROUND)
def test_a_users_submission_is_all_its_own(name):
    made = get_submission(name)(SignDescent, lr=0.02, **AROUND[name])
    assert made.hyperparameters["lr"] == made.wrapped.lr == 0.02
    assert made.hyperparameters["base"] == f"{__name__}.SignDescent"
    assert made.batch_sizes == {"digits": 64}
    assert made.gradient_clip == 0.3
    made.gradient_clip, made.label_smoothing = 0.5, 0.1
    assert (made.wrapped.gradient_clip, made.wrapped.label_smoothing) == (0.5, 0.1)
    clone = copy.deepcopy(made)
    assert clone.wrapped is not made.wrapped
    assert clone.select_batch.__self__ is clone.wrapped


@pytest.mark.parametrize("name", AROUND)
def test_a_users_submission_goes_on_from_every_step(name, tmp_path):
    """With two optimizers and a step that is skipped."""

    def begin():
        return OddDigits(get_submission(name)(SignDescent, **AROUND[name]))

    unbroken, plain = begin(), OddDigits(SignDescent())
    for workload in (unbroken, plain):
        train(workload, 7, tmp_path)
    through = unbroken.network.state_dict()
    differs = not torch.equal(through["conv.weight"], plain.network.state_dict()["conv.weight"])
    assert differs == (name != "tail_averaging")
    for stop in (1, 3, 4, 5):
        train(broken := begin(), stop, tmp_path).save_checkpoint(tmp_path / "stopped.ckpt")
        train(resumed := begin(), 7, tmp_path, checkpoint=tmp_path / "stopped.ckpt")
        for key, value in resumed.network.state_dict().items():
            assert torch.equal(value, through[key]), (stop, key)
        for workload in (resumed, unbroken):
            workload.submission.before_evaluation(workload.network)
        for key, value in resumed.network.state_dict().items():
            assert torch.equal(value, unbroken.network.state_dict()[key]), (stop, key)
        unbroken.submission.after_evaluation(unbroken.network)
        del broken


def test_evaluations_see_the_mean_of_the_last_weights(tmp_path):
    seen = []

    class Snapshots(SignDescent):
        def training_step(self, workload, batch):
            seen.append({name: value.clone() for name, value in workload.model.state_dict().items()})
            return super().training_step(workload, batch)

        def before_step(self, model, workload):
            return True

    submission = baselines.TailAveraging(Snapshots, tail_share=1.0)
    workload = OddDigits(submission)
    train(workload, 6, tmp_path)
    model = workload.network
    last = {name: value.clone() for name, value in model.state_dict().items()}
    submission.before_evaluation(model)
    tail = [*seen[1:], last][-sum(submission._average.counts) :]
    assert len(tail) > 3
    for key in ("conv.weight", "scale", "norm.running_var"):
        torch.testing.assert_close(model.state_dict()[key], torch.stack([each[key] for each in tail]).mean(0))
    submission.after_evaluation(model)
    assert all(torch.equal(value, last[key]) for key, value in model.state_dict().items())


def test_ema_nesterov_is_evaluated_where_the_step_ended_also_after_one_that_is_skipped(tmp_path):
    submission = baselines.EMANesterov(SignDescent, look_ahead_start=0, look_ahead_gamma=0.5)
    workload = OddDigits(submission)
    train(workload, 4, tmp_path)  # the last step is skipped
    assert all(ahead.is_ahead for ahead in submission._ahead)
    ahead = workload.network.conv.weight.detach().clone()
    submission.before_evaluation(workload.network)
    assert not torch.equal(workload.network.conv.weight, ahead)
    starts = [start for ahead in submission._ahead for start in ahead._starts]
    assert all(torch.equal(p, start) for p, start in zip(workload.network.parameters(), starts, strict=True))


def test_several_go_into_each_other():
    made = baselines.TailAveraging("cautious_decay/ema_nesterov/muon", look_ahead=0.3, muon_beta=0.8, tail_share=0.1)
    names = []
    inner = made
    while inner is not None:
        names.append(type(inner).__name__)
        inner = getattr(inner, "wrapped", None)
    assert names == ["TailAveraging", "CautiousDecay", "EMANesterov", "Muon"]
    assert made.wrapped.wrapped.look_ahead == 0.3
    assert made.wrapped.wrapped.wrapped.muon_beta == 0.8


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        ("mun", {}, "'mun'.*muon"),
        ("muon/adamw", {}, r"puts 'adamw' into 'muon', which does not wrap others"),
        ("muon", {"muon_bet": 0.9}, r"EMANesterov: Muon: .*'muon_bet'.*muon_beta"),
        ("muon", {"muon_beta": 1.5}, r"Muon: muon_beta must be a number in \[0, 1\), but got 1.5"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(base, options, message):
    with pytest.raises(BadInputError, match=message):
        baselines.EMANesterov(base, **options)


def test_hyperparameters_are_reached_from_the_command_line_and_from_files(tmp_path):
    path = tmp_path / "wrapped.yaml"
    path.write_text(
        "submission: {class_path: ema_nesterov, init_args: {base: muon, muon_beta: 0.8, look_ahead: 0.5}}\n"
    )
    digits = ["--config", "digits", "--trainer.logger", "false"]
    from_file = parse([*digits, "--config", str(path), "--submission.learning_rate", "3e-3"]).model.submission
    assert from_file.hyperparameters["look_ahead"] == 0.5
    assert (from_file.wrapped.muon_beta, from_file.wrapped.learning_rate) == (0.8, 3e-3)
    given = ["--submission", "tail_averaging", "--submission.base", "lion", "--submission.weight_decay", "0.3"]
    from_line = parse([*digits, *given]).model.submission
    assert from_line.wrapped.hyperparameters["weight_decay"] == 0.3
