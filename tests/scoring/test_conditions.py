"""What official logs say of their conditions; the fields are as the harness writes them, from published logs."""

import json
import math

import pytest
from scoring_cases import kinds, run_on

from algoperf_lightning import cli
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import find_workload
from algoperf_lightning.scoring import get_benchmark, read_runs, score_runs, write_official
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.conditions import versions_of
from algoperf_lightning.spec import BENCHMARK_VERSIONS

V100 = {"cpu_model_name": "Intel(R) Xeon(R) CPU @ 2.00GHz", "gpu_model_name": "Tesla V100-SXM2-16GB", "gpu_count": 8}
A100 = {"cpu_model_name": "Intel(R) Xeon(R) CPU @ 2.20GHz", "gpu_model_name": "NVIDIA A100-SXM4-40GB", "gpu_count": 4}
TARGETS = {"ogbg": ("mean_average_precision", 0.28098, 0.268729), "criteo1tb": ("loss", 0.123735, 0.126041)}


def log(
    root,
    budget,
    workload="ogbg",
    ruleset="external",
    *,
    submission="mine",
    study=0,
    trial=1,
    used=500.0,
    framework="jax",
    machine=V100,
    flags=(),
    meta=(),
):
    """Write a trial's folder as the official harness does, with the fields that matter."""
    folder = root / submission / f"study_{study}" / f"{workload}_{framework}" / f"trial_{trial}"
    folder.mkdir(parents=True)
    metric, target, test = TARGETS[workload]
    value = 1.0 if metric == "mean_average_precision" else 0.1
    (folder / "eval_measurements.csv").write_text(
        f"validation/{metric},test/{metric},global_step,score\n0.2,0.2,1,{used * 0.9}\n{value},{value},9,{used}\n"
    )
    said = {
        "workload.eval_period_time_sec": 240,
        "workload.max_allowed_runtime_sec": budget,
        "workload.step_hint": 52000,
        "workload.target_metric_name": metric,
        "workload.test_target_value": test,
        "workload.train_mean": test,
        "workload.validation_target_value": target,
        "gpu.count": machine.get("gpu_count"),
        "os_platform": "Linux-6.1.0-44-cloud-amd64-x86_64-with-glibc2.31",
        "python_version": "3.11.10",
        "git_branch": "main",
        "git_commit_hash": "b21be29be0a1573fb4f78f849aea019cdb520862",
        "cpu_count": 24,
        **machine,
        "rng_seed": 1781005226,
        **dict(meta),
    }
    (folder / "meta_data_0.json").write_text(json.dumps(said))
    run = {
        "tuning_ruleset": ruleset,
        "workload": workload,
        "framework": framework,
        "torch_compile": True,
        "rng_seed": 1781005226,
        **dict(flags),
    }
    (folder / "flags_0.json").write_text(json.dumps(run))
    return folder


@pytest.mark.parametrize(
    ("budget", "ruleset", "found"),
    [
        (11303, "self", ("1.0", "self-tuning", 16954.5)),
        (11303, "external", ("1.0", "external", 11303)),
        (12011, "self", ("0.6", "self-tuning", 18016.5)),
        (18477, "external", ("0.5", "external", 18477)),
        (18477, "self", ("0.5", "self-tuning", 55431)),
    ],
)
def test_the_logs_say_version_ruleset_and_budget(tmp_path, budget, ruleset, found):
    log(tmp_path, budget, ruleset=ruleset)
    runs = read_runs([tmp_path])
    (only,) = runs.trials
    assert (only.version, only.ruleset, only.budget) == found
    benchmark = choose_benchmark(runs)
    assert (benchmark.version, benchmark.ruleset) == found[:2]
    board = score_runs(runs, benchmark)
    assert set(kinds(board.findings)) <= {"assumed", "incomplete", "few studies", "nothing counts"}


def test_the_budgets_of_all_versions_are_told_apart_but_for_one():
    for version in BENCHMARK_VERSIONS:
        for workload in get_benchmark(version, "external").workloads:
            same = {"0.5", "0.6"} if workload.name.startswith("criteo1tb") and version != "1.0" else {version}
            assert set(versions_of(workload.name, workload.budget)) == same


