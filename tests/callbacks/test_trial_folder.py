"""The folder of a trial and its heartbeat, without a Trainer."""

from types import SimpleNamespace

import pytest

from algoperf_lightning.callbacks.heartbeat import Heartbeat
from algoperf_lightning.callbacks.trial_folder import TrialFolder
from algoperf_lightning.result import RecordError, read_heartbeat

RESULT = SimpleNamespace(workload="digits", submission="adamw")


def trainer(root, ckpt_path=None):
    return SimpleNamespace(default_root_dir=str(root), ckpt_path=ckpt_path)


@pytest.mark.parametrize(
    ("seconds", "read"), [(0.0, 0.0), (1.25, 1.25), (0.1234560001, 0.123457), (1e9, 1e9), (7.0000001, 7.000001)]
)
def test_a_heartbeat_is_read_as_it_was_written_and_never_earlier(tmp_path, seconds, read):
    beat = Heartbeat(tmp_path)
    beat.write(12345.678)  # what was there before leaves nothing
    beat.write(seconds)
    assert read_heartbeat(tmp_path) == pytest.approx(read, abs=1e-9)
    assert read_heartbeat(tmp_path) >= seconds
    beat.close()


def test_new_trials_get_the_first_free_number(tmp_path):
    parent = tmp_path / "runs" / "digits" / "adamw"
    (parent / "trial_2").mkdir(parents=True)
    names = []
    for _ in range(3):
        place = TrialFolder(None)
        folder, used = place.open(trainer(tmp_path), RESULT)
        names.append((folder, used))
        place.unlock()
    assert names == [(str(parent / f"trial_{number}"), 0.0) for number in (1, 3, 4)]


@pytest.mark.parametrize("known", ["given", "resumed", "new"])
def test_only_a_known_folder_is_locked_before_it_is_opened(tmp_path, known):
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "trial.json").write_text("{}")
    checkpoint = str(folder / "last.ckpt") if known == "resumed" else None
    place = TrialFolder(folder if known == "given" else None)
    place.lock_if_known(trainer(tmp_path, checkpoint))
    assert (folder / "lock").exists() is (known != "new")
    place.unlock()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["last.ckpt"], "contains an unfinished trial. Resume it with ckpt_path="),
        (["evaluations.csv", "last.ckpt"], "contains an unfinished trial"),
        (["evaluations.csv"], "contains evaluations, but no trial.json"),
    ],
)
def test_a_folder_in_use_is_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(RecordError, match=message):
        TrialFolder(tmp_path).open(trainer(tmp_path), RESULT)


def test_the_folder_of_the_resumed_checkpoint_is_opened_whatever_lies_there(tmp_path):
    (tmp_path / "evaluations.csv").touch()
    beat = Heartbeat(tmp_path)
    beat.write(3.5)
    beat.close()
    found = TrialFolder(tmp_path).open(trainer(tmp_path, str(tmp_path / "last.ckpt")), RESULT)
    assert found == (str(tmp_path), 3.5)
