"""No two modules import each other, directly or around: what is below knows nothing of what is above."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "algoperf_lightning"
ANNOTATIONS = {"Submission", "Workload"}
"""Public base classes, which may be imported for annotations alone."""


def modules_in(folder):
    """All modules of a package's folder, by full name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [folder.name, *path.relative_to(folder).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path, modules):
    """Every module of a package that a file imports anywhere, but for annotations by a public base class."""

    def walk(node, for_types):
        for child in ast.iter_child_nodes(node):
            inner = for_types or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            if isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    if not (inner and alias.name in ANNOTATIONS):
                        whole = f"{child.module}.{alias.name}"
                        yield whole if whole in modules else child.module
            elif isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            yield from walk(child, inner)

    return {name for name in walk(ast.parse(path.read_text()), for_types=False) if name in modules}


def cycle_in(folder):
    """Names of modules that import each other around, or None."""
    modules = modules_in(folder)
    graph = {name: imports_of(path, modules) - {name} for name, path in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_the_core_has_no_import_cycle():
    assert cycle_in(CORE) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", False, id="no-import"),
        pytest.param("from package.above import helper", True, id="at-the-top"),
        pytest.param("def later():\n    import package.above", True, id="in-a-function"),
        pytest.param("if TYPE_CHECKING:\n    from package.above import Helper", True, id="for-types"),
        pytest.param(
            "if TYPE_CHECKING:\n    from package.above import Workload", False, id="annotation-by-a-base-class"
        ),
        pytest.param("from package.above import Workload", True, id="base-class-at-run-time"),
    ],
)
def test_a_cycle_is_found(tmp_path, text, found):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "above.py").write_text("from package import below")
    (package / "below.py").write_text(text)
    assert (cycle_in(package) is not None) is found


@pytest.mark.parametrize(
    "name", ["Draws", "Examples", "FileData", "TensorExamples", "WorkloadData", "resolve_data_dir"]
)
def test_the_door_of_the_data_room_is_open(name):
    from algoperf_lightning import data

    assert getattr(data, name).__name__ == name
    assert name in data.__all__


def test_the_door_names_all_it_opens():
    from algoperf_lightning import data

    for name in data.__all__:
        assert getattr(data, name) is not None
    with pytest.raises(AttributeError, match="Exampels"):
        _ = data.Exampels
