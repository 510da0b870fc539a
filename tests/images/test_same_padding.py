import pytest
import torch
from torch.nn import functional as F

from algoperf_lightning.images.same_padding import SameConv2d, SameConvTranspose2d, SameMaxPool2d, same_padding


@pytest.mark.parametrize("size", [5, 6, 7, 14, 28, 32])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_output_is_a_stride_th_of_the_input_and_the_larger_half_is_behind(size, kernel, stride):
    before, behind = same_padding(size, kernel, stride)
    assert (size + before + behind - kernel) // stride + 1 == -(-size // stride)
    assert behind - before in (0, 1)
    smaller = size + before + behind - 1
    assert before + behind == 0 or (smaller - kernel) // stride + 1 < -(-size // stride)  # no more than needed


@pytest.mark.parametrize(("kernel", "stride", "size"), [(5, 1, 7), (4, 2, 6), (4, 1, 7), (3, 2, 8), (1, 2, 5)])
def test_convolutions_and_maxima_agree_with_sums_over_windows(kernel, stride, size):
    torch.manual_seed(0)
    convolution = SameConv2d(2, 3, kernel, stride).double()
    images = torch.randn(2, 2, size, size).double()
    before, _ = same_padding(size, kernel, stride)
    pool = SameMaxPool2d(kernel, stride)(images)
    made = convolution(images)
    for row in range(made.shape[2]):
        for column in range(made.shape[3]):
            top, left = stride * row - before, stride * column - before
            total, largest = convolution.bias.clone().expand(2, 3), torch.full((2, 2), -torch.inf).double()
            for i in range(max(top, 0), min(top + kernel, size)):
                for j in range(max(left, 0), min(left + kernel, size)):
                    total = total + images[:, :, i, j] @ convolution.weight[:, :, i - top, j - left].T
                    largest = torch.maximum(largest, images[:, :, i, j])
            torch.testing.assert_close(made[:, :, row, column], total)
            torch.testing.assert_close(pool[:, :, row, column], largest)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (4, 1), (3, 1), (5, 2), (2, 2)])
def test_transposed_convolutions_are_the_gradients_of_convolutions(kernel, stride):
    torch.manual_seed(0)
    transposed = SameConvTranspose2d(3, 2, kernel, stride).double()
    convolution = SameConv2d(2, 3, kernel, stride).double()
    with torch.no_grad():
        convolution.weight.copy_(transposed.weight)
        transposed.bias.zero_()
    given = torch.randn(2, 3, 7, 7).double()
    images = torch.randn(2, 2, 7 * stride, 7 * stride).double().requires_grad_()
    (gradient,) = torch.autograd.grad(convolution(images), images, given)
    torch.testing.assert_close(transposed(given), gradient)


def test_the_transposed_convolutions_of_the_autoencoder_are_cut_as_tensorflow_cuts_them():
    torch.manual_seed(0)
    images = torch.randn(1, 1, 7, 7)
    by_two, by_one = SameConvTranspose2d(1, 4, 4, 2), SameConvTranspose2d(1, 4, 4, 1)
    expected = F.conv_transpose2d(images, by_two.weight, by_two.bias, stride=2, padding=1)
    torch.testing.assert_close(by_two(images), expected)
    whole = F.conv_transpose2d(images, by_one.weight, by_one.bias)
    torch.testing.assert_close(by_one(images), whole[:, :, 1:-2, 1:-2])


def test_a_size_of_the_output_is_refused():
    with pytest.raises(ValueError, match="leave out output_size"):
        SameConvTranspose2d(1, 1, 4, 2)(torch.zeros(1, 1, 7, 7), output_size=[14, 14])
