"""``algoperf sensitivity``: results against hyperparameters, without loading torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.basins import WITHIN
from algoperf_lightning.scoring.benchmarks import RULESETS
from algoperf_lightning.scoring.choice import choose_benchmark
from algoperf_lightning.scoring.measure import settle
from algoperf_lightning.scoring.readers import read_runs
from algoperf_lightning.scoring.selection import Selection
from algoperf_lightning.scoring.sensitivity import sensitivities
from algoperf_lightning.scoring.sensitivity_outputs import as_json, sensitivity_table
from algoperf_lightning.scoring.table import tabulate
from algoperf_lightning.spec import BENCHMARK_VERSIONS
from algoperf_lightning.utilities import terminal


def run(arguments: Sequence[str]) -> None:
    """Print a table for each submission and workload, and write tables and pictures if a folder is given."""
    options = _parser().parse(arguments)
    selection = Selection(options.include, options.exclude)
    everything = read_runs(options.runs)
    runs = selection.of_runs(everything)
    benchmark = choose_benchmark(runs, options.version, options.ruleset, options.benchmark)
    benchmark = selection.of_benchmark(benchmark, everything)
    table, measure = settle(tabulate(runs, benchmark), runs)
    found, unsaid = sensitivities(table, options.within)
    if not found:
        raise BadInputError(
            f"There is nothing to compare: {' '.join(unsaid)} The command needs trials with different "
            "hyperparameters, as run folders or official logs with hparams.json. A table of evaluations has no "
            "hyperparameters. Or sweep one: `algoperf tune WORKLOAD --submission NAME --sweep learning_rate --output "
            "RUNS`."
        )
    if options.output:
        from algoperf_lightning.report.sensitivity import write_sensitivity  # matplotlib is slow to import

        write_sensitivity(found, unsaid, measure, options.within, Path(options.output))
    if options.json:
        print(json.dumps(as_json(found, unsaid, measure, options.within), indent=2))
        return
    console = terminal.console()
    for each in found:
        for part in sensitivity_table(each, measure, options.within):
            console.print(part, soft_wrap=True)
    for line in unsaid:
        console.print(f"[yellow]not known:[/] {escape(line)}", soft_wrap=True, highlight=False)
    if options.output:
        console.print(f"Report: {escape(str(Path(options.output) / 'report.html'))}", soft_wrap=True)


def _parser() -> Parser:
    parser = Parser(
        prog="algoperf sensitivity",
        description="Show how results depend on each hyperparameter, from the trials of a study.",
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUNS", help="run folders, an archive of them, or official logs with hparams.json")
    add(
        "--within",
        type=float,
        default=WITHIN,
        metavar="FACTOR",
        help="a basin contains the values within this factor of the best result (default %(default)s)",
    )
    chosen = "NAME or a pattern of names; can be repeated"
    for name, what in (("--include", "only"), ("--exclude", "not")):
        add(name, metavar="NAME", action="append", default=[], help=f"{what} these submissions or workloads: {chosen}")
    add("--version", help=f"AlgoPerf version: {', '.join(BENCHMARK_VERSIONS)} (default: detected from the runs)")
    add("--ruleset", help=f"{' or '.join(RULESETS)} (default: detected from the runs)")
    add("--benchmark", metavar="FILE.yaml", help="custom workloads, targets and budgets")
    add("--json", action="store_true", help="print JSON instead of tables")
    add("--output", metavar="DIR", help="folder for sensitivity.csv, sensitivity_points.csv, pictures and report.html")
    return parser
