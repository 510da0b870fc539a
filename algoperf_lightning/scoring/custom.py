"""Custom benchmarks from a YAML file: any workloads, targets, budgets, studies and trials.

```yaml
name: our suite
studies: 3
trials: 5
workloads:
  digits: {metric: accuracy, direction: max, target: 0.97, budget: 60}
held_out:
  digits_wide: {base: digits, metric: accuracy, direction: max, target: 0.96, budget: 60}
```

`unit` (`seconds` or `steps`: what budgets count), `version`, `ruleset`, `budget_factor`, `limit`, `grid`, and a
workload's `test_target` may be added.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.benchmarks import Benchmark, ScoredWorkload
from algoperf_lightning.utilities.inputs import nearest_or_raise
from algoperf_lightning.utilities.yaml_files import read_yaml

_DEFAULTS: Mapping[str, Any] = {
    "name": "custom benchmark",
    "version": "custom",
    "ruleset": "external",
    "studies": 1,
    "trials": 1,
    "budget_factor": 1.0,
    "limit": 4.0,
    "grid": 100,
    "unit": "seconds",
}
_WORKLOAD_FIELDS = ("metric", "direction", "target", "test_target", "budget")


def read_benchmark(path: str | Path) -> Benchmark:
    """Read a benchmark from a YAML file.

    Raises:
        BadInputError: If the file cannot be read or is not valid YAML without duplicate keys, a key is unknown (a
            similar one is suggested) or null, a field is missing, or a number is out of range.
    """
    path = Path(path)
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("workloads"), dict):
        raise BadInputError(
            f"{path} must contain a mapping with the key 'workloads'; see docs/scoring.md for an example."
        )
    for key in content:
        nearest_or_raise(f"key in {path}", str(key), {**_DEFAULTS, "workloads": None, "held_out": None})
    _refuse_null(path, content, ())
    fields = {key: content.get(key, default) for key, default in _DEFAULTS.items()}
    fields |= {"name": str(fields["name"]), "version": str(fields["version"])}
    base = tuple(_workload(path, name, row) for name, row in content["workloads"].items())
    held_out = content.get("held_out", {})
    if not isinstance(held_out, dict):
        raise BadInputError(f"{path}: 'held_out' must be a mapping from names to workloads, but got {held_out!r}.")
    return Benchmark(**fields, base=base, held_out=tuple(_workload(path, n, row, True) for n, row in held_out.items()))


def _workload(path: Path, name: str, row: Any, held_out: bool = False) -> ScoredWorkload:
    known = dict.fromkeys((*_WORKLOAD_FIELDS, "base") if held_out else _WORKLOAD_FIELDS)
    if not isinstance(row, dict):
        raise BadInputError(f"{path}: {name} must be a mapping with {', '.join(known)}, but got {row!r}.")
    for key in row:
        nearest_or_raise(f"key of {name} in {path}", str(key), known)
    _refuse_null(path, row, ("test_target",), f"{name}.")
    missing = [key for key in known if key not in row and key != "test_target"]
    if missing:
        raise BadInputError(f"{path}: {name} has no {', '.join(missing)}.")
    return ScoredWorkload(
        name=str(name),
        metric=str(row["metric"]),
        direction=row["direction"],
        validation_target=row["target"],
        test_target=row.get("test_target"),
        budget=row["budget"],
        base=str(row["base"]) if held_out else None,
    )


def _refuse_null(path: Path, group: Mapping[Any, Any], allowed: Container[str], of: str = "") -> None:
    if null := [key for key, value in group.items() if value is None and key not in allowed]:
        raise BadInputError(f"{path}: {of}{null[0]} has no value. Give it one, or leave the key out.")
