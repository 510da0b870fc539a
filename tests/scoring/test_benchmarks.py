"""Versions and rulesets as data, benchmarks of one's own, and the choice of one where nobody said it."""

import dataclasses

import pytest
from scoring_cases import inf, kinds, own_run, runs_of, suite, trial

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import find_workload
from algoperf_lightning.scoring import (
    Runs,
    Selection,
    choose_benchmark,
    get_benchmark,
    read_benchmark,
    read_runs,
    score_runs,
)
from algoperf_lightning.spec import BENCHMARK_VERSIONS

BUDGETS = {
    ("0.5", "external"): 340_292,
    ("0.6", "external"): 305_827,
    ("1.0", "external"): 265_883,
    ("0.5", "self-tuning"): 3 * 340_292,
    ("0.6", "self-tuning"): 1.5 * 305_827,
    ("1.0", "self-tuning"): 1.5 * 265_883,
}


@pytest.mark.parametrize(
    ("version", "ruleset", "shape"),
    [
        ("0.5", "external", (8, 6, 5, 5)),
        ("0.5", "self-tuning", (8, 6, 5, 1)),
        ("0.6", "external", (8, 0, 3, 5)),
        ("0.6", "self-tuning", (8, 0, 3, 1)),
        ("1.0", "external", (9, 0, 3, 5)),
        ("1.0", "self-tuning", (9, 0, 3, 1)),
    ],
)
def test_versions_and_rulesets(version, ruleset, shape):
    benchmark = get_benchmark(version, ruleset)
    assert (len(benchmark.base), len(benchmark.held_out), benchmark.studies, benchmark.trials) == shape
    assert benchmark.budgets[: len(benchmark.base)].sum() == BUDGETS[version, ruleset]


def test_held_out_workloads_share_the_metric_and_the_budget_of_their_base():
    benchmark = get_benchmark("0.5", "external")
    for held_out, column in zip(benchmark.held_out, benchmark.base_of, strict=True):
        base = benchmark.base[column]
        assert held_out.name.startswith(base.name)
        assert (held_out.metric, held_out.direction, held_out.budget) == (base.metric, base.direction, base.budget)
        assert held_out.validation_target != base.validation_target


@pytest.mark.parametrize("version", BENCHMARK_VERSIONS)
def test_the_numbers_are_those_of_the_workloads_own_specs(version):
    fields = ("metric", "direction", "validation_target", "test_target", "budget")
    differing = {}
    for workload in get_benchmark(version, "external").workloads:
        spec = find_workload(workload.name, version)
        for name in fields:
            if getattr(workload, name) != getattr(spec, name):
                differing[workload.name, name] = getattr(workload, name), getattr(spec, name)
    # Lowered after the tag: runs went to the old target, and are scored by the new one.
    lowered = {("wmt_glu_tanh", "validation_target"): (29.5779, 29.6517)}
    assert differing == (lowered if version == "0.5" else {})


def test_grid():
    taus = get_benchmark("0.5", "external").taus
    assert (len(taus), taus[0], taus[-1]) == (100, 1.0, 4.0)
    assert taus[1] - taus[0] == pytest.approx(1 / 33)


@pytest.mark.parametrize(
    ("version", "ruleset", "message"),
    [
        ("0.7", "external", "Unknown benchmark version '0.7'"),
        ("0.6", "self_tuning", "Unknown ruleset 'self_tuning'. Did you mean"),
    ],
)
def test_unknown_versions_and_rulesets(version, ruleset, message):
    with pytest.raises(BadInputError, match=message):
        get_benchmark(version, ruleset)


# Of one's own

YAML = """
name: our suite
studies: 3
trials: 2
budget_factor: 2
limit: 3
workloads:
  digits: {metric: accuracy, direction: max, target: 0.97, budget: 60}
  lines: {metric: loss, direction: min, target: 0.1, test_target: 0.2, budget: 90}
held_out:
  digits_wide: {base: digits, metric: accuracy, direction: max, target: 0.96, budget: 60}
"""


