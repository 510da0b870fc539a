"""Every workload that has a tiny form: its packaged config trains it to its target within its step hint."""

import json
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from algoperf_lightning.cli import main
from algoperf_lightning.data.file_data import TINY_MARKER
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, find_workload, get_spec, plugins
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.spec import is_better
from algoperf_lightning.tuning.suites import get_suite

RUNS = Path(__file__).parents[2] / "docs" / "tiny_suite"
TINY = [name for name in plugins(WORKLOADS) if get_spec(name).tiny is not None]


def test_the_suites_evaluations_are_twenty_five_a_budget():
    for name in get_suite("tiny", "1.0").choose([]):
        spec = find_workload(name)
        if spec.is_tiny:
            budget, period = spec.allowance("external", "steps")
            assert spec.budget / spec.eval_period == pytest.approx(25)
            assert 20 <= budget / period <= 30, name


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_the_targets_are_what_the_kept_runs_say(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    spec = find_workload(path.stem)
    tuned, seeds = ([row for row in rows if (row["seed"] <= 5) == again] for again in (False, True))
    assert len(tuned) == 4 * 6
    assert len(seeds) == 5
    best = (max if spec.direction == "max" else min)(tuned, key=lambda row: row["validation"])
    assert {(row["algorithm"], row["trial"]) for row in seeds} == {(best["algorithm"], best["trial"])}
    assert {row["steps"] for row in rows} == {int(0.75 * spec.step_hint)}
    target = statistics.median(row["validation"] for row in seeds)
    assert spec.validation_target == pytest.approx(target, rel=3e-4)
    assert not is_better(spec.validation_target, target, spec.direction), "rounded to the easier side"
    if spec.test_target is not None:
        met = [row["test"] for row in seeds if not is_better(target, row["validation"], spec.direction)]
        assert spec.test_target == pytest.approx((min if spec.direction == "max" else max)(met), rel=3e-4)


def test_workloads_that_share_a_folder_write_the_same_tiny_data(tmp_path):
    folders = defaultdict(list)
    for name in TINY:
        folders[get_workload(name).data_class.folder_name].append(name)
    shared = [names for names in folders.values() if len(names) > 1]
    assert shared
    for names in shared:
        written = []
        for name in names:
            data = get_workload(name).data_class(get_spec(name), tmp_path / name)
            data.write_tiny()
            files = {path.relative_to(data.folder): path for path in data.folder.rglob("*") if path.is_file()}
            written.append({name: path.read_bytes() for name, path in files.items() if path.name != TINY_MARKER})
        assert all(files == written[0] for files in written)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    main(["data", "tiny", "--all", "--data-dir", str(folder)])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_the_packaged_config_reaches_the_target(name, data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALGOPERF_DATA_DIR", str(data_dir))
    steps = ["--time_budget.unit", "steps"]  # a busy machine changes nothing then
    main(["fit", "--config", f"tiny/{name}", *steps, "--recorder.folder", "trial", "--trainer.accelerator", "cpu"])
    result = TrialResult.read(tmp_path / "trial")
    assert result.status is Status.REACHED
    first, *_, last = (row.metrics[f"validation/{result.metric}"] for row in result.evaluations)
    assert is_better(last, first, result.direction)
    assert not is_better(first, result.validation_target, result.direction)
