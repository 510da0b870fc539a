import math

import pytest
import torch
from scipy.stats import kstest, truncnorm
from torch import nn

from algoperf_lightning.initialisation import CUT_NORMAL_STD, glorot_normal_, lecun_normal_


def test_the_cut_normal_is_as_wide_as_it_is_said_to_be():
    assert pytest.approx(truncnorm(-2, 2).std(), rel=1e-12) == CUT_NORMAL_STD


@pytest.mark.parametrize(
    ("shape", "fan_in"),
    [
        pytest.param((600, 40), 40, id="linear"),
        pytest.param((64, 8, 7, 7), 392, id="convolution"),
        pytest.param((3_000, 1, 3, 3), 9, id="a-group-for-each-channel"),
        pytest.param((8, 64, 5), 320, id="transposed"),
    ],
)
def test_values_are_of_the_cut_normal_of_variance_1_over_fan_in(shape, fan_in):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.full(shape, 9.0))
    assert lecun_normal_(weight) is weight
    std = math.sqrt(1 / fan_in)
    cut = 2 * std / 0.87962566103423978
    assert 0.97 * cut < weight.abs().max() <= cut * (1 + 1e-6)
    assert weight.std().item() == pytest.approx(std, rel=0.02)
    values = weight.detach().flatten().double().numpy()
    assert kstest(values, truncnorm(-2, 2, scale=cut / 2).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("shape", "fans"),
    [pytest.param((600, 40), 640, id="linear"), pytest.param((64, 32, 5, 5), 25 * 96, id="convolution")],
)
def test_values_are_of_the_cut_normal_of_variance_2_over_both_fans(shape, fans):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.full(shape, 9.0))
    assert glorot_normal_(weight) is weight
    std = math.sqrt(2 / fans)
    assert weight.std().item() == pytest.approx(std, rel=0.02)
    values = weight.detach().flatten().double().numpy()
    assert kstest(values, truncnorm(-2, 2, scale=std / 0.87962566103423978).cdf).pvalue > 0.01


@pytest.mark.parametrize("initialiser", [lecun_normal_, glorot_normal_])
def test_a_bias_has_no_fan_in(initialiser):
    with pytest.raises(ValueError, match=r"two axes or more, but its shape is \(5,\)"):
        initialiser(torch.empty(5))
