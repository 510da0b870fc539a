"""The table of docs/clock.md that says where each rule is: every file and function it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "clock.md").read_text().partition("### Where each rule is")[2].partition("\n## ")[0]
PLACES = re.findall(r"`(\w+\.py)`((?:[:,] `[\w.]+`)*)", TABLE)


def names_in(path):
    """The classes and functions of a module, and the methods of its classes both as ``Class.method`` and ``method``."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            names.update(methods, (f"{node.name}.{method}" for method in methods))
    return names


@pytest.mark.parametrize(("file", "functions"), PLACES, ids=[f"{file}{functions}" for file, functions in PLACES])
def test_each_named_place_exists(file, functions):
    assert set(re.findall(r"[\w.]+", functions)) <= names_in(ROOT / "callbacks" / file)


def test_every_rule_has_a_place():
    rows = [line for line in TABLE.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 10
    assert all(re.search(r"\| `\w+\.py`", row) for row in rows)
