"""Packages whose names are imported on first use: the table of each is whole, and other names are errors."""

import sys
from importlib import import_module

import pytest

from algoperf_lightning.utilities.lazy_names import lazy_names

PACKAGES = ["", ".baselines", ".data", ".optim", ".workloads"]


@pytest.mark.parametrize("package", [f"algoperf_lightning{name}" for name in PACKAGES])
def test_every_public_name_is_there_and_no_other(package):
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    assert "__name__" in dir(module)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Adam0'"):
        _ = module.Adam0


def test_a_module_is_imported_when_its_name_is_used(tmp_path, monkeypatch):
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "__init__.py").write_text("")
    (tmp_path / "apart" / "inner.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = import_module("apart")
    get, names = lazy_names("apart", {"Thing": "inner"})
    assert "Thing" in names()
    assert "apart.inner" not in sys.modules
    assert get("Thing") is module.inner.Thing
