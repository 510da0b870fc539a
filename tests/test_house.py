"""The laws of the house: who may import whom, and that everything is packaged."""

import ast
import configparser
import re
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from setuptools.build_meta import build_wheel

ROOT = Path(__file__).parents[1]
CORE = ROOT / "algoperf_lightning"
PLUGIN_FOLDERS = ("workloads", "callbacks", "baselines", "configs")
IMPORTED = re.compile(r"algoperf_lightning(\.[a-z_]\w*){2,}")
MODULES = sorted(p for folder in (CORE.name, *PLUGIN_FOLDERS) for p in (ROOT / folder).rglob("*.py"))


def package_of(path):
    """The import name of the package a module lies in: ``algoperf_lightning.workloads.digits``."""
    folder = path.relative_to(ROOT).parent.parts
    return ".".join(folder if folder[0] == CORE.name else (CORE.name, *folder))


def imports_of(path):
    """Every module that is imported anywhere in a file, by its full name; and whether it was named relatively."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package_of(path).split(".")[: -(node.level - 1) or None]
            yield ".".join([*base, *([node.module] if node.module else [])]), True
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", False) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and IMPORTED.fullmatch(node.value):
            yield node.value, False  # for import_module and the like; two parts alone are entry-point groups


def unit_of(name):
    """The plug-in unit a name belongs to (``callbacks``, ``workloads.digits``); None for the core and others."""
    parts = name.split(".")
    if parts[0] != CORE.name or len(parts) < 2 or parts[1] not in PLUGIN_FOLDERS:
        return None
    return ".".join(parts[1:3]) if parts[1] == "workloads" else parts[1]


def test_the_checker_sees_what_it_must(tmp_path):
    assert unit_of("algoperf_lightning.workloads.mnist.data.MnistData") == "workloads.mnist"
    assert unit_of("algoperf_lightning.workload.Workload") is None
    found = dict(imports_of(ROOT / "callbacks" / "time_budget.py"))
    assert found["algoperf_lightning.callbacks.run_clock"] is True
    assert found["algoperf_lightning.workload.Workload"] is False


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_the_law(path):
    mine = unit_of(package_of(path) + ".x")
    for name, relative in imports_of(path):
        theirs = unit_of(name)
        if theirs is None:
            assert not relative or mine is None, f"{name}: the core is imported absolutely"
        elif mine is None:
            pytest.fail(f"{path.name} is core and imports the plug-in {name}")
        elif path == ROOT / "workloads" / "__init__.py":
            assert theirs.startswith("workloads")
        else:
            assert theirs == mine, f"{path.name} of {mine} imports {name} of {theirs}"
            assert relative, f"{name}: imports within a plug-in folder are relative"


def test_optimizers_know_nothing_of_the_benchmark_and_only_plugins_use_them():
    for path in sorted(CORE.rglob("*.py")):
        names = {name.removeprefix(f"{CORE.name}.").split(".")[0] for name, _ in imports_of(path) if CORE.name in name}
        if path.parent == CORE / "optim":
            assert names <= {"optim", "errors", "utilities"}, path
        else:
            assert "optim" not in names, path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the sources, so that no build folder is left beside them."""
    import os
    import shutil

    copy = tmp_path_factory.mktemp("source") / "source"
    skip = shutil.ignore_patterns(".git", ".venv*", "*.egg-info", "build", "dist", "__pycache__", "runs", ".*_cache")
    at_top = {str(ROOT): {"data"}}  # a user's data, beside the package's own room of that name
    shutil.copytree(ROOT, copy, ignore=lambda folder, names: skip(folder, names) | at_top.get(str(folder), set()))
    out = tmp_path_factory.mktemp("wheel")
    before = Path.cwd()
    os.chdir(copy)
    try:
        return zipfile.ZipFile(out / build_wheel(str(out)))
    finally:
        os.chdir(before)


BOARDS = sorted((ROOT / "configs" / "boards").iterdir())


def test_the_wheel_holds_every_module_config_and_data_file(wheel):
    names = set(wheel.namelist())
    report = [*(CORE / "report").rglob("*.js"), *(CORE / "report" / "templates").iterdir()]
    wanted = [
        *MODULES,
        *report,
        *(ROOT / "configs").rglob("*.yaml"),
        *(ROOT / "configs" / "boards").iterdir(),
        *(ROOT / "workloads").rglob("*.gz"),
        CORE / "py.typed",
    ]
    for path in wanted:
        inside = path.relative_to(ROOT).as_posix()
        inside = inside if inside.startswith(CORE.name) else f"{CORE.name}/{inside}"
        assert inside in names, f"setup.cfg does not package {inside}"


def test_nothing_generic_lands_in_site_packages(wheel):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {CORE.name}


def test_every_entry_point_loads_and_every_plugin_class_is_exported():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    groups = [group for group in config["options.entry_points"] if group.startswith(CORE.name)]
    assert len(groups) == 4
    for group in groups:
        declared = {line.partition(" ")[0] for line in config["options.entry_points"][group].split("\n") if line}
        installed = {entry.name for entry in entry_points(group=group)}
        assert declared <= installed, "setup.cfg has changed since the package was installed: pip install -e ."
        for entry in entry_points(group=group):
            loaded = entry.load()
            assert loaded.__doc__
            if group.endswith(".launchers"):
                continue  # these are asked for by name only
            package = __import__(".".join(entry.module.split(".")[:2]), fromlist=["__all__"])
            assert getattr(package, loaded.__name__) is loaded
            assert loaded.__name__ in package.__all__


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_ones_a_person_can_hold_in_the_head(path):
    assert len(path.read_text().splitlines()) <= 320
