"""Options that select runs and their benchmark: for `score`, `cost` and `reprice`, and partly for `compare`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import RULESETS, Benchmark
from algoperf_lightning.scoring.boards import add_board, as_board, board_name, find_board, packaged_boards
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.mathematics import MODES
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.scoring.runs import Runs
from algoperf_lightning.scoring.selection import Selection
from algoperf_lightning.spec import BENCHMARK_VERSIONS


def add_runs(parser: Parser) -> None:
    """Add the options to a parser."""
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUNS",
        help="run folders, an archive of them (.tar.xz), official logs, or a table of evaluations (.csv, .csv.gz)",
    )
    parser.add_argument(
        "--against",
        metavar="BOARD",
        action="append",
        default=[],
        help="score against the runs of a board, whose scores do not change: "
        f"{', '.join(packaged_boards())}, or a file; can be repeated",
    )
    parser.add_argument("--board", metavar="BOARD", help="use the runs of a board alone, without RUNS")
    add_benchmark(parser)
    chosen = "NAME or a pattern of names; can be repeated"
    parser.add_argument(
        "--include", metavar="NAME", action="append", default=[], help=f"only these submissions or workloads: {chosen}"
    )
    parser.add_argument(
        "--exclude", metavar="NAME", action="append", default=[], help=f"not these submissions or workloads: {chosen}"
    )


def add_benchmark(parser: Parser) -> None:
    """Add the options that select the benchmark with which runs are scored."""
    parser.add_argument(
        "--version",
        help=f"AlgoPerf version: {', '.join(BENCHMARK_VERSIONS)} (default: detected from the runs)",
    )
    parser.add_argument("--ruleset", help=f"{' or '.join(RULESETS)} (default: detected from the runs)")
    parser.add_argument("--benchmark", metavar="FILE.yaml", help="custom workloads, targets and budgets")
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="published",
        help="choice of the best trial of a study: as in the published scores, or the fastest, as in the rules "
        "(default %(default)s)",
    )


def chosen_runs(options: Namespace, count: Callable[[Runs], Runs] | None = None) -> tuple[Runs, Benchmark]:
    """Return the runs that the options select, and the benchmark with which they are scored.

    Args:
        options: Parsed options, see :func:`add_runs`.
        count: Alternative way of counting the selected runs.

    Raises:
        BadInputError: If there are no runs, or an option does not fit them.
    """
    selection = Selection(options.include, options.exclude)
    everything = _read(options)
    runs = selection.of_runs(everything)
    runs = count(runs) if count is not None else runs
    benchmark = choose_benchmark(runs, options.version, options.ruleset, options.benchmark)
    benchmark = selection.of_benchmark(benchmark, everything)
    selection.of_findings(runs, benchmark)
    return runs, benchmark


def _read(options: Namespace) -> Runs:
    if options.board is not None:
        if options.runs or options.against:
            raise BadInputError("--board shows a board alone. To score runs against it: RUNS --against BOARD.")
        return as_board(read_runs([find_board(options.board)]), board_name(options.board))
    if not options.runs:
        raise BadInputError(
            "No runs were given. `algoperf score RUNS` scores runs, `algoperf score --board NAME` shows a packaged "
            f"board: {', '.join(packaged_boards())}."
        )
    runs = read_runs(options.runs)
    for path in dict.fromkeys(find_board(board).resolve() for board in options.against):
        add_board(runs, read_runs([path]), board_name(path))
    return runs