def write(tmp_path, text):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    return path


def test_a_benchmark_from_a_file(tmp_path):
    benchmark = read_benchmark(write(tmp_path, YAML))
    assert [workload.name for workload in benchmark.workloads] == ["digits", "lines", "digits_wide"]
    assert benchmark.budgets.tolist() == [120, 180, 120]
    assert benchmark.base[1].test_target == 0.2
    assert benchmark.base_of.tolist() == [0]
    assert (benchmark.studies, benchmark.trials, benchmark.taus[-1]) == (3, 2, 3)
    assert (benchmark.version, benchmark.ruleset) == ("custom", "external")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("workloads:", "workload:", "must contain a mapping with the key 'workloads'"),
        ("studies:", "studys:", "Unknown key in .* 'studys'. Did you mean 'studies'"),
        ("base: digits", "base: digit", "Unknown base workload of digits_wide 'digit'. Did you mean 'digits'"),
        ("target: 0.97, ", "", "digits has no target"),
        ("target: 0.97", "goal: 0.97", "Unknown key of digits in .* 'goal'"),
        (
            "direction: max, target: 0.97",
            "direction: up, target: 0.97",
            "direction must be 'min' or 'max', but got 'up'",
        ),
        ("budget: 90", "budget: -90", "lines: budget must be a positive number, but got -90"),
        ("target: 0.1", "target: low", "lines: validation target must be a positive number, but got 'low'"),
        ("studies: 3", "studies: 2.5", "studies must be a positive integer, but got 2.5"),
        ("limit: 3", "limit: 0.5", "limit above 1"),
        ("studies: 3", "unit: hours", "Unknown unit of our suite 'hours'"),
        ("digits_wide:", "lines:", "workload 'lines' is listed twice"),
        ("name: our", "name: [", r"suite.yaml, line \d: expected"),
        ("studies: 3", "studies: 3\nstudies: 5", "suite.yaml, line 4: 'studies' is given twice"),
        ("budget: 90", "budget: 90, budget: 9", "suite.yaml, line 9: 'budget' is given twice"),
        ("studies: 3", "studies:", "suite.yaml: studies has no value"),
        ("budget: 90", "budget: null", "suite.yaml: lines.budget has no value"),
        ("studies: 3", "3: 3", "Unknown key in .* '3'"),
        ("limit: 3", "limit: 3e-1", "limit above 1"),
    ],
)
def test_files_that_are_refused(tmp_path, old, new, message):
    assert old in YAML
    with pytest.raises(BadInputError, match=message):
        read_benchmark(write(tmp_path, YAML.replace(old, new)))


def test_a_file_in_another_encoding(tmp_path):
    path = write(tmp_path, YAML)
    path.write_bytes(YAML.replace("our suite", "Größe").encode("latin-1"))
    with pytest.raises(BadInputError, match=r"suite.yaml, line 2: the text is not UTF-8"):
        read_benchmark(path)


def test_a_workload_without_a_test_target(tmp_path):
    assert (
        read_benchmark(write(tmp_path, YAML.replace("test_target: 0.2", "test_target: null"))).base[1].test_target
        is None
    )


def test_a_missing_file(tmp_path):
    with pytest.raises(BadInputError, match=r"none.yaml cannot be read: No such file"):
        read_benchmark(tmp_path / "none.yaml")


def test_a_benchmark_of_held_out_workloads_alone_is_refused():
    with pytest.raises(BadInputError, match="at least one base workload"):
        suite(base=())


# The choice


def logged_as_accuracy(benchmark):
    """The benchmark with the metric that the made-up runs log, and its target."""
    changes = {"metric": "accuracy", "direction": "max", "validation_target": 0.9}
    base, held_out = (
        tuple(dataclasses.replace(each, **changes) for each in part) for part in (benchmark.base, benchmark.held_out)
    )
    return dataclasses.replace(benchmark, base=base, held_out=held_out)


