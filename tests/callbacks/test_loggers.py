"""Lightning's loggers get a trial's hyperparameters and its way to the target, and none of their work is charged."""

import csv
import functools
import time
from pathlib import Path

import pytest
import yaml
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies import Strategy

from algoperf_lightning.callbacks.run_log import trial_metrics

RULES = {"budget": 10.0, "eval_period": 1.0, "target": 0.9}
SCORES = [0.5, 0.7, 0.99]
EXPECTED = {  # steps of 0.25 s; evaluated after steps 1, 5 and 9, which loggers count from 0
    "trial/submission_seconds": {0: 0.25, 4: 1.25, 8: 2.25},
    "trial/budget_share": {0: 0.025, 4: 0.125, 8: 0.225},
    "trial/validation_target_distance": {0: 0.4, 4: 0.2, 8: -0.09},
    "trial/time_to_target": {8: 2.25},
}


class OfCSV:
    """Makes a logger, and reads what it has written without it."""

    def __init__(self, folder):
        self.logger = CSVLogger(folder)

    def metrics(self):
        with open(f"{self.logger.log_dir}/metrics.csv", newline="") as file:
            for row in csv.DictReader(file):
                yield from ((int(row["step"]), name, float(value)) for name, value in row.items() if value)

    def hyperparameters(self):
        return flat(yaml.safe_load(Path(self.logger.log_dir, "hparams.yaml").read_text()))


class OfTensorBoard(OfCSV):
    def __init__(self, folder):
        self.proto = pytest.importorskip("tensorboardX.proto.event_pb2")
        self.logger = TensorBoardLogger(folder)

    def metrics(self):
        for path in Path(self.logger.log_dir).glob("events.*"):
            content = path.read_bytes()
            while content:  # length, its checksum, the event, its checksum
                size = int.from_bytes(content[:8], "little")
                event = self.proto.Event.FromString(content[12 : 12 + size])
                content = content[16 + size :]
                yield from ((event.step, value.tag, value.simple_value) for value in event.summary.value)


class OfWandb:
    def __init__(self, folder):
        self.wandb = pytest.importorskip("wandb")
        self.folder = folder
        self.logger = WandbLogger(save_dir=folder, offline=True)

    def metrics(self):
        for record in self._records():
            if record.HasField("history"):
                row = {"/".join(item.nested_key) or item.key: float(item.value_json) for item in record.history.item}
                yield from ((int(row["trainer/global_step"]), name, value) for name, value in row.items())

    def hyperparameters(self):
        updates = [item for record in self._records() for item in record.config.update]
        return {"/".join(item.nested_key) or item.key: yaml.safe_load(item.value_json) for item in updates}

    @functools.cache  # noqa: B019 (one for each test)
    def _records(self):
        self.wandb.finish()
        (path,) = Path(self.folder).rglob("*.wandb")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # another process writes it
            records = list(wandb_records(path.read_bytes()))
            if any(record.HasField("exit") for record in records):
                return records
            time.sleep(0.1)
        raise AssertionError(f"{path} has no end")


