import shutil
import time

import lightning as L
import pytest
import torch
import torch._inductor.compile_fx

from algoperf_lightning.baselines import AdamW
from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.result import Status
from algoperf_lightning.workloads import Digits

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")


def fit(folder, compiled, steps):
    recorder = TrialRecorder(folder)
    trainer = L.Trainer(
        callbacks=[budget := TimeBudget(budget=1000, eval_period=900), recorder],
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    workload = Digits(AdamW(), compile=compiled)
    trainer.fit(workload, ckpt_path=recorder.checkpoint_path)
    return budget.result, workload


@pytest.mark.slow
def test_a_compiled_run_trains_evaluates_saves_and_goes_on(tmp_path, monkeypatch):
    compile_fx, slow = torch._inductor.compile_fx.compile_fx, 1.5

    def compiles_slowly(*args, **kwargs):  # what is in torch's cache takes no time
        time.sleep(slow)
        return compile_fx(*args, **kwargs)

    monkeypatch.setattr(torch._inductor.compile_fx, "compile_fx", compiles_slowly)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    result, workload = fit(tmp_path / "compiled", True, 20)
    assert result.status is Status.STOPPED
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert result.warnings == [], "compiling passes for breaking the rules"
    assert [e.step for e in result.evaluations] == [1, 20]
    _, plain = fit(tmp_path / "plain", False, 20)
    assert workload.state_dict().keys() == plain.state_dict().keys()
    for name, parameter in plain.network.state_dict().items():
        torch.testing.assert_close(workload.network.state_dict()[name], parameter, rtol=1e-3, atol=1e-4)

    resumed, _ = fit(tmp_path / "compiled", True, 30)
    assert [e.step for e in resumed.evaluations] == [1, 20, 30]
    first = resumed.evaluations[0].submission_seconds
    assert first >= slow, "lazy compilation in the first step is on the clock"
