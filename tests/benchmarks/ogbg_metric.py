"""Seconds that the mean average precision of a whole split takes, against scikit-learn and torchmetrics.

python tests/benchmarks/ogbg_metric.py [--device cuda]
"""

import argparse
import time
import warnings

import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import multilabel_average_precision

from algoperf_lightning.workloads.ogbg.metric import average_precision

MOLECULES = 43_793


def by_scikit_learn(scores, positive, valid):
    scores, positive, valid = (tensor.cpu().numpy() for tensor in (scores, positive, valid))
    return torch.tensor(
        [
            average_precision_score(positive[valid[:, task], task], scores[valid[:, task], task])
            for task in range(scores.shape[1])
        ],
        dtype=torch.float64,
    )


def by_torchmetrics(scores, positive, valid):
    labels = torch.where(valid, positive.long(), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return multilabel_average_precision(scores, labels, scores.shape[1], average=None, ignore_index=-1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    shape = (MOLECULES, 128)
    case = torch.rand(shape), torch.rand(shape) < 0.015, torch.rand(shape) < 0.6
    case = tuple(tensor.to(options.device) for tensor in case)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    ours = average_precision(*case).cpu()
    for name, function in (
        ("ours", average_precision),
        ("scikit-learn", by_scikit_learn),
        ("torchmetrics", by_torchmetrics),
    ):
        begin = clock()
        values = function(*case).cpu()
        seconds = clock() - begin
        print(f"  {name:12} {seconds:6.2f} s   differs by at most {(values - ours).abs().max():.1e}")


if __name__ == "__main__":
    main()
