"""The metric of fastmri: structural similarity as fastMRI measures it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

WINDOW = 7
_K1, _K2 = 0.01, 0.03


def ssim(predictions: Tensor, targets: Tensor, data_range: Tensor) -> Tensor:
    """Return the structural similarity of each pair of images, in [-1, 1].

    Means, variances and covariance are computed in each window of 7 x 7 pixels inside the image, the latter two with
    Bessel's correction. (torchmetrics has no such correction, and one data range for all images.)

    Args:
        predictions: Shape ``(B, H, W)``, at least 7 x 7.
        targets: Shape ``(B, H, W)``, in the same unit.
        data_range: Largest value of the volume of each image, shape ``(B,)``; 0 is treated as 1.

    Returns:
        Shape ``(B,)``.

    Reference: Z. Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004,
    https://doi.org/10.1109/TIP.2003.819861.
    """
    x, y = predictions, targets
    pixels = WINDOW**2
    correction = pixels / (pixels - 1)
    mean_x, mean_y = _window_means(x), _window_means(y)
    variance_x = correction * (_window_means(x * x) - mean_x * mean_x)
    variance_y = correction * (_window_means(y * y) - mean_y * mean_y)
    covariance = correction * (_window_means(x * y) - mean_x * mean_y)
    full_range = data_range.where(data_range != 0, 1).view(-1, 1, 1)
    c1, c2 = (_K1 * full_range) ** 2, (_K2 * full_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean((1, 2)).clamp(-1, 1)


def _window_means(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, WINDOW, stride=1)
