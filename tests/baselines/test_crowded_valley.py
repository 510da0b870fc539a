"""The fifteen optimizers of the Crowded Valley study: traces of their update rules, and the factors of its schedules.

The numbers are those of the TensorFlow classes that the study ran, on ``f(p) = sum(l_i (p_i - c_i)^2) / 2`` from p = 1.
"""

import inspect

import pytest
import torch
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.baselines.crowded_valley.schedules import SCHEDULES, epoch_schedule
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import SUBMISSIONS, plugins

CURVATURES = torch.tensor([0.1, 1.0, 10.0, 50.0], dtype=torch.float64)
CENTRES = torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=torch.float64)
NAMES = [name for name in plugins(SUBMISSIONS) if name.startswith("valley_")]

AS_PUBLISHED = {"faithful": True}
FAST = {"learning_rate": 0.05, "beta1": 0.5, "beta2": 0.8}
FASTER = {**FAST, "beta2": 0.9}
TRACES = [
    ("sgd", {}, 10, "0.993031416, 0.88525849, 0.413810596, 0.0009765625"),
    ("sgd", {}, 100, "0.933354503, 0.23923881, 0.100023905, 7.9e-31"),
    ("momentum", {}, 10, "0.96296666, 0.41497797, -0.749996543, 0.253080228"),
    ("momentum", {}, 100, "-0.122784864, -0.802474454, 0.566078711, -0.54655399"),
    ("nag", {}, 10, "0.95658703, 0.340256579, -0.3918786, -0.0294167516"),
    ("nag", {}, 100, "-0.101782672, -0.555513225, 0.101433946, -5.4e-16"),
    ("adagrad", {}, 10, "0.980478614, 0.950866908, 0.950350188, 0.950282741"),
    ("adagrad", {}, 100, "0.878702029, 0.820466867, 0.821641641, 0.820833556"),
    ("adadelta", {}, 10, "0.999995385, 0.999995384, 0.999995384, 0.999995384"),
    ("adadelta", {}, 100, "0.999950314, 0.999950312, 0.999950312, 0.999950312"),
    ("rmsprop", AS_PUBLISHED, 10, "0.999056765, 0.988974398, 0.983041912, 0.982729323"),
    ("rmsprop", AS_PUBLISHED, 100, "0.938923554, 0.899151008, 0.89217789, 0.89174332"),
    ("adam", {}, 10, "0.990004678, 0.990002704, 0.990003612, 0.990003247"),
    ("adam", {}, 100, "0.902524262, 0.901445504, 0.901944023, 0.901743598"),
    ("amsgrad", {}, 10, "0.900517837, 0.900287404, 0.900392099, 0.900349654"),
    ("amsgrad", {}, 100, "0.345348477, 0.179794133, 0.255261154, 0.224446043"),
    ("nadam", {}, 10, "0.987686596, 0.987680425, 0.987683151, 0.987682051"),
    ("nadam", {}, 100, "0.899975152, 0.898827151, 0.899357152, 0.899144023"),
    ("radam", {}, 10, "0.999459647, 0.9938162, 0.955297957, 0.763155289"),
    ("radam", {}, 100, "0.985976632, 0.980312421, 0.941840226, 0.74989406"),
    ("adabelief", {}, 10, "0.999357584, 0.993714226, 0.955196955, 0.763060401"),
    ("adabelief", {}, 100, "0.949085416, 0.942905035, 0.90532702, 0.716794395"),
    ("adabound", {}, 10, "0.990004678, 0.990002704, 0.973518832, 0.864949226"),
    ("adabound", {}, 100, "0.902524262, 0.530075089, 0.0921192736, 0.00135636199"),
    ("amsbound", {}, 10, "0.990004678, 0.990002704, 0.973518832, 0.864949226"),
    ("amsbound", {}, 100, "0.902524262, 0.530075089, 0.0921192736, 0.00135636199"),
    ("lookahead_momentum", AS_PUBLISHED, 10, "0.978948232, 0.654803971, -0.628027406, -0.0431324434"),
    ("lookahead_momentum", AS_PUBLISHED, 100, "0.28707208, 0.36091605, 0.135450908, -0.00346289654"),
    ("lookahead_radam", AS_PUBLISHED, 10, "0.998305594, 0.971079751, 0.792407498, 0.0541592181"),
    ("lookahead_radam", AS_PUBLISHED, 100, "0.9741514, 0.61376488, 0.0885061598, 0.00265099718"),
    ("lookahead_momentum", {}, 10, "0.981445169, 0.70121759, -0.178386585, -0.0930286694"),
    ("lookahead_momentum", {}, 100, "0.152261126, 0.139116187, 0.10014786, -0.0230374681"),
    ("lookahead_radam", {}, 10, "0.999729821, 0.996908076, 0.977648725, 0.88157599"),
    ("lookahead_radam", {}, 100, "0.992974234, 0.990146597, 0.970893181, 0.874833967"),
    # These tell variants apart that the default points do not.
    ("adam", FAST, 50, "0.300089828, -0.200025027, 0.0999924001, -1.5120171e-05"),
    ("amsgrad", FAST, 50, "0.301557247, -0.135707826, 0.112611172, 0.0246522442"),
    ("adabound", {**FAST, "final_lr": 0.5}, 50, "0.30000064, -0.200025027, 0.0999924001, 5.0881672e-06"),
    ("amsbound", {**FAST, "final_lr": 0.5}, 50, "0.301557247, -0.135707826, 0.0999717389, 1.54281789e-07"),
    ("radam", FASTER, 50, "0.299970854, -0.197618083, 0.100000263, 5.97741822e-06"),
    ("adabelief", FASTER, 50, "0.300000503, -0.200001075, 0.0999998697, -1.2745686e-06"),
    (
        "rmsprop",
        {**AS_PUBLISHED, "learning_rate": 0.05, "one_minus_decay": 0.5},
        50,
        "0.275007074, -0.174904562, 0.0749957982, -0.0249856704",
    ),
    (
        "adadelta",
        {"learning_rate": 1.0, "one_minus_rho": 0.5},
        50,
        "0.981726309, 0.981693506, 0.981708721, 0.981702632",
    ),
]


