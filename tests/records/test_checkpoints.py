"""What is saved can be read again, what is damaged is found, what is foreign runs no code."""

import collections
import enum
import os
import pickle
import shutil
import signal
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from controlled import FakeClock, TimedDigits, TimedSubmission, controlled_fit, same_parameters

from algoperf_lightning.callbacks import TimeBudget, TrialRecorder
from algoperf_lightning.records import checkpoint_checksums
from algoperf_lightning.records.checkpoint_checksums import checksum_path, put_in_place
from algoperf_lightning.records.checkpoints import CheckpointMismatchError, read_checkpoint
from algoperf_lightning.records.loadable import CheckpointContentError, loadable
from algoperf_lightning.result import RecordError, Status, TrialResult


class Phase(enum.Enum):
    WARM_UP = 1


class Thing:
    pass


LOADABLE = {
    "scalar": (np.float64(0.5), 0.5),
    "half": (np.float16(0.25), 0.25),
    "count": (np.int32(7), 7),
    "flag": (np.bool_(True), True),
    "key": ({np.int64(3): 1.0}, {3: 1.0}),
    "nested": ([{"rates": (np.float32(0.5), 2)}], [{"rates": (0.5, 2)}]),
    "array": (np.array([[1.5, 2.0]]), torch.tensor([[1.5, 2.0]], dtype=torch.float64)),
    "flags": (np.array([True, False]), torch.tensor([True, False])),
    "view": (np.arange(6)[::-2], torch.tensor([5, 3, 1])),
    "set": ({1, 2}, {1, 2}),
    "ordered": (collections.OrderedDict(a=np.float64(1.0)), collections.OrderedDict(a=1.0)),
    "size": (torch.Size([2, 3]), torch.Size([2, 3])),
    "dtype": (torch.bfloat16, torch.bfloat16),
    "bytes": (b"\0", b"\0"),
}
NOT_LOADABLE = {
    "deque": (lambda: collections.deque([1.0], maxlen=3), "collections.deque"),
    "generator": (lambda: torch.Generator(), "torch._C.Generator"),
    "numpy generator": (lambda: np.random.default_rng(0), "numpy.random._generator.Generator"),
    "enum": (lambda: Phase.WARM_UP, "test_checkpoints.Phase"),
    "object": (Thing, "test_checkpoints.Thing"),
    "function": (lambda: len, "builtins.builtin_function_or_method"),
    "objects": (lambda: np.array([None, 1]), "a NumPy array of object"),
    "words": (lambda: np.array(["a"]), "a NumPy array of <U1"),
    "date": (lambda: np.datetime64("2024-01-01"), "datetime.date"),
}


@pytest.mark.parametrize("name", LOADABLE)
def test_numpy_becomes_plain_and_all_else_stays(name, tmp_path):
    given, expected = LOADABLE[name]
    plain = loadable({"state": given}, "optimizer")["state"]
    torch.save(plain, tmp_path / "c")
    read = torch.load(tmp_path / "c", weights_only=True)
    if isinstance(expected, torch.Tensor):
        assert read.dtype == expected.dtype
        assert torch.equal(read, expected)
    else:
        assert read == expected
        assert type(read) is type(expected)


def test_a_state_without_numpy_is_not_copied():
    state = torch.nn.BatchNorm1d(2).state_dict()
    whole = {"model": state, "groups": [{"betas": (0.9, 0.99)}]}
    assert loadable(whole, "checkpoint") is whole
    assert state._metadata


@pytest.mark.parametrize("name", NOT_LOADABLE)
def test_what_could_not_be_read_is_refused_by_name(name):
    make, kind = NOT_LOADABLE[name]
    with pytest.raises(CheckpointContentError) as caught:
        loadable([{"state": {3: {"history": make()}}}], "optimizer_states")
    assert str(caught.value).startswith(f"optimizer_states[0].state[3].history: {kind} can be saved but not read")


# In real runs


class KeepsThings(torch.optim.SGD):
    """SGD that keeps something in the state of every parameter, in its groups, and whatever a schedule gives it."""

    def __init__(self, parameters, in_state, in_groups):
        super().__init__(parameters, lr=0.1, momentum=0.9)
        self.in_state = in_state
        self.param_groups[0]["extra"] = in_groups

    def step(self, closure=None):
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter].setdefault("kept", self.in_state)
        return loss


class Keeps(TimedSubmission):
    def __init__(self, clock=None, place="", value=None):
        super().__init__(clock)
        self.place, self.value = place, value

    def configure_optimizers(self, model, workload):
        put = {place: self.value if place == self.place else 0.0 for place in ("state", "groups")}
        optimizer = KeepsThings(model.parameters(), put["state"], put["groups"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: np.cos(0.01 * step))
        if self.place == "schedule":
            schedule.kept = self.value
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def state_dict(self):
        return {"kept": self.value} if self.place == "submission" else {}


class KeepsToo(L.Callback):
    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"kept": self.value}


PLACES = {
    "state": "optimizer_states[0].state[0].kept",
    "groups": "optimizer_states[0].param_groups[0].extra",
    "schedule": "lr_schedulers[0].kept",
    "submission": "algoperf_lightning.submission.kept",
    "callback": "callbacks.KeepsToo.kept",
}


CLOCK = FakeClock()


