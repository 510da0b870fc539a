"""Time to read and score the packaged boards, on one core; and the official v0.5 logs as 3,654 small CSV files.

    OMP_NUM_THREADS=1 python tests/benchmarks/scoring_speed.py [--rounds 3] [--files] [--page]

Every section of the report has a row, and is computed from the scored board by itself. Limits: the v1.0 board is read
and scored in 2 s, and all that is computed of the v0.5 board takes at most 20 s.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from algoperf_lightning.report import write_output
from algoperf_lightning.report.sections import SECTIONS
from algoperf_lightning.scoring import choose_benchmark, read_runs, score_runs, write_official
from algoperf_lightning.scoring.boards import find_board
from algoperf_lightning.scoring.uncertainty import bootstrap

READING, ALL = "read and scored", "all together"
LIMITS = {"v1.0-self-tuning": {READING: 2.0}, "v0.5-external": {ALL: 20.0}}
"""Seconds on one core, by board."""


def best_of(rounds, call):
    """Return the shortest of several runs in processor seconds, and what the last one returned."""
    times = []
    for _ in range(rounds):
        start = time.process_time()  # other processes of the machine play no part
        result = call()
        times.append(time.process_time() - start)
    return min(times), result


def score(path):
    runs = read_runs([path])
    return runs, score_runs(runs, choose_benchmark(runs))


def parts_of(board) -> dict[str, Callable[[], object]]:
    """Return what is computed from a scored board, by name: the intervals, and each section of the report."""
    uncertainty = bootstrap(board)
    sections = {make.__name__: partial(make, board, uncertainty) for make in SECTIONS}
    return {"bootstrap, twice 1,000 draws": lambda: bootstrap(board), **sections}


def show(name, seconds, limit=None):
    print(f"  {name:<38} {seconds:6.2f} s" + (f"   (limit {limit:g} s)" if limit else ""))


def main():
    parser = argparse.ArgumentParser(description="Time to read and score the packaged boards.")
    parser.add_argument("--rounds", type=int, default=3, help="the best of how many (default %(default)s)")
    parser.add_argument("--files", action="store_true", help="also from one small file a trial")
    parser.add_argument("--page", action="store_true", help="also the page and its pictures, as `score --output` does")
    options = parser.parse_args()
    for name, limits in LIMITS.items():
        first, (runs, board) = best_of(options.rounds, lambda name=name: score(find_board(name)))
        evaluations = sum(len(trial.seconds) for trial in board.table.trials.values())
        print(f"{name}: {len(board.table.trials):,} trials, {evaluations:,} evaluations")
        show(READING, first, limits.get(READING))
        total = first
        for part, call in parts_of(board).items():
            seconds, _ = best_of(options.rounds, call)
            show(part, seconds)
            total += seconds
        show(ALL, total, limits.get(ALL))
        if options.page:
            with tempfile.TemporaryDirectory() as folder:
                write = partial(write_output, board, bootstrap(board), Path(folder))
                show("the same as a page, with all pictures", best_of(1, write)[0])
    if options.files:
        with tempfile.TemporaryDirectory() as folder:
            seconds, written = best_of(1, lambda: write_official(runs, folder))
            show(f"official layout, {len(written):,} files written", seconds)
            seconds, (_, again) = best_of(options.rounds, lambda: score(folder))
            show("official layout, read and scored", seconds)
        assert (again.scores == board.scores).all()


if __name__ == "__main__":
    main()