def test_the_runs_say_it():
    runs = Runs([trial(workload="wmt", version="0.6", ruleset="self-tuning")])
    benchmark = choose_benchmark(runs)
    assert (benchmark.version, benchmark.ruleset) == ("0.6", "self-tuning")
    assert kinds(runs.findings) == ["assumed"]
    assert choose_benchmark(runs, "0.5", "external").budget_factor == 1.0


@pytest.mark.parametrize(
    ("workloads", "trials", "found"),
    [
        (["wmt"], 1, ("0.6", "self-tuning")),
        (["wmt", "wmt_glu_tanh"], 2, ("0.5", "external")),
        (["wmt", "finewebedu_lm"], 1, ("1.0", "self-tuning")),
    ],
)
def test_official_logs_do_not_say_it(workloads, trials, found):
    runs = Runs([trial(workload=name, number=str(k)) for name in workloads for k in range(trials)])
    benchmark = choose_benchmark(runs)
    assert (benchmark.version, benchmark.ruleset) == found
    assert len(runs.findings) == 2


def test_runs_that_disagree():
    runs = Runs([trial(workload="wmt", version="0.6"), trial(workload="ogbg", version="1.0", ruleset="external")])
    with pytest.raises(BadInputError, match=r"disagree on the version: 0\.6, 1\.0\. Choose one with --version"):
        choose_benchmark(runs)


def test_a_given_version_and_ruleset_select():
    """One table may hold several leaderboards, with the same names in each."""
    runs = Runs(
        [
            trial(workload="wmt", seconds=10.0 * k, version=version, ruleset=ruleset)
            for k, (version, ruleset) in enumerate(
                [("0.5", "external"), ("0.6", "external"), ("0.6", "self-tuning")], 1
            )
        ]
    )
    runs.check()
    with pytest.raises(BadInputError, match="Two logs claim to be s, wmt"):
        score_runs(runs, get_benchmark("0.6", "self-tuning"))
    benchmark = choose_benchmark(runs, "0.6", "self-tuning")
    board = score_runs(runs, logged_as_accuracy(benchmark))
    assert [each.seconds[-1] for each in board.table.trials.values()] == [30.0]
    assert {"other version", "other ruleset"} <= set(kinds(board.findings))


def test_runs_of_one_other_version_are_scored_and_flagged():
    runs = Runs([trial(workload="wmt", version="0.6", ruleset="external")])
    board = score_runs(runs, logged_as_accuracy(choose_benchmark(runs, version="1.0")))
    assert "other version" in kinds(board.findings)
    assert len(board.table.trials) == 1


def test_own_workloads_are_scored_by_their_records(tmp_path):
    for submission, seconds in (("fast", (1.0, 2.0)), ("slow", (1.0, 3.0))):
        own_run(tmp_path / submission / "study_0/shapes/trial_1", submission=submission, seconds=seconds)
    runs = read_runs([tmp_path])
    benchmark = choose_benchmark(runs)
    assert benchmark.base[0].validation_target == 0.9
    assert benchmark.budgets.tolist() == [60]
    board = score_runs(runs, benchmark)
    assert board.ratios.tolist() == [[1.0], [1.5]]
    assert kinds(board.findings) == ["assumed", "coarse"]


def test_own_workloads_with_different_rules(tmp_path):
    own_run(tmp_path / "a/study_0/shapes/trial_1")
    own_run(tmp_path / "b/study_0/shapes/trial_1", validation_target=0.95)
    with pytest.raises(
        BadInputError, match=r"different rules: accuracy to 0\.9 in 60 and accuracy to 0\.95 in 60 seconds"
    ):
        choose_benchmark(read_runs([tmp_path]))


def test_a_file_goes_with_neither_version_nor_ruleset(tmp_path):
    runs, path = runs_of({"s": {"digits": 5.0}}), write(tmp_path, YAML)
    assert choose_benchmark(runs, file=path).name == "our suite"
    with pytest.raises(BadInputError, match="Leave out --version and --ruleset"):
        choose_benchmark(runs, version="0.5", file=path)


# Parts