def run(tmp_path, place, value, folder="t", max_steps=12):
    """Run some steps; the rate is always a scalar of NumPy, as ``np.cos`` makes it."""
    recorder = TrialRecorder(tmp_path / folder)
    callbacks = [KeepsToo(value if place == "callback" else 0.0)]
    return controlled_fit(
        tmp_path,
        workload=TimedDigits(Keeps(CLOCK, place, value)),
        clock=CLOCK,
        callbacks=[recorder, *callbacks],
        ckpt_path=recorder.checkpoint_path,
        trainer={"max_steps": max_steps},
    )


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_keeps_numpy_anywhere_goes_on_as_an_unbroken_one(tmp_path, place):
    value = np.float64(0.25) if place in ("state", "groups") else np.array([0.25, 1.0])
    run(tmp_path, place, value, max_steps=5)
    _, resumed, _ = run(tmp_path, place, value)
    _, whole, _ = run(tmp_path, place, value, folder="whole")
    assert TrialResult.read(tmp_path / "t").preemptions == 1
    assert same_parameters(resumed, whole)


@pytest.mark.parametrize("place", PLACES)
def test_a_run_whose_states_could_not_be_read_ends_at_its_first_checkpoint(tmp_path, place):
    with pytest.raises(CheckpointContentError) as caught:
        run(tmp_path, place, collections.deque([1.0]))
    assert str(caught.value).startswith(f"{PLACES[place]}: collections.deque can be saved but not read")
    record = TrialResult.read(tmp_path / "t")
    assert record.status is Status.FAILED
    assert record.steps == 1
    assert PLACES[place] in record.message
    assert not (tmp_path / "t" / "last.ckpt").exists()


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("went_off"),)


def test_a_checkpoint_runs_no_code_whatever_the_environment_says(tmp_path, monkeypatch):
    run(tmp_path, "", None, max_steps=5)
    path = tmp_path / "t" / "last.ckpt"
    checksum_path(path).unlink()
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "more": Bomb()}, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.chdir(tmp_path)
    trainer = L.Trainer(
        callbacks=[TimeBudget(clock=CLOCK), TrialRecorder(tmp_path / "t")], accelerator="cpu", logger=False
    )
    with pytest.raises(RecordError, match=r"last.ckpt cannot be read as a checkpoint .*algoperf repair"):
        trainer.fit(TimedDigits(Keeps(CLOCK)), ckpt_path=str(path))
    assert not (tmp_path / "went_off").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "went_off").exists(), "the checkpoint was harmless"


# Damage


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder, "", None, max_steps=5)
    return folder / "t"


def test_every_flipped_byte_is_found(trial, tmp_path):
    path = shutil.copytree(trial, tmp_path / "t") / "last.ckpt"
    whole = path.read_bytes()
    read_checkpoint(path)
    for place in np.linspace(0, len(whole) - 1, 50, dtype=int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(RecordError, match=r"last.ckpt is damaged: its SHA-256 .*`algoperf repair"):
            read_checkpoint(path)


def test_a_checkpoint_without_a_checksum_is_read(trial, tmp_path):
    path = shutil.copytree(trial, tmp_path / "t") / "last.ckpt"
    checksum_path(path).unlink()
    assert read_checkpoint(path)["global_step"] == 5


@pytest.mark.parametrize(
    "entry", ["state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers", "epoch", "algoperf_lightning"]
)
@pytest.mark.parametrize("damage", ["missing", "of another type"])
def test_parts_that_lack_are_named(trial, tmp_path, entry, damage):
    path = shutil.copytree(trial, tmp_path / "t") / "last.ckpt"
    checksum_path(path).unlink()
    checkpoint = torch.load(path, weights_only=True)
    if damage == "missing":
        del checkpoint[entry]
    else:
        checkpoint[entry] = "text"
    torch.save(checkpoint, path)
    expected = CheckpointMismatchError if (entry, damage) == ("algoperf_lightning", "missing") else RecordError
    with pytest.raises(expected, match=f"last.ckpt .*{entry}"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 1000,
        b"PK\x03\x04 no archive",
        pickle.dumps({"a": 1}),
        pickle.dumps(Path("x")),
    ],
)
def test_what_is_no_checkpoint_is_told_in_one_line(trial, tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises((RecordError, CheckpointMismatchError), match=r"last.ckpt .*algoperf repair") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


# A kill between the writing of a checkpoint and of its checksum


def test_a_kill_at_any_step_leaves_a_checkpoint_with_its_checksum(tmp_path):
    path = tmp_path / "last.ckpt"
    (tmp_path / "first").write_bytes(b"version 0")
    put_in_place(tmp_path / "first", path)
    known, version, killed_at = b"version 0", 0, []
    for step in range(1, 30):
        for _ in range(2):  # twice at each step: the second time after a kill that left something
            version += 1
            (tmp_path / "new").write_bytes(f"version {version}".encode())
            if not (pid := os.fork()):
                put_in_place_and_die(tmp_path / "new", path, step)
            _, status = os.waitpid(pid, 0)
            content = path.read_bytes()
            assert checkpoint_checksums.digest(path) in {
                line.split()[0] for line in checkpoint_checksums.checksums(path)
            }
            assert content in (known, f"version {version}".encode())
            known = content
            if os.WIFSIGNALED(status):
                killed_at.append((step, content == f"version {version}".encode()))
    assert {replaced for _, replaced in killed_at} == {True, False}, "no kill before, or none after the replacement"
    assert max(step for step, _ in killed_at) >= 6
    assert checksum_path(path).read_text() == f"{checkpoint_checksums.digest(path)}  last.ckpt\n"


def put_in_place_and_die(new, path, step):
    """Be killed in the middle: at the nth call to the file system."""
    calls = 0

    def deadly(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for module, name in ((os, "fsync"), (Path, "replace"), (Path, "open")):
        setattr(module, name, deadly(getattr(module, name)))
    try:
        put_in_place(new, path)
    finally:
        os._exit(0)
