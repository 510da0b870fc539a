"""Each form that Lightning documents for ``configure_optimizers`` does what it says."""

import pytest
from configured import ACCURACIES, OF_LIGHTNING, STEPS, Configured, cosine, exponential, fit, plain_loop, plateau
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, ReduceLROnPlateau

BY_STEP = {
    "dict": lambda o: {"optimizer": o, "lr_scheduler": cosine(o)},
    "dict of dict": lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": cosine(o)}},
    "dict of dict by step": lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": cosine(o), "interval": "step"}},
    "all keys": lambda o: {
        "optimizer": o,
        "lr_scheduler": {
            "scheduler": cosine(o),
            "interval": "step",
            "frequency": 1,
            "monitor": None,
            "strict": True,
            "name": None,
            "reduce_on_plateau": False,
        },
    },
    "two lists": lambda o: ([o], [cosine(o)]),
    "list of two lists": lambda o: [[o], [cosine(o)]],
    "list and schedule": lambda o: ([o], cosine(o)),
    "two lists, dict": lambda o: ([o], [{"scheduler": cosine(o)}]),
    "list of a dict": lambda o: [{"optimizer": o, "lr_scheduler": cosine(o)}],
    "tuple of a dict": lambda o: ({"optimizer": o, "lr_scheduler": {"scheduler": cosine(o)}},),
}


@pytest.mark.parametrize("form", BY_STEP)
def test_a_schedule_is_stepped_at_every_step_in_every_form(form, tmp_path):
    assert fit(Configured(BY_STEP[form]), tmp_path) == plain_loop(lambda o: [cosine(o)])


@pytest.mark.parametrize(
    "configure",
    [
        lambda o: o,
        lambda o: [o],
        lambda o: (o,),
        lambda o: ([o], []),
        lambda o: {"optimizer": o},
        lambda o: [{"optimizer": o}],
        lambda o: {"optimizer": o, "lr_scheduler": None},
    ],
    ids=["optimizer", "list", "tuple", "no schedules", "dict", "list of dict", "none"],
)
def test_an_optimizer_alone_keeps_its_learning_rate(configure, tmp_path):
    assert fit(Configured(configure), tmp_path) == [0.1] * STEPS


def test_two_schedules_of_one_optimizer_are_both_stepped(tmp_path):
    def both(optimizer):
        return [ConstantLR(optimizer, 0.5, total_iters=4), exponential(optimizer)]

    assert fit(Configured(lambda o: ([o], both(o))), tmp_path) == plain_loop(both)


def test_frequency_counts_steps(tmp_path):
    rates = fit(Configured(lambda o: ([o], [{"scheduler": exponential(o), "frequency": 4}])), tmp_path)
    assert rates == plain_loop(lambda o: [exponential(o)], after_steps=4)
    assert len(set(rates)) == 4


@pytest.mark.parametrize("frequency", [1, 2])
def test_a_schedule_is_stepped_after_evaluations_on_request(frequency, tmp_path):
    schedule = {"interval": "evaluation", "frequency": frequency}
    rates = fit(Configured(lambda o: ([o], [{"scheduler": exponential(o), **schedule}])), tmp_path)
    assert rates == plain_loop(lambda o: [exponential(o)], after_steps=0, after_evaluations=frequency)
    assert len(set(rates)) == (6 if frequency == 1 else 3)


@pytest.mark.parametrize(
    "configure",
    [
        lambda o: {"optimizer": o, "lr_scheduler": plateau(o)},
        lambda o: {"optimizer": o, "lr_scheduler": plateau(o), "monitor": "validation/accuracy"},
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": plateau(o), "monitor": "validation/accuracy"}},
        lambda o: {"optimizer": o, "lr_scheduler": {"scheduler": plateau(o), "interval": "evaluation"}},
        lambda o: ([o], [plateau(o)]),
        lambda o: ([o], [{"scheduler": plateau(o), "strict": False, "reduce_on_plateau": True}]),
        lambda o: ({"optimizer": o, "lr_scheduler": plateau(o), "monitor": "validation/accuracy"},),
    ],
    ids=["default", "monitor outside", "monitor inside", "interval", "lists", "lists of dict", "tuple of dict"],
)
def test_a_plateau_schedule_is_stepped_by_evaluations_on_its_metric(configure, tmp_path):
    rates = fit(Configured(configure), tmp_path)
    assert rates == plain_loop(lambda o: [plateau(o)], after_steps=0, after_evaluations=1)
    assert rates == [0.1] * 10 + [0.05] * 4  # ACCURACIES have not grown twice, after step 10


def test_a_plateau_schedule_may_watch_another_metric(tmp_path):
    losses = []

    class Watched(ReduceLROnPlateau):
        def step(self, metrics, epoch=None):
            losses.append(float(metrics))
            super().step(metrics, epoch)

    submission = Configured(lambda o: ([o], [{"scheduler": Watched(o, "min"), "monitor": "train/loss"}]))
    fit(submission, tmp_path)
    rows = (tmp_path / "trial" / "evaluations.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss")
    assert losses == [float(row.split(",")[column]) for row in rows[1:]]
    assert len(set(losses)) == len(ACCURACIES)


def test_without_a_clock_schedules_are_stepped_by_lightnings_evaluations(tmp_path):
    rates = fit(Configured(lambda o: ([o], [plateau(o)])), tmp_path, max_steps=STEPS, timed=False)
    assert rates == plain_loop(lambda o: [plateau(o)], after_steps=0, after_evaluations=1, accuracies=OF_LIGHTNING)
    assert rates == [0.1] * 9 + [0.05] * 5


@pytest.mark.parametrize(
    "configure",
    [
        lambda o: ([o], [{"scheduler": exponential(o), "frequency": 3}]),
        lambda o: ([o], [{"scheduler": exponential(o), "interval": "evaluation", "frequency": 2}]),
        lambda o: ([o], [plateau(o), exponential(o)]),
        lambda o: ([o], [LambdaLR(o, lambda step: 1 / (1 + step))]),
    ],
    ids=["every third step", "every second evaluation", "plateau and exponential", "lambda"],
)
def test_a_resumed_run_continues_its_schedules(configure, tmp_path):
    unbroken = fit(Configured(configure), tmp_path / "one")
    first = Configured(configure)
    first.dies_at = 9
    with pytest.raises(RuntimeError, match="dies"):
        fit(first, tmp_path / "two")
    second = fit(Configured(configure), tmp_path / "two", ckpt_path=tmp_path / "two" / "trial" / "last.ckpt")
    # It was saved at its last evaluation, after step 7.
    assert first.rates[:7] + second == unbroken
    assert len(set(unbroken)) > 2
