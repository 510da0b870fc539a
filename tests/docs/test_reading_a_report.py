"""What the page on reports says of the v0.5 board is what the board says."""

import re

import numpy as np
import pytest
from pages import pages

from algoperf_lightning.scoring import bootstrap, choose_benchmark, read_runs, score_runs
from algoperf_lightning.scoring.anytime import anytime
from algoperf_lightning.scoring.boards import find_board
from algoperf_lightning.scoring.mathematics import performance_profile
from algoperf_lightning.scoring.tuning_budget import tuning_budget

TEXT = " ".join(pages()["docs/reading_a_report.md"].read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def board():
    runs = read_runs([find_board("v0.5-external")])
    return score_runs(runs, choose_benchmark(runs))


@pytest.mark.slow
def test_the_leaderboard_and_the_profile(board):
    part = bootstrap(board).studies
    rows = board.order[:2]
    said = re.search(r"at (0\.\d\d) \((0\.\d\d) to (0\.\d\d)\) and (0\.\d\d) \((0\.\d\d) to (0\.\d\d)\)", TEXT).groups()
    found = [each for row in rows for each in (board.scores[row], part.score_low[row], part.score_high[row])]
    assert [f"{value:.2f}" for value in found] == list(said)
    assert (part.rank_low[rows[0]], part.rank_high[rows[0]]) == (1, 3)
    assert "rank lies between 1 and 3" in TEXT
    left, right = performance_profile(board.ratios[rows[0]], np.array([1.0, 4.0])).tolist()
    assert f"begins at {100 * left:g} %" in TEXT
    assert f"ends at {100 * right:g} %" in TEXT
    lost = [
        name for (name, workload), cell in board.cells.items() if workload == "ogbg" and cell.reason == "held-out 4x"
    ]
    assert len(lost) == 5
    assert "five submissions that trained it fast enough" in TEXT


@pytest.mark.slow
def test_the_way_to_the_targets(board):
    found = anytime(board)
    leaders = [found.submissions[int(np.argmax(scores))] for scores in found.scores]
    first, third, last = "schedule_free_adamw", "generalized_adam", "shampoo_submission"
    assert leaders == [first, first, third, last, last]
    assert f"`{first}` is first up to half of the way, `{third}` at three quarters, `{last}` from 90 % on" in TEXT
    base = len(found.benchmark.base)
    with np.errstate(invalid="ignore"):
        shares = found.times[3, :, :base] / found.times[4, :, :base]
    assert f"90 % of the way takes {np.median(shares[np.isfinite(shares)]):.0%}".replace("13%", "13 %") in TEXT
    changed, ordered = np.sum([found.flips(column) for column in range(base)], axis=0)[:, 3].tolist()
    assert f"at 90 % of the way {changed} of the {ordered} pairs" in TEXT
    wmt = found.times[-1, :, [each.name for each in found.benchmark.base].index("wmt")]
    assert f"differ by a factor of {np.nanmax(wmt[np.isfinite(wmt)]) / np.nanmin(wmt):.1f}" in TEXT


@pytest.mark.slow
def test_who_leads_with_how_many_trials(board):
    found = tuning_budget(board, 2, 0, 0.95)
    names, sizes = np.array(board.submissions), found.sizes.tolist()
    first, second = names[np.argsort(-found.scores.value[sizes.index(1)])[:2]]
    assert f"with one trial `{first}` is far ahead and the {second} is second" in TEXT
    (leader,) = set(names[found.scores.value[sizes.index(5) :].argmax(axis=1)])
    assert f"from k = 5 on, `{leader}` leads" in TEXT
