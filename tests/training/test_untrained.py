"""Parameters that a submission does not train are a note of the trial."""

import lightning as L
import pytest
import torch
from torch.optim import SGD

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.records.summary import result_rows
from algoperf_lightning.result import TrialResult
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.training.untrained import note_untrained, trainable
from algoperf_lightning.workloads import Digits


@pytest.mark.parametrize(
    ("left_out", "frozen", "notes"),
    [
        ([], [], []),
        (
            ["head.bias"],
            [],
            ["Partly has made an optimizer without 1 of the model's 8 trainable parameters: head.bias."],
        ),
        (
            ["head.weight"],
            ["head.weight"],
            ["Partly has set requires_grad=False for 1 of the model's 8 trainable parameters: head.weight."],
        ),
        (
            ["head.weight"],
            ["head.bias"],
            [
                "Partly has set requires_grad=False for 1 of the model's 8 trainable parameters: head.bias.",
                "Partly has made an optimizer without 1 of the model's 8 trainable parameters: head.weight.",
            ],
        ),
    ],
)
def test_parameters_that_are_not_trained_are_a_note_and_no_violation(tmp_path, left_out, frozen, notes, recwarn):
    class Partly(PlainSGD):
        def configure_optimizers(self, model, workload):
            for name in frozen:
                model.get_parameter(name).requires_grad_(False)
            return SGD([each for name, each in model.named_parameters() if name not in left_out], lr=0.1)

    clock = TimeBudget(unit="steps", budget=2, eval_period=1)
    recorder = TrialRecorder(tmp_path / "trial", checkpoint=False)
    options = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    L.Trainer(callbacks=[clock, recorder], default_root_dir=tmp_path, devices=1, **options).fit(Digits(Partly()))
    record = TrialResult.read(tmp_path / "trial")
    assert record.notes == notes
    assert [warning for warning in record.warnings if ", line " not in warning] == []
    said = [str(each.message) for each in recwarn.list]
    assert [said.count(note) for note in notes] == [1] * len(notes)
    table = dict(enumerate(value for name, value in result_rows(record) if name == "note"))
    assert [table[number] for number in range(len(notes))] == notes


def test_of_many_parameters_a_few_are_named():
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(5)))
    with pytest.warns(UserWarning, match="without 8 of the model's 10 trainable"):
        (note,) = note_untrained(model, trainable(model), SGD(model[0].parameters(), lr=0.1), "Mine")
    assert note.endswith(": 1.weight, 1.bias, 2.weight and 5 more.")
