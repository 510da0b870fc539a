"""Time to score the official v0.5 external set: from the compact table, and from 3,654 small CSV files.

    OMP_NUM_THREADS=1 python tests/benchmarks/scoring_speed.py [TABLE.csv.gz] [--rounds 5]

Without a table, the environment variable ALGOPERF_OFFICIAL_LOGS names it, as for tests/scoring/scoring_cases.py.
"""

import argparse
import os
import tempfile
import time

from algoperf_lightning.scoring import get_benchmark, read_runs, score_runs, write_official
from algoperf_lightning.scoring.uncertainty import bootstrap


def best_of(rounds, call):
    """Return the shortest of several runs in seconds, and what the last one returned."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def main():
    default = os.environ.get("ALGOPERF_OFFICIAL_LOGS")
    parser = argparse.ArgumentParser(description="Time to score the official v0.5 external set.")
    parser.add_argument("table", nargs="?" if default else None, default=default, help="compact table of evaluations")
    parser.add_argument("--rounds", type=int, default=5, help="the best of how many (default %(default)s)")
    options = parser.parse_args()
    benchmark = get_benchmark("0.5", "external")
    seconds, board = best_of(options.rounds, lambda: score_runs(read_runs([options.table]), benchmark))
    evaluations = sum(len(trial.seconds) for trial in board.table.trials.values())
    print(f"{len(board.table.trials):,} trials, {evaluations:,} evaluations")
    print(f"compact table, read and scored   {seconds:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        runs = read_runs([options.table])
        seconds, written = best_of(1, lambda: write_official(runs, folder))
        print(f"official layout, written         {seconds:.2f} s   {len(written):,} files")
        seconds, again = best_of(options.rounds, lambda: score_runs(read_runs([folder]), benchmark))
        print(f"official layout, read and scored {seconds:.2f} s")
    assert (again.scores == board.scores).all()
    seconds, _ = best_of(options.rounds, lambda: bootstrap(board))
    print(f"bootstrap, twice 1,000 draws     {seconds:.2f} s")


if __name__ == "__main__":
    main()
