"""A workload's parts lie in files of the same names everywhere, and what all of them need lies in the core."""

import ast
from pathlib import Path

import pytest

import algoperf_lightning.workloads as workloads

FOLDER = Path(workloads.__path__[0])
PACKAGES = sorted(path.parent.name for path in FOLDER.glob("*/spec.py"))

ROLES = {
    "spec": ("The numbers of",),
    "data": ("Data of",),
    "reading": ("Reading of",),
    "parsing": ("Parsing of",),
    "conversion": ("Conversion for",),
    "batches": ("Batches of",),
    "packing": ("Packing of",),
    "padding": ("Padding of",),
    "model": ("The network of", "The networks of"),
    "metric": ("The metric of", "The metrics of"),
}
"""What the docstring of a module of this name begins with."""

IN_THE_CORE = {"bz2", "lzma", "tarfile", "zipfile"}
EXCEPTIONS = {"imagenet/archives.py"}  # archives within an archive


@pytest.fixture(params=PACKAGES)
def modules(request):
    """The parsed modules of one folder, by their paths."""
    return {
        f"{request.param}/{path.name}": ast.parse(path.read_text()) for path in FOLDER.glob(f"{request.param}/*.py")
    }


def test_the_first_line_of_a_module_says_what_its_name_promises(modules):
    for path, tree in modules.items():
        first, role = ast.get_docstring(tree).split("\n")[0], Path(path).stem
        assert first.endswith("."), f"{path}: one sentence, on one line"
        assert first.startswith(ROLES.get(role, "")), f"{path}: {' or '.join(ROLES[role])} ..."


def test_examples_are_in_batches(modules):
    for path, tree in modules.items():
        bases = {ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases}
        assert "Examples" not in bases or path.endswith("/batches.py"), f"{path}: move them to batches.py"


def test_archives_are_unpacked_by_the_core(modules):
    for path, tree in modules.items():
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not names & IN_THE_CORE or path in EXCEPTIONS, f"{path}: use algoperf_lightning.data.unpack"


def test_every_workload_has_its_main_files(modules):
    assert {"__init__", "data", "spec", "workload"} <= {Path(path).stem for path in modules}