@pytest.mark.parametrize(("other", "version"), [(18477, "0.5"), (12011, "0.6")])
def test_a_budget_of_two_versions_is_that_of_the_submissions_other_logs(tmp_path, other, version):
    log(tmp_path, 7703, "criteo1tb")
    log(tmp_path, other)
    log(tmp_path, 12011 if other == 18477 else 18477, submission="of another version")
    found = {each.submission + each.workload: each.version for each in read_runs([tmp_path]).trials}
    assert found["minecriteo1tb"] == found["mineogbg"] == version


def test_a_budget_of_two_versions_alone_is_not_known(tmp_path):
    log(tmp_path, 7703, "criteo1tb")
    runs = read_runs([tmp_path])
    assert runs.trials[0].version is None
    assert choose_benchmark(runs).version == "0.6"


@pytest.mark.parametrize(
    ("one", "two", "what"),
    [
        ({"ruleset": "external"}, {"ruleset": "self"}, "ruleset: external, self-tuning"),
        ({"budget": 11303}, {"budget": 12011}, r"version: 0\.6, 1\.0"),
    ],
)
def test_mixtures_are_refused_as_for_own_runs(tmp_path, one, two, what):
    for name, changes in (("a", one), ("b", two)):
        log(tmp_path, **{"budget": 12011, **changes}, submission=name)
    with pytest.raises(BadInputError, match=f"The runs disagree on the {what}"):
        choose_benchmark(read_runs([tmp_path]))


def test_a_given_ruleset_leaves_the_other_out(tmp_path):
    log(tmp_path, 12011, submission="tuned", used=900.0)
    log(tmp_path, 12011, submission="self tuned", ruleset="self", used=300.0)
    runs = read_runs([tmp_path])
    board = score_runs(runs, choose_benchmark(runs, ruleset="external"))
    assert board.submissions == ("tuned",)
    assert "other ruleset" in kinds(board.findings)


def test_mixed_hardware_is_told(tmp_path):
    log(tmp_path, 12011, submission="a")
    log(tmp_path, 12011, submission="b", machine=A100)
    runs = read_runs([tmp_path])
    (finding,) = (each for each in score_runs(runs, choose_benchmark(runs)).findings if each.kind == "mixed hardware")
    assert "4 x NVIDIA A100-SXM4-40GB: b; 8 x Tesla V100-SXM2-16GB: a" in finding.message
    assert finding.strict


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("mixed precision", {"precision": "32-true"}, {"precision": "bf16-mixed"}),
        (
            "mixed precision",
            {"precision": "32-true", "float32_matmul_precision": "highest"},
            {"precision": "32-true", "float32_matmul_precision": "high"},
        ),
        ("mixed compilation", {"compile": False}, {"compile": "max-autotune"}),
        ("mixed compilation", {"compile": False}, {"compile": True}),
    ],
)
def test_mixed_precision_and_compilation_are_told(tmp_path, capsys, kind, one, two):
    machine = {"accelerator": "cpu", "cpu": "a CPU", "ranks": 1}
    for name, changes in (("a", one), ("b", two)):
        folder = tmp_path / name / "study_1/digits/trial_1"
        run_on(folder, "digits", 10.0, submission=name, environment={**machine, **changes})
    with pytest.raises(SystemExit):
        cli.main(["score", str(tmp_path), "--strict", "--draws", "5"])
    assert f"{kind}: Results on digits are not comparable" in capsys.readouterr().err


def test_compiling_one_workload_and_not_another_is_no_mixture(tmp_path):
    for workload in ("digits", "mnist"):
        compiled = {"accelerator": "cpu", "cpu": "a CPU", "compile": workload == "mnist"}
        run_on(tmp_path / f"a/study_1/{workload}/trial_1", workload, 10.0, environment=compiled)
    runs = read_runs([tmp_path])
    assert kinds(score_runs(runs, choose_benchmark(runs)).findings) == ["assumed"]


def test_official_pytorch_runs_say_whether_they_were_compiled(tmp_path):
    log(tmp_path, 12011, submission="a", framework="pytorch")
    log(tmp_path, 12011, submission="b", framework="pytorch", flags={"torch_compile": False})
    log(tmp_path, 12011, submission="c", flags={"torch_compile": False})  # means nothing to JAX
    runs = read_runs([tmp_path])
    (finding,) = (
        each for each in score_runs(runs, choose_benchmark(runs)).findings if each.kind == "mixed compilation"
    )
    assert finding.message.endswith("compiled: a; not compiled: b.")


