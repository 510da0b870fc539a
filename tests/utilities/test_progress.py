"""Progress of long work, as it stands in a log."""

import pytest

from algoperf_lightning.utilities import progress as module
from algoperf_lightning.utilities.progress import progress


@pytest.fixture
def log(monkeypatch, capsys):
    """What is printed on standard error when lines may follow each other at once."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return lambda: capsys.readouterr().err.splitlines()


def test_a_log_gets_lines(log):
    with progress("counting", 3, done=1) as advance:
        advance()
        advance(1)
    assert log() == ["counting: 2 of 3", "counting: 3 of 3"]


def test_bytes_are_shown_in_megabytes_and_an_unknown_total_is_left_out(log):
    with progress("copying", 5_000_000, bytes_=True) as advance:
        advance(2_000_000)
    with progress("looking", None) as advance:
        advance(7)
    assert log() == ["copying: 2 of 5 MB", "looking: 7"]


def test_lines_are_half_a_minute_apart(log, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 30.0)
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with progress("counting", 4) as advance:
        for seconds in (110.0, 130.0, 159.0, 160.0):
            now[0] = seconds
            advance()
    assert log() == ["counting: 2 of 4", "counting: 4 of 4"]


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_of_several_ranks_the_first_shows_it(log, monkeypatch, rank, lines):
    monkeypatch.setenv("LOCAL_RANK", rank)
    with progress("counting", 1) as advance:
        advance()
    assert len(log()) == lines
