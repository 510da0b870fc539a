"""``algoperf list NAME``: details of a workload or a submission."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from algoperf_lightning.errors import BadInputError, in_one_line
from algoperf_lightning.records.summary import target_words
from algoperf_lightning.registry import get_spec
from algoperf_lightning.sizes import at_size
from algoperf_lightning.spec import BENCHMARK_VERSIONS, WorkloadSpec


def workload_details(name: str) -> Iterator[Any]:
    """Yield tables of a workload: its numbers by version, and its variants."""
    spec = get_spec(name)
    yield f"[bold]{name}[/]: {escape(spec.task)}"
    versions = _table("by version", "version", "budget", "self-tuning", "evaluation every", "step hint")
    for version in spec.known_versions:
        row = spec.of(version=version)
        self_tuning = row.budget * BENCHMARK_VERSIONS[version].budget_factor("self-tuning")
        versions.add_row(
            version, f"{row.budget:,g} s", f"{self_tuning:,g} s", f"{row.eval_period:,g} s", f"{row.step_hint:,}"
        )
    yield versions
    targets = _table(f"targets: {spec.metric}", "workload", "validation", "test", "batch size", "dropout")
    forms: list[WorkloadSpec] = [spec.of(), *(spec.of(variant=variant) for variant in spec.variants)]
    forms += [spec.of(**at_size(size)) for size in spec.sizes]
    for form in forms:
        validation, test = (
            target_words(target, form.direction) for target in (form.validation_target, form.test_target)
        )
        dropout = "none" if form.dropout is None else f"{form.dropout:g}"
        targets.add_row(form.full_name, validation, test, f"{form.batch_size:,}", dropout)
    yield targets
    sizes = ", ".join(f"{split} {size:,}" for split, size in spec.splits.items())
    yield f"examples: {sizes}\n"


def submission_details(name: str) -> Iterator[Any]:
    """Yield a table of a submission's hyperparameters, with their defaults and their part of the search space.

    Raises:
        BadInputError: With all problems of its search space.
    """
    from algoperf_lightning.plugins import find_submission
    from algoperf_lightning.tuning import SearchSpace

    submission = find_submission(name)
    summary = (inspect.getdoc(submission) or "").splitlines()
    yield f"[bold]{name}[/]: {escape(summary[0]) if summary else submission.__name__}"
    try:
        defaults = submission().hyperparameters
    except Exception as error:
        raise BadInputError(
            f"The submission {name!r} cannot be created with its defaults: {in_one_line(error)}."
        ) from error
    space = SearchSpace.of(submission)
    searched = {} if space is None else space.describe()
    title = "hyperparameters; no search space: it tunes itself" if space is None else "hyperparameters"
    columns = ["name", "default", *([] if space is None else ["search space"])]
    if space is not None and space.points:
        columns[2:] = [f"point {number}" for number in range(1, len(space.points) + 1)]
    table = _table(title, *columns)
    for key in dict.fromkeys([*searched, *defaults]):
        row = [key, _shown(defaults.get(key, ""))]
        if space is not None and space.points:
            row += [_shown(point[key]) if key in point else "" for point in space.points]
        elif space is not None:
            row.append(searched.get(key, ""))
        table.add_row(*map(escape, row))
    yield table


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, no_wrap=column == "name", overflow="fold")
    return table
