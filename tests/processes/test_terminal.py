"""What people see on real terminals and in pipes, at several widths; submissions from the current folder."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ALGOPERF = str(Path(sys.executable).with_name("algoperf"))
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "a folder with a rather long name/and one more with another long name/trial_1"
FIT = [
    "fit",
    "--config",
    "digits",
    "--trainer.max_steps",
    "40",
    "--time_budget.unit",
    "steps",
    "--recorder.folder",
    LONG,
]


def environment():
    kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return {**kept, "OMP_NUM_THREADS": "1", "TERM": "xterm", "CUDA_VISIBLE_DEVICES": ""}


def on_terminal(arguments, columns, cwd):
    """Run on a pseudo-terminal of that width; return everything that was written to it, without control codes."""
    mine, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "algoperf_lightning", *arguments]
    process = subprocess.Popen(command, cwd=cwd, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(mine, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        written += part
    os.close(mine)
    assert process.wait() == 0, written.decode()
    return CONTROL.sub("", written.decode())


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80])
def test_on_a_terminal_the_bar_is_drawn_and_nothing_is_cut(columns, tmp_path):
    text = on_terminal(FIT, columns, tmp_path)
    assert "…" not in text
    assert "━━━━━━━━━━" in text
    assert "40 of 10,000 steps · best accuracy" in text
    assert LONG.replace(" ", "") in re.sub(r"[│\s]|record", "", text)
    assert all(len(line.rstrip("\r")) <= columns for line in text.split("\n") if "\r" not in line.rstrip("\r"))


@pytest.mark.slow
def test_in_a_pipe_a_line_is_as_long_as_it_needs(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from algoperf_lightning.baselines import AdamW\n\n\nclass ASubmissionWithARatherLongName(AdamW):\n    pass\n"
    )
    fit = [*FIT, "--submission", "mine.ASubmissionWithARatherLongName"]
    done = subprocess.run(
        [ALGOPERF, *fit],  # whose path has not the current folder
        cwd=tmp_path, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "…" not in done.stdout
    assert any(LONG in line for line in done.stdout.splitlines())
    assert "digits · ASubmissionWithARatherLongName" in done.stdout


@pytest.mark.slow
def test_a_submission_of_the_current_folder_is_tuned(tmp_path):
    (tmp_path / "mine.py").write_text("from algoperf_lightning.baselines import AdamW\nclass Mine(AdamW):\n    pass\n")
    tune = ["tune", "digits", "--submission", "mine.Mine", "--output", "r", "--studies", "1", "--trials", "1"]
    more = ["--unit", "steps", "--", "--trainer.max_steps", "3"]
    for command in ([*tune, *more], ["status", "r"]):
        done = subprocess.run([ALGOPERF, *command], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "stopped" in done.stdout
    assert "…" not in done.stdout
    assert "3 of 10,000" in done.stdout
