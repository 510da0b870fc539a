"""A record names the classes that were trained, and the source files that they are made of."""

import hashlib

from algoperf_lightning.records.source import describe_source
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import Digits


def test_a_record_names_the_source_that_ran(tmp_path, monkeypatch):
    package = tmp_path / "site" / "bundle_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "unused.py").write_text("x = 1\n")
    (package / "mine.py").write_text(
        "import bundle_beside\nfrom algoperf_lightning.testing import PlainSGD\nclass Mine(PlainSGD):\n    pass\n"
    )
    (tmp_path / "site" / "bundle_beside.py").write_text("y = 1\n")
    (tmp_path / "site" / "bundle_not_imported.py").write_text("z = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    from bundle_package.mine import Mine

    described = describe_source(Digits(Mine()))
    assert described["submission_class"] == "bundle_package.mine.Mine"
    assert described["workload_class"] == "algoperf_lightning.workloads.digits.workload.Digits"
    ours = {name: digest for name, digest in described["source"].items() if name.startswith("bundle_")}
    assert set(ours) == {
        "bundle_package/__init__.py",
        "bundle_package/mine.py",
        "bundle_package/unused.py",
        "bundle_beside.py",
    }
    assert ours["bundle_beside.py"] == hashlib.sha256(b"y = 1\n").hexdigest()
    theirs = set(described["source"]) - set(ours)
    assert theirs == {
        "algoperf_lightning/classification.py",
        "algoperf_lightning/testing/runs.py",
        "algoperf_lightning/workloads/digits/workload.py",
    }


def test_a_wrapped_submission_is_named_too():
    from algoperf_lightning.baselines import EMANesterov

    described = describe_source(Digits(EMANesterov(base=f"{PlainSGD.__module__}.PlainSGD")))
    assert "algoperf_lightning/testing/runs.py" in described["source"]
    assert "algoperf_lightning/baselines/ema_nesterov.py" in described["source"]
