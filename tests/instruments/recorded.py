"""What rules read of real runs, packed into a file of a few hundred kilobytes."""

import gzip
import json
import math
from pathlib import Path

from algoperf_lightning.instruments.diagnosis import RULES, Evidence
from algoperf_lightning.instruments.diagnosis.evidence import Curve

FILE = Path(__file__).parent / "data" / "diagnosed_runs.json.gz"
_KEPT = {name for rule in RULES.values() for name in rule.reads} | {
    *("step", "loss", "learning_rate", "gradient_norm", "update_size", "update_ratio", "cosine_descent"),
    *("same_batch_step_length", "loss_change", "distance", "weight_norm"),
}


def pack(runs, path=FILE):
    """Write runs with numbers of four digits: by name, what ought to be said of them, and their evidence.

    What ought to be said is a rule, or "" for a healthy run.
    """
    path.parent.mkdir(exist_ok=True)
    data = {name: [wanted, *_as_data(run)] for name, (wanted, run) in sorted(runs.items())}
    text = json.dumps(data, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def unpack(path=FILE):
    """Return what :func:`pack` wrote."""
    return {
        name: (wanted, _of_data(data))
        for name, (wanted, *data) in json.loads(gzip.decompress(path.read_bytes())).items()
    }


def _as_data(run):
    rows = [{name: _short(value) for name, value in row.items() if name in _KEPT} for row in run.rows]
    curves = [[curve.steps, [_short(value) for value in curve.values]] for curve in (run.losses, run.rates)]
    return [rows, run.batch_size, *curves, dict(run.hyperparameters), list(run.measured), run.reached]


def _of_data(data):
    rows, batch_size, losses, rates, hyperparameters, measured, reached = data
    return Evidence(
        [{name: _long(value) for name, value in row.items()} for row in rows],
        batch_size,
        *(Curve(steps, [_long(value) for value in values]) for steps, values in (losses, rates)),
        hyperparameters,
        measured,
        reached,
    )


def _short(value):
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def _long(value):
    if isinstance(value, dict):
        return {name: _long(each) for name, each in value.items()}
    return float(value) if isinstance(value, str) else value