PARTS = {
    "muon": {"wmt": 10.0, "ogbg": 10.0, "wmt_glu_tanh": 10.0},
    "muon_2": {"wmt": 20.0, "ogbg": inf, "wmt_glu_tanh": 20.0},
    "sgd": {"wmt": 5.0, "ogbg": 15.0, "wmt_glu_tanh": inf},
}


def parts(include=(), exclude=()):
    everything = runs_of(PARTS, version="0.5", ruleset="external")
    selection = Selection(include, exclude)
    runs = selection.of_runs(everything)
    benchmark = selection.of_benchmark(logged_as_accuracy(choose_benchmark(runs)), everything)
    return score_runs(runs, benchmark)


@pytest.mark.parametrize(
    ("include", "exclude", "submissions", "workloads", "title"),
    [
        ([], [], "muon muon_2 sgd", 14, "AlgoPerf 0.5, external ruleset"),
        (["muon*"], [], "muon muon_2", 14, "AlgoPerf 0.5, external ruleset"),
        (["muon*"], ["*_2"], "muon", 14, "AlgoPerf 0.5, external ruleset"),
        (["wmt"], [], "muon muon_2 sgd", 2, "wmt of AlgoPerf 0.5, external ruleset, not AlgoPerf scores"),
        (["sgd", "o?bg"], [], "sgd", 2, "ogbg of AlgoPerf 0.5, external ruleset, not AlgoPerf scores"),
        (["ogbg", "wmt"], ["wmt_*"], "muon muon_2 sgd", 3, "ogbg, wmt of AlgoPerf 0.5, external ruleset, "
         "not AlgoPerf scores"),
        (
            [],
            ["wmt_glu_tanh"],
            "muon muon_2 sgd",
            13,
            "workloads of AlgoPerf 0.5, external ruleset, without wmt_glu_tanh, not AlgoPerf scores",
        ),
    ],
)  # fmt: skip
def test_parts_of_runs_and_of_a_benchmark(include, exclude, submissions, workloads, title):
    board = parts(include, exclude)
    assert " ".join(board.submissions) == submissions
    assert len(board.benchmark.workloads) == workloads
    assert board.title == title


def test_scores_of_a_part_are_over_its_workloads_alone():
    board = parts(["wmt", "ogbg"], ["sgd", "ogbg_*"])
    assert dict(zip(board.submissions, board.scores.tolist(), strict=True)) == {
        "muon": 1.0,
        "muon_2": pytest.approx(0.5 * (99.5 - 33) / 99),
    }
    lost = parts(["wmt"])
    assert lost.cells["sgd", "wmt"].reason == "held-out missed"
    kept = parts(["wmt"], ["wmt_glu_tanh"])
    assert kept.ratios[kept.submissions.index("sgd")].tolist() == [1.0]


@pytest.mark.parametrize(
    ("include", "exclude", "message"),
    [
        (["mun"], [], r"Unknown submission or workload 'mun'\. Did you mean 'muon'"),
        ([], ["wmd"], r"Unknown submission or workload 'wmd'\. Did you mean 'wmt'"),
        ([], ["*"], r"No base workload of .* is left|None of the runs|hold no"),
        (["wmt_glu_tanh"], [], "No base workload of AlgoPerf 0.5, external ruleset is left"),
    ],
)
def test_parts_that_are_refused(include, exclude, message):
    with pytest.raises(BadInputError, match=message):
        parts(include, exclude)


def test_a_submission_of_another_ruleset_is_left_out_by_name():
    everything = runs_of({"tuned": {"wmt": 5.0}}, version="0.6", ruleset="external")
    everything.extend(runs_of({"self": {"wmt": 4.0}}, version="0.6", ruleset="self-tuning"))
    with pytest.raises(BadInputError, match="disagree on the ruleset"):
        choose_benchmark(everything)
    chosen = Selection(exclude=["self"]).of_runs(everything)
    assert choose_benchmark(chosen).ruleset == "external"
    assert "1 trial left out, as requested: self." in [each.message for each in chosen.findings]