def wandb_records(content):
    """The records of a log as LevelDB's: blocks of 32 KiB, in which each piece has a checksum, a length and a kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    place, parts = 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        size, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + 7 : place + 7 + size]
        place += 7 + size
        if place > len(content):
            return
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(parts)
            parts = b""


class OfMLflow:
    def __init__(self, folder):
        pytest.importorskip("mlflow")
        self.logger = MLFlowLogger(tracking_uri=f"file:{folder}/mlruns")

    @property
    def run(self):
        return self.logger.experiment.get_run(self.logger.run_id)

    def metrics(self):
        for name in self.run.data.metrics:
            history = self.logger.experiment.get_metric_history(self.logger.run_id, name)
            yield from ((each.step, name, each.value) for each in history)

    def hyperparameters(self):
        return {name: yaml.safe_load(value) for name, value in self.run.data.params.items()}


def flat(tree):
    return {
        key if inner is None else f"{key}/{inner}": value
        for key, each in tree.items()
        for inner, value in (each.items() if isinstance(each, dict) else [(None, each)])
    }


def slow(method, clock):
    @functools.wraps(method)
    def wrapped(*args, **kwargs):
        clock.advance(100.0)
        return method(*args, **kwargs)

    return wrapped


def slowed(logger, clock):
    """Let everything that Lightning asks of a logger take a hundred seconds."""
    for name in ("log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint", "finalize"):
        setattr(logger, name, slow(getattr(logger, name), clock))


class OwnLoss(TimedDigits):
    """Logs at each step, as users of Lightning do."""

    def training_step(self, batch):
        loss = super().training_step(batch)
        self.log("own_loss", loss.detach())
        return loss


SLOW = pytest.mark.slow  # the libraries take seconds to import


@pytest.mark.parametrize(
    "of", [OfCSV, OfTensorBoard, pytest.param(OfWandb, marks=SLOW), pytest.param(OfMLflow, marks=SLOW)]
)
def test_loggers_get_the_trial_off_the_clock(of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs more than mlflow-skinny
    written, clock = of(tmp_path / "log"), FakeClock()
    workload = OwnLoss(TimedSubmission(clock), scores=list(SCORES), seed=3)
    slowed(written.logger, clock)
    monkeypatch.setattr(Strategy, "remove_checkpoint", slow(Strategy.remove_checkpoint, clock))
    budget, _, _ = controlled_fit(
        tmp_path,
        workload=workload,
        clock=clock,
        budget=RULES,
        callbacks=[ModelCheckpoint(tmp_path / "best", every_n_train_steps=2)],
        trainer={"logger": written.logger, "log_every_n_steps": 1},
    )
    assert [row.submission_seconds for row in budget.result.evaluations] == [0.25, 1.25, 2.25]
    assert budget.result.wall_seconds > 2000
    found = {name: {} for name in EXPECTED}
    for step, name, value in written.metrics():
        if name in found:
            found[name][step] = value
    assert found == {name: pytest.approx(EXPECTED[name], rel=1e-5) for name in found}
    hyperparameters = written.hyperparameters()
    assert hyperparameters["workload"] == "digits"
    assert hyperparameters["submission"] == "TimedSubmission"
    assert hyperparameters["seed"] == 3
    assert hyperparameters["budget"] == 10.0
    assert hyperparameters["validation_target"] == 0.9
    of_submission = hyperparameters.get("hyperparameters") or {
        name.partition("/")[2]: value for name, value in hyperparameters.items() if name.startswith("hyperparameters/")
    }
    assert of_submission["step"] == 0.25
    assert of_submission.keys() == budget.result.hyperparameters.keys()


def test_hyperparameters_can_be_left_out(tmp_path):
    logger = CSVLogger(tmp_path / "log")
    controlled_fit(tmp_path, budget={"budget": 1.0}, trainer={"logger": logger, "enable_autolog_hparams": False})
    assert not Path(logger.log_dir, "hparams.yaml").exists()


@pytest.mark.parametrize(("direction", "distance"), [("max", 0.3), ("min", -0.3)])
def test_distances_have_the_direction_of_the_metric(direction, distance, tmp_path):
    budget, _, _ = controlled_fit(tmp_path, budget={"budget": 0.5, "target": 0.4}, scores=[0.1], test_scores=[0.2])
    result = budget.result
    result.direction, result.test_target = direction, None
    metrics = trial_metrics(result)
    assert metrics["trial/validation_target_distance"] == pytest.approx(distance)
    assert "trial/test_target_distance" not in metrics
    result.validation_target, result.test_target = None, 0.4
    assert trial_metrics(result).keys() == {
        "trial/submission_seconds",
        "trial/budget_share",
        "trial/test_target_distance",
    }