def test_another_target_is_told_and_the_same_in_other_digits_is_not(tmp_path):
    log(tmp_path, 12011, submission="a", meta={"workload.validation_target_value": 0.28098 + 1e-16})
    log(tmp_path, 12011, submission="b", meta={"workload.validation_target_value": 0.25})
    runs = read_runs([tmp_path])
    told = [
        each for each in score_runs(runs, choose_benchmark(runs)).findings if each.kind == "other validation target"
    ]
    assert [each.message.partition(":")[0] for each in told] == ["1 trial of b on ogbg"]


def test_a_budget_of_no_version_is_told_once(tmp_path):
    for study in (0, 1):
        log(tmp_path, 3600, study=study)
    runs = read_runs([tmp_path])
    (finding,) = (each for each in runs.findings if each.kind == "other budget")
    assert finding.message.startswith("2 trials of mine on ogbg had a budget of 3600 s, which no version")
    assert {each.version for each in runs.trials} == {None}


def test_a_log_in_another_workloads_folder_is_told(tmp_path):
    log(tmp_path, 12011, flags={"workload": "wmt"})
    assert kinds(read_runs([tmp_path]).findings) == ["mislabelled"]


def resume(folder, number, flags=(), **meta):
    """Write the files of a later start of a trial, as the harness does after a preemption."""
    for name, changed in (("flags", dict(flags)), ("meta_data", {"rng_seed": number, **meta})):
        first = json.loads((folder / f"{name}_0.json").read_text())
        (folder / f"{name}_{number}.json").write_text(json.dumps({**first, **changed}))


def test_a_trial_that_was_resumed_alike_is_as_one_that_was_not(tmp_path):
    for root in ("whole", "resumed"):
        log(tmp_path / root, 12011)
    for number in range(1, 12):
        resume(tmp_path / "resumed/mine/study_0/ogbg_jax/trial_1", number, os_platform=f"kernel {number}")
    (whole,), (resumed,) = (read_runs([tmp_path / root]).trials for root in ("whole", "resumed"))
    assert read_runs([tmp_path / "resumed"]).findings == []
    assert resumed.record["environment"].pop("os") == "kernel 11"
    whole.record["environment"].pop("os")
    assert resumed.record == whole.record
    assert resumed.version == whole.version


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (A100, "hardware 4 x NVIDIA A100-SXM4-40GB instead of 8 x Tesla V100-SXM2-16GB"),
        ({"git_commit_hash": "c0ffee"}, "commit c0ffee instead of b21be29be0a1573fb4f78f849aea019cdb520862"),
        ({"python_version": "3.12.1"}, "python 3.12.1 instead of 3.11.10"),
        ({"workload.max_allowed_runtime_sec": 18477}, "budget 18477.0 instead of 12011.0"),
        ({"flags": {"tuning_ruleset": "self"}}, "ruleset self-tuning instead of external"),
        ({"flags": {"torch_compile": False}}, "compilation not compiled instead of compiled"),
    ],
)
def test_a_trial_that_was_resumed_under_other_conditions_is_told(tmp_path, changes, words):
    for trial in (1, 2):
        folder = log(tmp_path, 12011, trial=trial, framework="pytorch")
        resume(folder, 1)
        resume(folder, 2, **changes)
    log(tmp_path, 12011, trial=3, framework="pytorch")
    (finding,) = read_runs([tmp_path]).findings
    assert (finding.kind, finding.strict) == ("changed conditions", True)
    assert finding.message.startswith(f"2 trials of mine resumed under other conditions: after resume 2 {words} (the")


def test_what_the_last_start_says_counts(tmp_path):
    folder = log(tmp_path, 12011)
    resume(folder, 1, **A100, **{"workload.max_allowed_runtime_sec": 18477})
    (folder / "meta_data_10.json").write_text("{")
    resume(folder, 2, {"tuning_ruleset": "self"})
    (folder / "meta_data_2.json").unlink()
    runs = read_runs([tmp_path])
    assert (runs.trials[0].version, runs.trials[0].ruleset) == ("0.5", "self-tuning")
    assert runs.trials[0].record["environment"]["ranks"] == 4
    assert kinds(runs.findings) == ["changed conditions", "conditions unknown"]
    assert "instead of external" in next(each.message for each in runs.findings if each.kind == "changed conditions")