def trace(name, options, steps):
    """Return where an optimizer is after some steps on the quadratic."""
    model = nn.Module()
    model.point = nn.Parameter(torch.ones(4, dtype=torch.float64))
    optimizer = get_submission(f"valley_{name}")(**options).make_optimizer(model)
    for _ in range(steps):
        model.point.grad = CURVATURES * (model.point.detach() - CENTRES)
        optimizer.step()
    return model.point.tolist()


def half_a_digit(number):
    """Return half of the last digit that is printed of a number."""
    mantissa, _, exponent = number.partition("e")
    return 0.5000001 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


@pytest.mark.parametrize(("name", "options", "steps", "expected"), TRACES)
def test_update_rules_go_where_those_of_the_study_went(name, options, steps, expected):
    for found, number in zip(trace(name, options, steps), expected.split(", "), strict=True):
        # One unit in the tenth digit: zeros at the end are not printed.
        allowed = max(half_a_digit(number), 1e-9 * abs(float(number)))
        assert found == pytest.approx(float(number), abs=allowed, rel=0)


def test_the_study_has_fifteen_optimizers_and_each_has_a_trace():
    assert {f"valley_{name}" for name, *_ in TRACES} == set(NAMES)
    assert len(NAMES) == 15


class Run:
    """What a schedule reads of a workload."""

    steps_per_epoch = 7
    unit = "epochs"
    step_hint = 15

    def __init__(self, budget):
        self.budget = budget


