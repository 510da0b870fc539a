"""The workload wmt: loss, metrics, ranks, learning."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from test_wmt_model import INPUTS, SMALL, TARGETS, filled, packed

from algoperf_lightning import get_submission
from algoperf_lightning.submission import Submission
from algoperf_lightning.testing import train
from algoperf_lightning.workloads.wmt.data import WmtData
from algoperf_lightning.workloads.wmt.metric import Bleu
from algoperf_lightning.workloads.wmt.spec import WMT_SPEC
from algoperf_lightning.workloads.wmt.workload import WMT


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wmt")
    WmtData(WMT_SPEC, folder).write_tiny()
    return folder


def golden_workload():
    """With the small model of the golden numbers."""
    workload = WMT(Submission())
    workload.spec = dataclasses.replace(workload.spec, model={**workload.spec.model, **SMALL})
    workload.model = workload.build_model()
    workload.model.load_state_dict(filled("b").state_dict())
    return workload.eval()


def text_workload(tiny):
    workload = WMT(Submission(), tiny=True, data_dir=tiny)
    workload.configure_model()
    return workload.eval()


# Loss


@pytest.mark.parametrize(("smoothing", "expected"), [(0.0, 67.6013), (0.1, 67.5103)])
def test_the_loss_is_that_of_the_reference(smoothing, expected):
    with torch.no_grad():
        loss = golden_workload().loss({"inputs": INPUTS, "targets": TARGETS}, label_smoothing=smoothing)
    assert loss.weight.tolist() == [8, 10]
    assert loss.per_example.shape == (2,)
    assert loss.per_example.sum().item() == pytest.approx(expected, rel=2e-6)


def test_the_loss_of_packed_rows_is_that_of_the_reference():
    with torch.no_grad():
        loss = golden_workload().loss(packed())
    assert loss.weight.tolist() == [7, 4]
    assert loss.per_example.sum().item() == pytest.approx(41.4688, rel=2e-6)


@pytest.mark.parametrize("weights", [torch.tensor([0.0, 1.0]), torch.tensor([[0.0], [1.0]]).expand(2, 10)])
def test_rows_of_weight_0_count_nothing(weights):
    workload, batch = golden_workload(), {"inputs": INPUTS, "targets": TARGETS}
    with torch.no_grad():
        whole, part = workload.loss(batch), workload.loss({**batch, "weights": weights})
    assert part.weight.tolist() == [0, 10]
    assert part.per_example.tolist() == [0, whole.per_example[1].item()]


@pytest.mark.parametrize("dropout", [None, 0.0, 0.25])
def test_dropout_is_the_submissions_or_the_benchmarks(dropout):
    submission = Submission()
    submission.dropout = dropout
    model = WMT(submission, tiny=True).build_model()
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.1 if dropout is None else dropout}


# Evaluation


def test_text_ends_with_the_first_end_token_and_without_one_is_one_token_long(tiny):
    workload = text_workload(tiny)
    one, two = (workload.data.tokenizer.encode([text])[0] for text in ("The dog has", "seen"))
    rows = torch.tensor([[*one, *two, 0], [*one[:-1], *two[:-1], 9, 9, 0], [*two, *two, *one][: len(one + two) + 1]])
    first = workload.data.tokenizer.decode([[one[0]]])[0]
    assert workload._text(rows) == ["The dog has", first, "seen"]


def test_metrics_are_means_over_tokens_and_bleu_of_all_real_sentences(tiny, monkeypatch):
    workload = text_workload(tiny)
    batch = workload.data.open("validation").read(torch.arange(6).numpy(), None)
    batch["weights"] = torch.tensor([1.0, 1, 1, 1, 0, 0])
    asked = []
    references = workload._text(batch["targets"])
    said = ["A dog has seen the dog.", *references[1:3], "The."]
    monkeypatch.setattr(workload, "translate", lambda inputs: asked.append(inputs) or said)
    metrics = workload.build_metrics()
    with torch.no_grad():
        workload.evaluate(batch, metrics)
        real = {name: values[:4] for name, values in batch.items()}
        loss = workload.loss(real)
        logits = workload.network(real["inputs"], real["targets"])
    counted = real["targets"] > 0
    right = (logits.argmax(-1) == real["targets"])[counted].float().mean()
    assert metrics["loss"].compute().item() == pytest.approx(float(loss.per_example.sum() / loss.weight.sum()))
    assert metrics["accuracy"].compute().item() == pytest.approx(right.item())
    assert len(asked) == 1
    assert torch.equal(asked[0], batch["inputs"][:4])
    bleu = Bleu()
    bleu.update(said, references[:4])
    assert metrics["bleu"].compute().item() == pytest.approx(bleu.compute().item())
    assert 0 < bleu.compute().item() < 100


def test_a_rank_without_sentences_evaluates_too(tiny):
    workload = text_workload(tiny)
    batch = workload.data.open("validation").read(torch.arange(2).numpy(), None)
    batch["weights"] = torch.zeros(2)
    metrics = workload.build_metrics()
    with torch.no_grad():
        workload.evaluate(batch, metrics)
    assert metrics["bleu"].totals.sum() == 0


def test_translating_does_not_depend_on_how_wide_the_batch_is(tiny):
    workload = text_workload(tiny)
    inputs = workload.data.open("validation").read(torch.arange(3).numpy(), None)["inputs"]
    alone = [workload.translate(inputs[row : row + 1])[0] for row in range(3)]
    assert workload.translate(inputs) == alone


# Numbers


@pytest.mark.parametrize(
    ("version", "budget", "period", "steps"),
    [("0.5", 48_151, 840, 133_333), ("0.6", 43_336, 840, 120_000), ("1.0", 16_114, 644, 120_000)],
)
def test_budgets_of_versions(version, budget, period, steps):
    spec = WMT_SPEC.of(version=version)
    assert (spec.budget, spec.eval_period, spec.step_hint) == (budget, period, steps)
    assert (spec.validation_target, spec.test_target) == (30.8491, 30.7219)


@pytest.mark.parametrize(("variant", "target"), [("attention_temp", 29.8611), ("glu_tanh", 29.6517)])
def test_targets_of_variants_were_others_in_version_05(variant, target):
    assert WMT.spec.of(version="0.5", variant=variant).validation_target == target


@pytest.mark.parametrize(
    ("variant", "validation", "test"),
    [("post_ln", 30.0779, 29.8982), ("attention_temp", 29.3379, 29.4143), ("glu_tanh", 29.5779, 29.0515)],
)
def test_targets_of_variants(variant, validation, test):
    spec = WMT_SPEC.of(variant=variant)
    assert (spec.full_name, spec.validation_target, spec.test_target) == (f"wmt_{variant}", validation, test)
    assert (spec.budget, spec.step_hint) == (16_114, 120_000)


# Ranks


@pytest.mark.slow
def test_two_ranks_make_the_steps_and_the_scores_of_one(tiny):
    script = Path(__file__).with_name("ranks_wmt.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for ranks in (1, 2):
        command = [sys.executable, str(script), str(tiny), str(ranks)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr

    def reports(ranks):
        return [json.loads((tiny / f"{ranks}_ranks" / f"rank_{rank}.json").read_text()) for rank in range(ranks)]

    (single,), (first, second) = reports(1), reports(2)
    assert [a + b for a, b in zip(first["tokens"], second["tokens"], strict=True)] == single["tokens"]
    assert all(a != b for a, b in zip(first["tokens"], second["tokens"], strict=True)), "the test would see nothing"
    one, two = (torch.load(tiny / f"{ranks}_ranks" / "weights.pt") for ranks in (1, 2))
    for name, values in one.items():
        torch.testing.assert_close(two[name], values, rtol=1e-4, atol=1e-6)
    assert first["evaluation"] == second["evaluation"]
    assert first["evaluation"]["validation/bleu"] > 0
    assert first["evaluation"] == pytest.approx(single["evaluation"], rel=1e-3)


# Learning


@pytest.mark.slow
def test_the_packaged_tiny_config_learns_to_translate(tiny):
    config = yaml.safe_load((Path(__file__).parents[2] / "configs" / "tiny" / "wmt.yaml").read_text())
    submission = get_submission("nadamw")(**config["submission"]["init_args"])
    workload = WMT(submission, **config["workload"]["init_args"], data_dir=tiny, seed=1)
    train(workload, 600, tiny, val_check_interval=600, check_val_every_n_epoch=None)
    assert workload.evaluation["validation/bleu"] >= workload.spec.validation_target
    assert workload.evaluation["test/bleu"] >= workload.spec.test_target
    inputs = workload.data.open("test").read(torch.arange(64).numpy(), None)["inputs"]
    assert "because" in " ".join(workload.eval().translate(inputs))