@pytest.mark.parametrize("content", ["{", "[1, 2]", "\xff"])
def test_a_damaged_file_says_nothing_and_that_is_told(tmp_path, content):
    folder = log(tmp_path, 12011)
    (folder / "meta_data_0.json").write_bytes(content.encode("latin-1"))
    runs = read_runs([tmp_path])
    assert (runs.trials[0].version, runs.trials[0].ruleset) == (None, "external")
    (finding,) = runs.findings
    assert finding.kind == "conditions unknown"
    assert finding.strict
    assert "meta_data_0.json" in finding.message


def test_the_same_point_and_seed_twice_is_told_and_one_seed_for_all_points_is_not(tmp_path):
    for trial, rate in ((1, 0.1), (2, 0.2), (3, 0.2)):
        folder = log(tmp_path, 12011, trial=trial)
        (folder / "hparams.json").write_text(json.dumps({"learning_rate": rate}))
    runs = read_runs([tmp_path])
    same = [each for each in score_runs(runs, choose_benchmark(runs)).findings if each.kind == "same seed"]
    assert [each.message for each in same] == [
        "mine, ogbg, study 0, trial 3 has the seed and the hyperparameters of mine, ogbg, study 0, trial 2."
    ]


# The writer


@pytest.mark.parametrize("version", BENCHMARK_VERSIONS)
@pytest.mark.parametrize(("ruleset", "said"), [("external", "external"), ("self-tuning", "self")])
def test_exported_runs_read_back_as_they_were(tmp_path, version, ruleset, said):
    spec = find_workload("ogbg", version)
    budget, _ = spec.allowance(ruleset)
    environment = {"accelerator": "cuda", "gpus": ["NVIDIA H100"] * 2, "ranks": 2, "precision": "bf16-mixed"}
    environment |= {"compile": "default", "cpu": "a CPU", "packages": {"torch": "2.11.0"}}
    run_on(
        tmp_path / "runs/adamw/study_1/ogbg/trial_1",
        "ogbg",
        300.0,
        ruleset=ruleset,
        version=version,
        budget=budget * 2,
        scale=2.0,
        environment=environment,
    )
    (own,) = read_runs([tmp_path / "runs"]).trials
    (folder,) = write_official(read_runs([tmp_path / "runs"]), tmp_path / "logs")
    flags, meta = (json.loads((folder / name).read_text()) for name in ("flags_0.json", "meta_data_0.json"))
    assert (flags["tuning_ruleset"], flags["torch_compile"], flags["framework"]) == (said, True, "pytorch")
    assert meta["workload.max_allowed_runtime_sec"] == spec.budget
    assert meta["workload.step_hint"] == spec.step_hint
    assert (meta["gpu_model_name"], meta["gpu_count"]) == ("NVIDIA H100", 2)
    assert meta["rng_seed"] == flags["rng_seed"] == own.record["seed"]
    (back,) = read_runs([tmp_path / "logs"]).trials
    for name in ("version", "ruleset", "unit", "scale", "budget", "record"):
        assert getattr(back, name) == getattr(own, name), name
    again = write_official(read_runs([tmp_path / "logs"]), tmp_path / "again")[0]
    for name in ("eval_measurements.csv", "meta_data_0.json", "flags_0.json", "hparams.json"):
        assert (again / name).read_text() == (folder / name).read_text()


def test_exported_runs_on_own_workloads_are_scored_as_before(tmp_path):
    for name, used in (("fast", 10.0), ("slow", 15.0), ("never", math.inf)):
        run_on(tmp_path / f"runs/{name}/study_1/digits/trial_1", "digits", used, submission=name)
    runs = read_runs([tmp_path / "runs"])
    write_official(runs, tmp_path / "logs")
    back = read_runs([tmp_path / "logs"])
    one, two = (score_runs(each, choose_benchmark(each)) for each in (runs, back))
    assert one.scores.tolist() == two.scores.tolist()
    assert one.title == two.title


def test_a_damaged_record_in_an_export_is_refused(tmp_path):
    run_on(tmp_path / "runs/adamw/study_1/digits/trial_1", "digits", 10.0)
    (folder,) = write_official(read_runs([tmp_path / "runs"]), tmp_path / "logs")
    path = folder / "meta_data_0.json"
    meta = json.loads(path.read_text())
    meta["algoperf_lightning.record"]["budget"] = -1
    path.write_text(json.dumps(meta))
    with pytest.raises(
        BadInputError, match=r"meta_data_0\.json is damaged: budget must be a positive number, but got -1"
    ):
        read_runs([tmp_path / "logs"])
