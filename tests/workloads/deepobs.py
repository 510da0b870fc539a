"""What the tests of the problems of DeepOBS share: networks in float64, made inputs."""

import math

import numpy as np
import torch

from algoperf_lightning import get_workload
from algoperf_lightning.submission import Submission


def built(name, fill=None):
    workload = get_workload(name)(Submission())
    workload.model = workload.build_model()
    if fill is not None:
        fill(workload.model)
    return workload.double().eval()


def sine(count):
    return np.sin(0.1 * np.arange(count))


def images(shape, values):
    return torch.from_numpy(values(math.prod(shape))).view(shape)


def gradient_norm(model):
    return math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))


def fans(weight):
    return weight[0].numel() + weight[:, 0].numel()
