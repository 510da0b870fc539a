"""``algoperf reproduce``: run the trials of a bundle again, and compare them with their records."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from algoperf_lightning.bundles.read import ENDING, RUNS, SOURCE, unpack
from algoperf_lightning.bundles.reproduction import Reproduction, Verdict, compare
from algoperf_lightning.bundles.rerun import rerun
from algoperf_lightning.commands.parser import Parser
from algoperf_lightning.data.data_dir import resolve_data_dir
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.result import TRIAL_FILE, RecordError, TrialResult
from algoperf_lightning.scoring.runs import some_of

_INTERRUPTED = (130, 143)


def run(arguments: Sequence[str]) -> None:
    """Run trials again and print a verdict on each; exit code 1 if one was not reproduced."""
    given = list(arguments)
    split = given.index("--") if "--" in given else len(given)
    options = _parser().parse(given[:split])
    if not 0 <= options.tolerance < math.inf:
        raise BadInputError(f"--tolerance must be a number of at least 0, for example 0.1, but is {options.tolerance}.")
    bundle = Path(options.bundle)
    output = Path(options.output or f"reproduced/{bundle.name.removesuffix(ENDING)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        unpack(bundle, folder)
        records = _records(folder / RUNS)
        chosen = _chosen(records, options.trial, bundle)
        source = _keep_source(folder / SOURCE, output / SOURCE)
        found = {}
        for name in chosen:
            repeated = _repeat(records[name], output / name, source, options, given[split + 1 :])
            found[name] = compare(records[name], repeated, list(records.values()), options.tolerance)
            if not options.json:
                print(describe(name, records[name], repeated, found[name]), flush=True)
    if options.json:
        print(json.dumps({name: as_data(each) for name, each in found.items()}, indent=2, allow_nan=False))
    if any(each.verdict is Verdict.NOT_REPRODUCED for each in found.values()):
        raise SystemExit(1)


def _parser() -> Parser:
    parser = Parser(
        prog="algoperf reproduce",
        hands_on=True,
        description="Rerun trials of a bundle with its source code, and compare them with their records. This "
        "executes the code in the bundle: use bundles from people you trust. Arguments after -- are passed to "
        "`algoperf fit`: -- --trainer.accelerator cpu",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help=f"a file that `algoperf pack` wrote ({ENDING})")
    parser.add_argument(
        "--trial",
        action="append",
        default=[],
        metavar="NAME",
        help="trial, or a pattern of trials ('*' for all); can be repeated (default: the only trial)",
    )
    parser.add_argument("--output", metavar="DIR", help="folder of the new trials (default: reproduced/BUNDLE)")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of the data (default $ALGOPERF_DATA_DIR, else ./data)"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="largest relative difference in steps to the target (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def _records(runs: Path) -> dict[str, TrialResult]:
    return {
        path.parent.relative_to(runs).as_posix(): TrialResult.read(path.parent)
        for path in sorted(runs.rglob(TRIAL_FILE))
    }


def _chosen(records: Mapping[str, TrialResult], patterns: Sequence[str], bundle: Path) -> list[str]:
    if not patterns and len(records) == 1:
        return list(records)
    if not patterns:
        raise BadInputError(
            f"{bundle} has {len(records)} trials: {some_of(records)}. Choose with --trial NAME, or --trial '*' for all."
        )
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in records):
            raise BadInputError(f"--trial {pattern}: {bundle} has no such trial. It contains {some_of(records)}.")
    return [name for name in records if any(fnmatch(name, pattern) for pattern in patterns)]


def _keep_source(unpacked: Path, kept: Path) -> Path:
    """Copy source files to the output folder, where they are kept with the trials that used them."""
    if unpacked.is_dir():
        shutil.copytree(unpacked, kept, dirs_exist_ok=True)
    return kept


def _repeat(
    recorded: TrialResult, folder: Path, source: Path, options: Namespace, arguments: Sequence[str]
) -> TrialResult:
    """Return the record of the new run; a finished one is not run again.

    Raises:
        BadInputError: If the trial cannot be run, or is finished and arguments of ``algoperf fit`` are given.
    """
    try:
        repeated = TrialResult.read(folder)
    except RecordError:
        repeated = None
    over = repeated is not None and repeated.status.final
    if over and arguments:
        raise BadInputError(f"{folder} already contains a finished run. Choose another folder with --output.")
    if repeated is None or not over:
        data = ["--workload.data_dir", str(resolve_data_dir(options.data_dir))]
        code = rerun(recorded, folder, source, [*data, *arguments])
        if code in _INTERRUPTED:
            raise SystemExit(code)
        try:
            repeated = TrialResult.read(folder)
        except RecordError as error:
            raise BadInputError(
                f"The trial could not be run: `algoperf fit` ended with exit code {code}, see above."
            ) from error
    return repeated


def describe(name: str, recorded: TrialResult, repeated: TrialResult, found: Reproduction) -> str:
    """Return the lines of the verdict on a trial."""
    lines = [
        f"{name}: {recorded.submission} on {recorded.workload}, seed {recorded.seed}",
        f"  {found.verdict}: {found.reason}.",
        f"  {found.measure}: recorded {_shown(found.recorded)}, now {_shown(found.repeated)}"
        + (f", other seeds {', '.join(map(_shown, found.seeds))}" if found.seeds else ""),
        f"  seconds to the target: recorded {_shown(recorded.time_to_target)}, now {_shown(repeated.time_to_target)}",
    ]
    if found.first_difference:
        lines.append(f"  first difference: {found.first_difference}")
    lines += [f"  different: {each}" for each in found.differences]
    return "\n".join(lines)


def as_data(found: Reproduction) -> dict[str, Any]:
    """Return a verdict for JSON; missing numbers are None."""
    data = dataclasses.asdict(found)
    return data | {name: data[name] if math.isfinite(data[name]) else None for name in ("recorded", "repeated")}


def _shown(value: float) -> str:
    return "none" if not math.isfinite(value) else f"{value:,.0f}" if value >= 100 else f"{value:.4g}"