def factors(name, epochs, faithful, run=None):
    """Return the factor on the learning rate in the first and the last step of each epoch, and of one more."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = epoch_schedule(optimizer, run or Run(epochs), name, faithful)
    rates = []
    for _ in range(7 * (epochs + 1)):
        rates.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        schedule.step()
    return [(rates[7 * epoch], rates[7 * epoch + 6]) for epoch in range(epochs + 1)]


@pytest.mark.parametrize(
    ("name", "epochs", "expected"),
    [
        ("constant", 50, {0: 1, 49: 1}),
        ("cosine", 100, {0: 1, 50: 0.5, 99: 0.000247}),
        ("cosine-restarts", 50, {0: 1, 5: 0.5, 10: 1, 20: 0.5, 30: 1, 49: 0.5392}),
        ("cosine-restarts", 100, {10: 1, 30: 1, 70: 1, 99: 0.7093}),
        ("cosine-restarts", 160, {110: 0.5, 150: 1, 159: 0.9922}),
        ("cosine-restarts", 200, {150: 1, 199: 0.7859}),
        ("cosine-restarts", 350, {230: 0.5, 310: 1, 349: 0.9638}),
        (
            "trapezoid",
            100,
            {0: 1, **{n: n / 10 for n in range(1, 11)}, 50: 1, 90: 1, 91: 0.909, 99: 0.182},
        ),
    ],
)
def test_factors_are_those_of_the_published_runs(name, epochs, expected):
    found = factors(name, epochs, faithful=True)
    for epoch, factor in expected.items():
        digits = max(3, len(str(factor).partition(".")[2]))
        assert [round(each, digits) for each in found[epoch]] == [factor] * 2, epoch


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("epochs", [1, 2, 10, 45, 100, 350])
@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_stay_within_bounds_and_where_they_end(name, epochs, faithful):
    found = factors(name, epochs, faithful)
    assert all(0 < first == last <= 1 for first, last in found)
    assert found[epochs] == found[epochs - 1]


@pytest.mark.parametrize("epochs", [10, 45, 50, 100, 160, 200, 350])
def test_repaired_schedules_begin_and_end_as_they_should(epochs):
    restarts = [first for first, _ in factors("cosine-restarts", epochs, faithful=False)][:epochs]
    assert restarts[0] == 1
    assert restarts[-1] < 0.03  # the last cycle ends with the run
    published = [first for first, _ in factors("cosine-restarts", epochs, faithful=True)][:epochs]
    assert 0 <= published.count(1) - restarts.count(1) <= 1  # all but one that would be cut
    width = round(epochs / 10)
    rise = [first for first, _ in factors("trapezoid", epochs, faithful=False)]
    assert rise[:width] == pytest.approx([(n + 1) / width for n in range(width)])
    assert rise[width:epochs] == [first for first, _ in factors("trapezoid", epochs, faithful=True)][width:epochs]


def test_epochs_follow_from_the_step_hint_where_the_budget_counts_something_else():
    run = Run(budget=60.0)
    run.unit = "seconds"
    assert factors("cosine", 3, faithful=False, run=run) == factors("cosine", 3, faithful=False)  # 15 of 7 steps


@pytest.mark.parametrize(("faithful", "final"), [(True, 0.5), (False, 0.05)])
def test_the_final_rate_of_adabound_follows_the_schedule_unless_faithful(faithful, final):
    """Late in a run both bounds are the final rate; a step is then that times the moment."""
    model = nn.Module()
    model.point = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    options = {"final_lr": 0.5, "gamma": 1e9, "faithful": faithful}
    optimizer = get_submission("valley_adabound")(**options).make_optimizer(model)
    optimizer.param_groups[0]["lr"] /= 10
    model.point.grad = torch.ones_like(model.point)
    optimizer.step()
    assert model.point.item() == pytest.approx(-final * 0.1, rel=1e-6)


def test_published_lookahead_with_a_period_of_one_trains_nothing():
    assert trace("lookahead_momentum", {"faithful": True, "sync_period": 1}, 10) == [1.0] * 4
    assert trace("lookahead_momentum", {"sync_period": 1}, 10) != [1.0] * 4


@pytest.mark.parametrize("name", NAMES)
def test_all_have_the_switch_and_the_schedules(name):
    parameters = inspect.signature(get_submission(name)).parameters
    assert (parameters["faithful"].default, parameters["schedule"].default) == (False, "constant")
    with pytest.raises(BadInputError, match=r"Unknown schedule 'cosin'\. Did you mean 'cosine'\?"):
        get_submission(name)(schedule="cosin")
