"""The page's section on second derivatives: its examples and its table."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from on_ranks import run_on_ranks
from page import load_module, section
from products import direction, gauss_newton_product_forward, joined, loss_at, point, started

from algoperf_lightning.cli import main
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.testing import check_submission_resume

ROW = re.compile(r"^\| `(\w+)` \| (yes|no) \| (yes|no) \| (yes|no)([^|]*) \|([^|]*)\|$", re.MULTILINE)
TABLE = {name: cells for name, *cells in ROW.findall(section())}


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return load_module(tmp_path_factory.mktemp("page"))


# The table


def test_the_table_has_all_workloads():
    assert TABLE.keys() == set(plugins(WORKLOADS))


def works(compute):
    """Whether derivatives can be had and are finite."""
    try:
        return bool(joined(torch.utils._pytree.tree_leaves(compute())).isfinite().all())
    except (RuntimeError, NotImplementedError, BadInputError, ValueError):
        return False


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_the_table_says_what_works(name, tmp_path, module):
    twice, forward, mapped, reason, outside = TABLE[name]
    workload, batch = started(name, tmp_path)
    view, start, vector = workload.view, point(workload), direction(workload)
    parameters = list(workload.network.parameters())

    def product():
        gradients = torch.autograd.grad(loss_at(view, batch), parameters, create_graph=True)
        return torch.autograd.grad(gradients, parameters, list(vector.values()))

    def pushed():
        return torch.func.jvp(lambda p: loss_at(view, batch, p), (start,), (vector,))[1]

    with view.second_order():
        found = [works(product), works(pushed), works(lambda: module.gradients_of_examples(view, batch))]
    assert found == [cell == "yes" for cell in (twice, forward, mapped)]
    assert bool(reason) == (mapped == "no")
    if name != "wmt":  # whose attention is fused on GPUs only
        assert (works(product) and works(pushed)) == (not outside.strip())


# The examples


def test_the_gauss_newton_product_is_that_of_forward_mode(module, tmp_path):
    for name in ("digits", "librispeech_conformer"):
        workload, batch = started(name, tmp_path, double=True)
        vector = direction(workload)
        expected = joined(gauss_newton_product_forward(workload.view, batch, vector, point(workload)))
        torch.manual_seed(3)  # of the masks
        found = joined(module.gauss_newton_product(workload.view, batch, list(vector.values())))
        assert (found - expected).norm() <= 1e-4 * expected.norm()


def test_the_gradients_of_examples_add_up(module, tmp_path):
    workload, batch = started("digits", tmp_path)
    rows = module.gradients_of_examples(workload.view, batch)
    expected = torch.autograd.grad(loss_at(workload.view, batch), list(workload.network.parameters()))
    for found, gradient in zip(rows.values(), expected, strict=True):
        torch.testing.assert_close(found.mean(0), gradient, rtol=1e-4, atol=1e-7)


def test_a_resumed_run_ends_as_an_unbroken_one(module, tmp_path):
    check_submission_resume(module.ByCurvature, tmp_path)


def test_a_run_breaks_no_rule(module, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(module.__file__).parent))
    options = ["--trainer.max_steps", "12", "--recorder.folder", str(tmp_path / "trial")]
    for name in ("ByCurvature", "AlongTheGradient"):
        main(["fit", "--config", "digits", "--submission", f"by_curvature.{name}", *options])
        record = json.loads((tmp_path / "trial" / "trial.json").read_text())
        assert record["warnings"] == []
        options[-1] = str(tmp_path / "other")


@pytest.mark.slow
def test_it_is_tuned(module, tmp_path):
    folder = Path(module.__file__).parent
    command = ["tune", "digits", "--submission", "by_curvature.ByCurvature", "--ruleset", "self-tuning"]
    options = ["--studies", "1", "--output", str(tmp_path), "--", "--trainer.max_steps", "4"]
    launch = [sys.executable, "-m", "algoperf_lightning", *command, *options]
    done = subprocess.run(launch, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = tmp_path.rglob("trial.json")
    assert json.loads(record.read_text())["warnings"] == []


@pytest.mark.slow
def test_two_ranks_are_one(module):
    from ranks_page import NAMES, run

    folder = Path(module.__file__).parent
    run_on_ranks(Path(__file__).with_name("ranks_page.py"), folder)
    for name in NAMES:
        run(name, folder)
        one, first, second = (torch.load(folder / f"{name}_{rank}.pt") for rank in ("1_0", "2_0", "2_1"))
        for key, value in one.items():
            assert torch.equal(first[key], second[key]), f"{key} differs between the ranks"
            torch.testing.assert_close(first[key], value, rtol=1e-6, atol=1e-9, msg=f"{name}: {key}")
