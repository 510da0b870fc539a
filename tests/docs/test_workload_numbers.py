"""The numbers on the pages of the workloads are those of the specs."""

import re

import pytest
from pages import ROOT

from algoperf_lightning.registry import WORKLOADS, get_spec, plugins
from algoperf_lightning.spec import BENCHMARK_VERSIONS

OURS = [name for name, entry in plugins(WORKLOADS).items() if entry.module.startswith("algoperf_lightning.")]


def text_of(name):
    return (ROOT / "docs" / "workloads" / f"{name}.md").read_text(encoding="utf-8")


def rows(text):
    """The rows of all tables, as lists of cells."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def row(text, head):
    """The one row that begins with a word."""
    (found,) = [cells for cells in rows(text) if cells[0] == head]
    return found[1:]


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


@pytest.mark.parametrize("name", OURS)
def test_budgets_of_all_versions(name):
    spec, text = get_spec(name), text_of(name)
    shown = {cells[0]: cells[1:] for cells in rows(text) if cells[0] in BENCHMARK_VERSIONS}
    expected = {}
    for version in spec.known_versions:
        of = spec.of(version=version)
        self_tuning = of.budget * BENCHMARK_VERSIONS[version].budget_factor("self-tuning")
        expected[version] = [f"{seconds:,.10g} s" for seconds in (of.budget, self_tuning, of.eval_period)]
        expected[version].append(f"{of.step_hint:,}")
    assert shown == expected


@pytest.mark.parametrize("name", OURS)
def test_targets_splits_and_batches(name):
    spec, text = get_spec(name), text_of(name)
    (targets,), (splits,), (batch,) = row(text, "targets"), row(text, "splits"), row(text, "batch")
    known = [target for target in (spec.validation_target, spec.test_target) if target is not None]
    # Names of test sets hold digits too: ImageNet-v2, newstest2013.
    plain = [re.sub(r"\b[A-Za-z]\w*-?v?\d+\b|\([^)]*\)", "", cell) for cell in (targets, splits)]
    assert numbers(plain[0]) == pytest.approx(known, rel=1e-9)
    sizes = [spec.splits[split] for split in ("train", "eval_train", "validation", "test") if split in spec.splits]
    assert [size for size in numbers(plain[1]) if size in sizes] == sizes
    assert numbers(batch) == [spec.batch_size, spec.eval_batch_size]


@pytest.mark.parametrize("name", OURS)
def test_variants(name):
    spec, text = get_spec(name), text_of(name)
    shown = {cells[0].strip("`"): numbers(" ".join(cells[-2:])) for cells in rows(text) if cells[0][:1] == "`"}
    for variant, changed in spec.variants.items():
        known = [target for target in (changed.validation_target, changed.test_target) if target is not None]
        assert shown[variant] == pytest.approx(known, rel=1e-9), variant
