"""Boards: archives of records, packaged ones too, that own runs are scored against."""

import csv
import re
import tarfile
from pathlib import Path

import pytest

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import Evaluation, Status, TrialResult
from algoperf_lightning.scoring.benchmarks import tiny_workloads
from algoperf_lightning.scoring.boards import find_board, packaged_boards, read_about
from algoperf_lightning.scoring.own_runs import describe_hardware
from algoperf_lightning.scoring.readers import read_runs

ABOUT = ("title", "what", "made", "source", "licence", "notice", "workloads", "trials", "environment")
PUBLISHED = sorted((Path(__file__).parent / "data").glob("official_scores_*.csv"))


def record(folder, submission, step):
    """Write a finished trial on digits, in steps, that reaches its target at a step."""
    path = folder / submission / "study_1" / "digits" / "trial_1"
    path.mkdir(parents=True)
    result = TrialResult(
        workload="digits",
        version="1.0",
        ruleset="external",
        submission=submission,
        hyperparameters={"lr": 0.1},
        seed=1,
        batch_size=64,
        budget=1000,
        eval_period=100,
        metric="accuracy",
        direction="max",
        validation_target=0.9,
        test_target=None,
        stop_at="validation",
        unit="steps",
        status=Status.REACHED,
        steps=step,
    )
    for at in (step - 100, step):
        metrics = {"validation/accuracy": 0.95 if at == step else 0.5}
        result.evaluations.append(Evaluation(at, at / 100, at / 100, 0.1, metrics))
    result.write_trial(path)
    result.write_evaluations(path)


def pack(folder, archive):
    with tarfile.open(archive, "w:xz") as tar:
        for path in sorted(folder.rglob("*")):
            if path.name in ("trial.json", "evaluations.csv"):
                tar.add(path, path.relative_to(folder))
    return archive


@pytest.fixture
def board(tmp_path):
    record(tmp_path / "packed", "adamw", 400)
    record(tmp_path / "packed", "nesterov", 200)
    return pack(tmp_path / "packed", tmp_path / "laptop.tar.xz")


def printed(arguments, capsys):
    """The scores that the command prints, by submission."""
    main(["score", *map(str, arguments), "--draws", "1"])
    return dict(re.findall(r"^ *\d+ +(\S.*?) +(\d\.\d{4}) ", capsys.readouterr().out, re.MULTILINE))


def test_an_archive_reads_as_the_folders_it_was_packed_from(tmp_path, board):
    packed, folders = read_runs([board]), read_runs([tmp_path / "packed"])
    for one, other in zip(packed.trials, folders.trials, strict=True):
        assert one.key == other.key
        assert one.record == other.record
        assert (one.used == other.used).all()
        assert one.source.startswith(str(board))


def test_own_runs_are_scored_against_a_board(tmp_path, board, capsys):
    record(tmp_path / "mine", "mine", 300)
    together = printed([tmp_path / "mine", "--against", board], capsys)
    assert together == printed([tmp_path / "mine", tmp_path / "packed"], capsys)
    assert sorted(together, key=together.get, reverse=True) == ["nesterov", "mine", "adamw"]


def test_a_submission_of_the_same_name_is_kept_apart(tmp_path, board, capsys):
    record(tmp_path / "mine", "adamw", 300)
    found = printed([tmp_path / "mine", "--against", board], capsys)
    assert set(found) == {"adamw", "adamw (laptop)", "nesterov"}
    assert found["adamw"] > found["adamw (laptop)"]


def test_damaged_and_unknown_boards_are_named(board):
    whole = board.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:40] + bytes([whole[40] ^ 255]) + whole[41:]):
        board.write_bytes(damaged)
        with pytest.raises(BadInputError, match=r"laptop\.tar\.xz is not an archive of runs, or is damaged"):
            read_runs([board])
    with pytest.raises(BadInputError, match=r"Unknown board 'tinny'. Did you mean 'tiny'"):
        find_board("tinny")


