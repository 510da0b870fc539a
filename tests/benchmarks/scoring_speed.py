"""Time to score the official v0.5 external set: from the compact table, and from 3,654 small CSV files.

    python tests/benchmarks/scoring_speed.py [TABLE.csv.gz]

Without an argument it is looked for beside the repository.
"""

import sys
import tempfile
import time
from pathlib import Path

from algoperf_lightning.scoring import get_benchmark, read_runs, score_runs, write_official
from algoperf_lightning.scoring.uncertainty import bootstrap

TABLE = Path(__file__).parents[3] / "shared" / "data" / "leaderboard_v05_external.csv.gz"
REPEATS = 5


def best_of(repeats, call):
    """Return the shortest of several runs in seconds, and what the last one returned."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def main():
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else TABLE
    benchmark = get_benchmark("0.5", "external")
    seconds, board = best_of(REPEATS, lambda: score_runs(read_runs([table]), benchmark))
    evaluations = sum(len(trial.seconds) for trial in board.table.trials.values())
    print(f"{len(board.table.trials):,} trials, {evaluations:,} evaluations")
    print(f"compact table, read and scored   {seconds:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        runs = read_runs([table])
        seconds, written = best_of(1, lambda: write_official(runs, folder))
        print(f"official layout, written         {seconds:.2f} s   {len(written):,} files")
        seconds, again = best_of(REPEATS, lambda: score_runs(read_runs([folder]), benchmark))
        print(f"official layout, read and scored {seconds:.2f} s")
    assert (again.scores == board.scores).all()
    seconds, _ = best_of(REPEATS, lambda: bootstrap(board))
    print(f"bootstrap, twice 1,000 draws     {seconds:.2f} s")


if __name__ == "__main__":
    main()
