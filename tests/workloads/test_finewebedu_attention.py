"""Attention of finewebedu_lm: rotation, normalisation, causality."""

from __future__ import annotations

import pytest
import torch
from test_finewebedu_model import INPUTS, filled
from torch.nn import functional as F

from algoperf_lightning.workloads.finewebedu import model as network
from algoperf_lightning.workloads.finewebedu.model import rotary_table, rotate, unit


@pytest.fixture(scope="module")
def models():
    return {"b": filled("b")}


def test_what_enters_the_attention_is_that_of_the_reference(models, monkeypatch):
    entered = []

    def spy(query, key, value, **options):
        entered.append((query, key, value, options))
        return original(query, key, value, **options)

    original = F.scaled_dot_product_attention
    monkeypatch.setattr(network.F, "scaled_dot_product_attention", spy)
    with torch.no_grad():
        models["b"](INPUTS)
    query, key, value, options = entered[0]
    assert options == {"is_causal": True, "scale": 1.0}
    assert query.shape == (2, 4, 32, 16)
    expected = {
        "query": [-2.76769, 1.75808, -2.1311, -2.74495],
        "key": [0.367174, -0.374533, -0.238819, 0.00442921],
        "value": [0.808109, -1.14974, 0.148038, -1.35727],
    }
    for (name, values), found in zip(expected.items(), (query, key, value), strict=True):
        assert found[0, 0, 1, :4].tolist() == pytest.approx(values, abs=1e-5), name
    scores = query @ key.transpose(2, 3)
    assert scores[0, 0, 1, :2].tolist() == pytest.approx([-5.2017, -4.322], abs=1e-4)
    assert scores[0, 3, 31, :4].tolist() == pytest.approx([-0.45012, 1.95296, -0.111396, -3.31453], abs=1e-4)
    assert scores.abs().max().item() == pytest.approx(8.44, abs=0.005)
    assert (key.norm(dim=-1) - 1).abs().max().item() < 4e-6


def test_rotation_is_that_of_the_reference():
    n = torch.arange(96, dtype=torch.float64).view(1, 6, 2, 8)
    query, key = ((0.1 * n).sin().float(), (0.1 * n).cos().float())
    table = rotary_table(6, 8)
    turned, turned_key = (rotate(x.transpose(1, 2), table).transpose(1, 2) for x in (query, key))
    after = {
        (1, 0): [-0.294385, 1.37691, 0.937581, 0.982245, 0.908076, 0.864494, 0.808457, 0.745748],
        (5, 1): [0.64636, -0.418771, 0.345207, 0.390509, 0.222004, 0.126027, 0.0247954, -0.0751445],
    }
    key_after = {
        (1, 1): [0.275724, -1.05336, -0.822292, -0.93565, -0.940848, -0.97229, -0.989939, -0.999188],
        (5, 0): [-0.274813, 0.0704392, -0.252542, -0.48717, -0.515019, -0.605669, -0.678521, -0.748827],
    }
    for found, expected in ((turned, after), (turned_key, key_after)):
        for (position, head), values in expected.items():
            assert found[0, position, head].tolist() == pytest.approx(values, abs=6e-6)
    assert torch.equal(turned[:, 0], query[:, 0])
    assert turned.sum().item() == pytest.approx(21.9707, abs=1e-4)
    assert turned_key.sum().item() == pytest.approx(-2.97291, abs=1e-5)
    torch.testing.assert_close(turned.norm(dim=-1), query.norm(dim=-1))


def test_the_table_at_full_size_is_that_of_the_reference():
    cosines, sines = rotary_table(1_024, 128)[:, 1023]
    assert cosines[[0, 1, 63]].tolist() == pytest.approx([0.400068, -0.673886, 0.999997], abs=1e-4)
    assert sines[[0, 1, 63]].tolist() == pytest.approx([-0.916485, -0.738835, 0.00251161], abs=1e-4)


def test_vectors_are_divided_by_their_length_and_the_small_number_is_added_behind():
    assert unit(torch.tensor([3.0, 4, 0, 0])).tolist() == pytest.approx([0.600001, 0.800001, 1e-6, 1e-6], abs=1e-7)
    assert unit(torch.zeros(4)).isnan().all()


def test_the_size_of_query_and_key_weights_does_not_matter(models):
    other = filled("b")
    with torch.no_grad():
        other.blocks[0].attention.qkv.weight[:128] *= 7
        difference = (other(INPUTS) - models["b"](INPUTS)).abs().max().item()
    assert 0 < difference < 1e-5


# Causality


def test_a_changed_token_changes_no_earlier_logit(models):
    changed = INPUTS.clone()
    assert changed[0, 20] == 11
    changed[0, 20] = 12
    with torch.no_grad():
        before, after = models["b"](INPUTS), models["b"](changed)
    difference = (after - before).abs()
    assert not difference[1].any()
    assert not difference[0, :20].any()
    found = [difference[0, position].max().item() for position in (20, 21, 22, 23, 31)]
    assert found == pytest.approx([4.92686, 0.385149, 1.10234, 1.98126, 0.531252], abs=2e-5)
    assert after[0, 20, :4].tolist() == pytest.approx([0.810195, 0.201108, -0.971707, -0.284908], abs=1e-5)
    assert after[0, 31, :4].tolist() == pytest.approx([2.34268, -2.5204, 1.0865, 0.622615], abs=1e-5)


def test_under_autocast_too(models):
    changed = INPUTS.clone()
    changed[0, 20] = 12
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        difference = (models["b"](INPUTS) - models["b"](changed)).abs()
    assert not difference[1].any()
    assert not difference[0, :20].any()
    assert difference[0, 20:].any(-1).all()


@pytest.mark.parametrize("length", [10, 40])
def test_shorter_and_longer_inputs_begin_the_same(models, length):
    inputs = torch.cat((INPUTS, INPUTS[:, :8]), 1)[:, :length]
    with torch.no_grad():
        whole, other = models["b"](INPUTS), models["b"](inputs)
    assert other.shape == (2, length, 97)
    shared = min(32, length)
    torch.testing.assert_close(other[:, :shared], whole[:, :shared], atol=1e-5, rtol=0)