@pytest.mark.parametrize("name", ["none.tar.xz", "none.csv", "none.csv.gz", "boards/none", "~/none.csv"])
def test_a_board_file_that_is_missing_is_no_unknown_name(name):
    with pytest.raises(BadInputError, match=f"The board {name} does not exist"):
        find_board(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", r"laptop\.tar\.xz/board\.yaml, line 1"),
        ("- a list", "must be a mapping with the keys title, what"),
        ("titel: ours", "Unknown key in .*board.yaml 'titel'. Did you mean 'title'"),
        ("title: ours", "has no what, made, source"),
        (
            "submissions: many\n" + "".join(f"{key}: x\n" for key in ABOUT),
            "submissions must be an integer, but got 'many'",
        ),
    ],
)
def test_a_board_that_says_wrongly_what_it_is(tmp_path, text, message):
    (tmp_path / "board.yaml").write_text(text)
    record(tmp_path, "adamw", 400)
    with tarfile.open(tmp_path / "laptop.tar.xz", "w:xz") as tar:
        for path in (tmp_path / "board.yaml", *sorted((tmp_path / "adamw").rglob("*.*"))):
            tar.add(path, path.relative_to(tmp_path))
    with pytest.raises(BadInputError, match=message):
        read_runs([tmp_path / "laptop.tar.xz"])


def test_an_archive_without_runs_and_one_that_leaves_its_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    for name, arcname in (("empty.tar.xz", "notes.txt"), ("outside.tar.xz", "../notes.txt")):
        with tarfile.open(tmp_path / name, "w:xz") as tar:
            tar.add(tmp_path / "notes.txt", arcname)
        with pytest.raises(BadInputError, match=name.replace(".", r"\.")):
            read_runs([tmp_path / name])
    assert not (tmp_path.parent / "notes.txt").exists()


@pytest.mark.parametrize("make", [lambda path: path.write_text("version\n"), lambda path: path.mkdir()])
def test_what_has_no_description_is_not_called_damaged(tmp_path, capsys, make):
    make(tmp_path / "mine.csv")
    with pytest.raises(SystemExit):
        main(["boards", str(tmp_path / "mine.csv")])
    assert "mine.csv has no description: only an archive (.tar.xz)" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(packaged_boards()))
def test_packaged_boards_are_whole_and_say_what_they_are(name):
    runs, about = read_runs([find_board(name)]), read_about(find_board(name))
    assert not [finding for finding in runs.findings if finding.strict]
    found = [len({getattr(trial, of) for trial in runs.trials}) for of in ("submission", "workload")]
    assert (about.submissions, about.workloads, about.trials) == (*found, len(runs.trials))
    assert {describe_hardware(trial.record["environment"]) for trial in runs.trials} == {about.hardware}
    assert about.licence == "Apache-2.0"
    assert f"`{find_board(name).name}`" in find_board(name).with_name("README.md").read_text()


def test_packaged_boards_are_small():
    assert sum(path.stat().st_size for path in packaged_boards().values()) < 4e6


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_published_scores_of_packaged_boards_come_out(path, capsys):
    version, _, ruleset = path.stem.removeprefix("official_scores_v").partition("_")
    with path.open() as file:
        published = {row["submission"]: f"{float(row['score']):.4f}" for row in csv.DictReader(file)}
    assert printed(["--board", f"v{version[0]}.{version[1]}-{ruleset.replace('_', '-')}"], capsys) == published


def test_the_tiny_board_has_every_workload_of_the_suite():
    trials = read_runs([find_board("tiny")]).trials
    submissions = {trial.submission for trial in trials}
    assert {"adamw", "nesterov"} <= submissions
    assert {(trial.submission, trial.workload) for trial in trials} == {
        (submission, workload) for submission in submissions for workload in tiny_workloads()
    }
    assert {trial.unit for trial in trials} == {"steps"}
    assert all(trial.record["checksum"] for trial in trials)
