"""Agreement of two rankings: coefficients against slow forms and scipy, the command from runs to JSON."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.stats import kendalltau
from scoring_cases import runs_of, suite
from test_cost import made

from algoperf_lightning import cli
from algoperf_lightning.commands import agreement as command
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring import Runs, find_board, read_runs, score_runs
from algoperf_lightning.scoring.agreement import agreement, kendall_tau, of_ruleset, rank_biased_overlap, shared_runs

OF_V10 = (  # one of each pair that the board has twice
    "ademamix",
    "cautious_nadamw",
    "lion",
    "muon",
    "muon_torch",
    "nadamw",
    "nadamw_baselinev05",
    "schedule_free_adamw",
    "schedule_free_adamw_v2",
)


def test_tau_is_that_of_scipy_with_ties_and_missed_targets():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, (2, 50, 9)).astype(float)
    first[first == 5] = np.inf
    expected = [kendalltau(np.where(np.isinf(a), 9, a), b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(kendall_tau(first, second), expected, atol=1e-12)
    assert np.isnan(kendall_tau(np.ones(4), np.arange(4.0)))


def overlap_by_sets(first, second, persistence, depth=2000):
    """The infinite sum of the paper, with sets; beyond the last place the overlap stays what it was."""
    total = 0.0
    for d in range(1, depth):
        a, b = ({k for k, rank in enumerate(ranking) if rank <= d} for ranking in (first, second))
        total += (1 - persistence) * persistence ** (d - 1) * 2 * len(a & b) / (len(a) + len(b))
    return total


@pytest.mark.parametrize("persistence", [0.5, 0.9])
@pytest.mark.parametrize("second", [(1, 2, 3, 4, 5), (5, 4, 3, 2, 1), (2, 1, 3, 4, 5), (1, 2, 2, 4, 4)])
def test_overlap_is_the_sum_over_all_depths(second, persistence):
    first = np.array([1, 2, 3, 4, 5])
    found = float(rank_biased_overlap(first, np.array(second), persistence))
    assert found == pytest.approx(overlap_by_sets(first, second, persistence), abs=1e-12)


def times(*seconds):
    return {name: {"a": [each] * 3, "b": [each] * 3} for name, each in zip("pqrs", seconds, strict=True)}


def test_scores_times_and_intervals_of_two_leaderboards():
    board = score_runs(runs_of(times(100.0, 120.0, 150.0, 200.0)), suite(studies=3))
    same = agreement(board, board, draws=20)
    assert (same.tau.value, same.tau.low, same.tau.high, same.ceiling.value) == (1,) * 4
    assert same.overlap.value == pytest.approx(1)
    own = score_runs(runs_of(times(100.0, 150.0, 120.0, 200.0)), suite(studies=3))
    found = agreement(own, board, draws=20)
    assert found.submissions == ("p", "q", "r", "s")
    assert found.tau.value == pytest.approx(4 / 6)  # one of six pairs the other way round
    assert [(each.workload, round(each.tau.value, 3)) for each in found.workloads] == [("a", 0.667), ("b", 0.667)]
    assert not found.caveats


def test_a_variant_of_a_workload_is_compared_with_the_boards():
    renamed = {name: {"a_tiny": each["a"], "c": each["b"]} for name, each in times(1.0, 2.0, 3.0, 4.0).items()}
    own = score_runs(runs_of(renamed), suite(base=("a_tiny", "c"), studies=3))
    board = score_runs(runs_of(times(9.0, 12.0, 15.0, 20.0)), suite(studies=3))
    found = agreement(own, board, draws=5).workloads
    assert [(each.workload, each.theirs, each.tau.value) for each in found] == [("a_tiny", "a", 1.0)]


def without_steps(trial):
    return dataclasses.replace(trial, steps=trial.steps[:0], seconds=trial.seconds[:0], metrics={})


def test_priced_steps_rank_by_what_steps_cost_on_the_board(monkeypatch, capsys):
    """Own steps are in the order p, q, r, s; on the board, a step costs the more the fewer there are."""
    steps, costs = {"p": 10, "q": 12, "r": 15, "s": 20}, {"p": 8.0, "q": 4.0, "r": 2.0, "s": 1.0}
    own = [made(name, "a_tiny", steps=count, study=study) for name, count in steps.items() for study in "012"]
    board = [made(name, "a", [cost] * 10, study=study) for name, cost in costs.items() for study in "012"]
    read = {"own": Runs(own), "board": Runs(board)}
    monkeypatch.setattr(command, "read_runs", lambda paths: read[str(paths[0])])
    monkeypatch.setattr(command, "find_board", lambda name: name)
    suites = {"a_tiny": suite(base=("a_tiny",), studies=3), "a": suite(base=("a",), studies=3)}
    monkeypatch.setattr(command, "choose_benchmark", lambda runs, *rest: suites[runs.trials[0].workload])
    found = {}
    for priced in ((), ("--priced",)):
        command.run(["own", "--board", "board", "--json", "--draws", "5", *priced])
        found[priced] = json.loads(capsys.readouterr().out)
    assert (found[()]["tau"], found["--priced",]["tau"]) == (-1, 1)
    read["board"] = Runs(board[:9] + [without_steps(trial) for trial in board[9:]])
    command.run(["own", "--board", "board", "--json", "--draws", "5", "--priced"])
    left = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in left["submissions"]] == ["r", "q", "p"]
    assert "the cost of their steps is not known: s" in left["caveats"][-1]


def test_runs_of_the_boards_ruleset_are_chosen():
    def under(ruleset, names):
        return [dataclasses.replace(made(name, "a"), ruleset=ruleset) for name in names]

    both = Runs(under("external", "pq") + under("self-tuning", "qrs"))
    assert [trial.submission for trial in of_ruleset(both, "self-tuning").trials] == ["q", "r", "s"]
    assert [trial.submission for trial in of_ruleset(both, "external").trials] == ["p", "q"]
    only = Runs(under("external", "pq"))
    assert of_ruleset(only, "self-tuning").trials == only.trials


def test_what_cannot_vary_is_said():
    single = {name: {"a": 100.0 + k} for k, name in enumerate("pqr")}
    board = score_runs(runs_of(single), suite(base=("a",)))
    assert "too narrow: own runs of p, q, r have one study" in agreement(board, board, draws=5).caveats[0]


def test_the_v10_board_agrees_with_its_own_redraws_as_counted_elsewhere(capsys, tmp_path):
    path = find_board("v1.0-self-tuning")
    others = {trial.submission for trial in read_runs([path]).trials} - set(OF_V10)
    cli.main(
        ["agreement", str(path), "--board", "v1.0-self-tuning", "--json", "--draws", "300"]
        + [each for name in sorted(others) for each in ("--exclude", name)]
    )
    found = json.loads(capsys.readouterr().out)
    assert sorted(each["name"] for each in found["submissions"]) == sorted(OF_V10)
    assert found["tau"] == 1
    assert found["low"] < 1
    assert found["ceiling"]["tau"] == pytest.approx(0.67, abs=0.08)  # counted by hand, of nine submissions


def test_names_of_the_board_are_given_and_tables_are_printed(capsys, tmp_path):
    path = find_board("v0.5-external")
    arguments = ["agreement", str(path), "--board", "v0.5-external", "--draws", "3"]
    cli.main([*arguments, "--same-as", "nadamp=baseline", "--exclude", "baseline", "--exclude", "c*"])
    shown = capsys.readouterr().out
    assert "Kendall's tau" in shown
    assert "rank-biased overlap" in shown
    assert "imagenet_resnet" in shown
    row = next(line for line in shown.splitlines() if line.split()[:1] == ["nadamp"])
    assert row.split()[1] == "baseline"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"pp": "x"}, "Unknown submission of the runs 'pp'"),
        ({"p": "xx"}, "Unknown submission of the board 'xx'"),
        ({"p": "q"}, "p and q cannot both be q of the board"),
        ({}, "at least 3 submissions that are in the runs and on the board, but found 2"),
    ],
)
def test_submissions_that_cannot_be_matched(names, message):
    own = runs_of({name: {"a": 1.0} for name in "pqr"})
    board = runs_of({name: {"a": 1.0} for name in "qrx"})
    with pytest.raises(BadInputError, match=message):
        shared_runs(own, board, names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "No runs were given"),
        (["x.csv", "--same-as", "a"], "--same-as a: expected NAME=BOARD_NAME"),
        (["x.csv", "--same-as", "a=b", "--same-as", "a=c"], "names a twice, as b and as c"),
    ],
)
def test_bad_input(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["agreement", *arguments, "--board", "tiny"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_draws_are_checked():
    board = score_runs(runs_of(times(1.0, 2.0, 3.0, math.inf)), suite(studies=3))
    with pytest.raises(BadInputError, match="draws >= 1"):
        agreement(board, board, draws=0)
