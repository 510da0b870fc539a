"""Trajectories of published algorithms, in float64: where the authors' own code went, its casts to bfloat16 removed.

``p0`` and gradients follow from the formulas in the file; a tensor's name is its shape's.
"""

import json
import math
from pathlib import Path

import torch

_FILE = json.loads((Path(__file__).parent / "golden_matrix_methods.json").read_text())
SHAPES = _FILE["inputs"]["shapes"]
CASES = _FILE["cases"]
STEPS = (1, 5)


def start(name):
    return (torch.sin(_numbers(name) + 1) / 2).reshape(SHAPES[name])


def gradient(name, step, value):
    """Of step 1, 2, and so on, at a value."""
    return torch.cos(0.7 * step + 1.3 * _numbers(name)).reshape(SHAPES[name]) + 0.3 * value


def expected(case, step, name):
    return torch.tensor(CASES[case][f"step{step}"][name], dtype=torch.float64).reshape(SHAPES[name])


def tensors_of(case):
    return list(CASES[case]["step1"])


def _numbers(name):
    return torch.arange(math.prod(SHAPES[name]), dtype=torch.float64)
