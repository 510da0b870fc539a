"""Files that macOS and Windows leave about are passed over by every reader; commands in messages can be pasted."""

import math
import re
import shlex
import shutil

import pytest
from scoring_cases import run_on

from algoperf_lightning.cli import main
from algoperf_lightning.files import is_left_by_system
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, get_spec, plugins
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.tuning.planning import TuningRequest, plan_studies
from algoperf_lightning.tuning.studies import find_studies

WITH_FILES = [name for name in plugins(WORKLOADS) if get_spec(name).files]


def litter(folder):
    """Leave in each folder what a Mac and Windows leave there, and what an archive of a Mac holds."""
    for inner in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for path in [each for each in inner.iterdir() if each.is_file()]:
            (inner / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (inner / name).write_bytes(b"\x00\x01")
    for path in list(folder.iterdir()):
        if not is_left_by_system(path.name):
            (folder / "__MACOSX" / path.name).mkdir(parents=True)
            (folder / "__MACOSX" / path.name / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_FILES)
def test_data_are_read_among_them(name, tmp_path):
    cls = get_workload(name)

    def sizes():
        data = cls.data_class(cls.spec, tmp_path)
        data.check()
        return {split: len(data.open(split)) for split in cls.spec.splits}

    cls.data_class(cls.spec, tmp_path).folder.mkdir(parents=True)
    litter(tmp_path)
    cls.data_class(cls.spec, tmp_path).write_tiny()  # into a folder that has nothing else
    before = sizes()
    litter_again = [path for path in tmp_path.rglob("*") if is_left_by_system(path.name)]
    for path in litter_again:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    litter(tmp_path)
    assert sizes() == before


def test_runs_plans_and_logs_are_read_among_them(tmp_path):
    (study,) = plan_studies(TuningRequest(["digits"], ["adamw"], tmp_path / "own", studies=1, trials=2))
    study.write()
    for trial in study.trials:
        run_on(trial.folder, "digits", math.inf)
    official = tmp_path / "logs" / "mine" / "study_0" / "mnist_jax" / "trial_1"
    official.mkdir(parents=True)
    (official / "eval_measurements.csv").write_text("validation/accuracy,global_step,score\n0.5,1,2.0\n")
    litter(tmp_path / "own")
    litter(tmp_path / "logs")
    shutil.copytree(tmp_path / "own" / "adamw", tmp_path / "own" / "__MACOSX" / "adamw", dirs_exist_ok=True)
    assert [len(found.seeds) for found in find_studies([tmp_path / "own"])] == [2]
    runs = read_runs([tmp_path / "own", tmp_path / "logs"])
    assert sorted((trial.submission, trial.number) for trial in runs.trials) == [
        ("adamw", "1"), ("adamw", "2"), ("mine", "1"),
    ]  # fmt: skip


def test_a_folder_of_search_spaces_is_read_among_them(tmp_path, capsys):
    (tmp_path / "spaces").mkdir()
    litter(tmp_path / "spaces")
    (tmp_path / "spaces" / "._adamw.json").write_bytes(b"\x00\x05\x16\x07")
    command = ["tune", "digits", "--submission", "adamw", "--output", str(tmp_path / "r"), "--dry-run"]
    with pytest.raises(SystemExit):
        main([*command, "--search-space", str(tmp_path / "spaces")])
    assert "it has none" in capsys.readouterr().err
    (tmp_path / "spaces" / "adamw.json").write_text('[{"learning_rate": 0.25}]')
    main([*command, "--search-space", str(tmp_path / "spaces"), "--trials", "1"])
    assert "learning_rate 0.25" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        *(["data", "check", name] for name in WITH_FILES),
        ["tune", "mnist", "--submission", "adamw", "--output", "r"],
        ["tune", "digits", "--submission", "adamw", "--output", "r", "--calibration", "my runs; it's/x.json"],
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_commands_in_messages_quote_paths(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = "my runs; it's"
    with pytest.raises(SystemExit):
        main([*arguments, "--data-dir", place])
    error = capsys.readouterr().err
    commands = re.findall(r"`(algoperf (?:data|calibrate) [^`]*)`", error)
    assert commands
    for command in commands:
        words = shlex.split(command)
        assert any(word.split("/")[0] == place for word in words), command
        assert len(words) <= 6
