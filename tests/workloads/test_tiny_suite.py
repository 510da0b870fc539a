"""Every workload that has a tiny form: its packaged config trains it to its target within its step hint."""

import pytest

from algoperf_lightning.cli import main
from algoperf_lightning.registry import WORKLOADS, find_workload, get_spec, plugins
from algoperf_lightning.result import Status, TrialResult
from algoperf_lightning.spec import is_better
from algoperf_lightning.tuning.suites import get_suite

TINY = [name for name in plugins(WORKLOADS) if get_spec(name).tiny is not None]


def test_the_suites_evaluations_are_twenty_five_a_budget():
    for name in get_suite("tiny", "1.0").choose([]):
        spec = find_workload(name)
        if spec.is_tiny:
            budget, period = spec.allowance("external", "steps")
            assert spec.budget / spec.eval_period == pytest.approx(25)
            assert 20 <= budget / period <= 30, name


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_the_packaged_config_reaches_the_target(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["data", "tiny", name, "--data-dir", "data"])
    steps = ["--time_budget.unit", "steps"]  # a busy machine changes nothing then
    main(["fit", "--config", f"tiny/{name}", *steps, "--recorder.folder", "trial", "--trainer.accelerator", "cpu"])
    result = TrialResult.read(tmp_path / "trial")
    assert result.status is Status.REACHED
    first, *_, last = (row.metrics[f"validation/{result.metric}"] for row in result.evaluations)
    assert is_better(last, first, result.direction)
    assert not is_better(first, result.validation_target, result.direction)
