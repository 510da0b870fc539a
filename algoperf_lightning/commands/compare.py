"""``algoperf compare``: how much faster is a submission, how certain is that, and how many more runs are needed?"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from algoperf_lightning.commands.chosen import add_benchmark
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.boards import add_board, board_name, find_board, packaged_boards
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.comparison import Comparison, Question, compare, compare_all
from algoperf_lightning.scoring.comparison_outputs import as_data, comparison_table, pairs_table
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_runs
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.scoring.runs import Runs, present
from algoperf_lightning.scoring.samples import RUNS
from algoperf_lightning.scoring.selection import Selection
from algoperf_lightning.scoring.verdict import verdict
from algoperf_lightning.utilities import terminal
from algoperf_lightning.utilities.inputs import nearest_or_raise

_SHOWN = 6
"""Printed findings about the runs: those that may make the comparison questionable."""


def run(arguments: Sequence[str]) -> None:
    """Print a comparison of two submissions, or of all pairs, as tables and a verdict or as JSON."""
    options = _parser().parse(arguments)
    question = Question(options.by, options.level, options.difference, options.power, options.seed)
    places, pair = _places(options)
    board = _scored(_read(places, options.board), pair, options)
    if options.all_pairs:
        comparisons, notes = compare_all(board, question)
    else:
        comparisons, notes = [compare(board, pair[0], pair[1], question)], []
    findings = [f"{each.kind}: {each.message}" for each in board.findings if each.strict]
    if options.json:
        data = [as_data(each) for each in comparisons]
        whole = {"pairs": data, "notes": notes} if options.all_pairs else data[0]
        print(json.dumps(whole | {"findings": findings}, indent=2, allow_nan=False))
        return
    if len(findings) > _SHOWN:
        findings[_SHOWN:] = [f"and {len(findings) - _SHOWN} more findings; `algoperf score` shows all."]
    _print(comparisons, [*notes, *findings], options.all_pairs)


def _parser() -> Parser:
    parser = Parser(
        prog="algoperf compare",
        usage="algoperf compare [options] RUNS... A B\n       algoperf compare [options] RUNS... --all-pairs",
        description="Compare two submissions: the ratio of their times, how certain it is, and how many "
        "more runs are needed. A missed target counts as longer than the budget.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUNS",
        help="run folders, archives, official logs or tables of evaluations, as for `algoperf score`; then the two "
        "submissions",
    )
    parser.add_argument(
        "--board",
        action="append",
        default=[],
        help=f"also use the runs of a board: {', '.join(packaged_boards())}, or a file; can be repeated",
    )
    parser.add_argument(
        "--all-pairs", action="store_true", help="compare all pairs of submissions, without naming them"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--by",
        choices=RUNS,
        default="study",
        help="unit of comparison: a study, by its best trial, or a single trial (default %(default)s)",
    )
    parser.add_argument(
        "--difference",
        type=float,
        default=Question.difference,
        help="relative difference for which the power is computed (default %(default)s)",
    )
    parser.add_argument(
        "--power",
        type=float,
        default=Question.power,
        help="power for which further runs are planned (default %(default)s)",
    )
    parser.add_argument(
        "--level", type=float, default=Question.level, help="level of the intervals (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulations for the power")
    chosen = "NAME or a pattern of names; can be repeated"
    parser.add_argument("--include", metavar="NAME", action="append", default=[], help=f"only these: {chosen}")
    parser.add_argument("--exclude", metavar="NAME", action="append", default=[], help=f"not these: {chosen}")
    add_benchmark(parser)
    return parser


def _places(options: Namespace) -> tuple[list[str], list[str]]:
    """Return the sources of runs, and the two names after them.

    Raises:
        BadInputError: If there are not enough arguments, or unexpected names.
    """
    split = len(options.runs) - (0 if options.all_pairs else 2)
    if split < (0 if options.board else 1):
        given = " ".join(["--board", *options.board] * bool(options.board) + options.runs) or "nothing"
        raise BadInputError(
            f"Expected RUNS, then two submissions, but got {given}. Give both, for example `algoperf compare runs "
            "adamw muon` or `algoperf compare --board v0.5-external baseline nadamp`; or --all-pairs."
        )
    places = list(options.runs[:split])
    names = [place for place in places if not Path(place).expanduser().exists()] if options.all_pairs else []
    if names:
        raise BadInputError(
            f"{' and '.join(names)}: no such file or folder. With --all-pairs, give runs only, without "
            "names of submissions; --include NAME selects some."
        )
    return places, list(options.runs[split:])


def _read(places: Sequence[str], boards: Sequence[str]) -> Runs:
    if not places:
        runs, boards = read_runs([find_board(boards[0])]), boards[1:]
    else:
        runs = read_runs(places)
    for board in boards:
        add_board(runs, read_runs([find_board(board)]), board_name(board))
    return runs


def _scored(everything: Runs, pair: Sequence[str], options: Namespace) -> Leaderboard:
    """Return the runs as a leaderboard: of all submissions for all pairs, otherwise of the two."""
    selection = Selection(options.include, options.exclude)
    known = dict.fromkeys(present(trial.submission for trial in everything.trials))
    for name in pair:
        nearest_or_raise("submission", name, known)
    runs = selection.of_runs(everything)
    benchmark = choose_benchmark(runs, options.version, options.ruleset, options.benchmark)
    benchmark = selection.of_benchmark(benchmark, everything)
    selection.of_findings(runs, benchmark)
    if pair:
        said = [each for each in runs.findings if not each.about or any(name in pair for name, _ in each.about)]
        runs = Runs([trial for trial in runs.trials if trial.submission in pair], said)
    return score_runs(runs, benchmark, options.mode)


def _print(comparisons: Sequence[Comparison], notes: Sequence[str], all_pairs: bool) -> None:
    console = terminal.console()
    parts = pairs_table(comparisons, console.width) if all_pairs else comparison_table(comparisons[0], console.width)
    for part in parts:
        console.print(part)
    if not all_pairs:
        console.print(f"[bold]{escape(verdict(comparisons[0]))}[/]", highlight=False, soft_wrap=True)
    for note in notes:
        console.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
