"""Tuning: search spaces, points drawn from them, and their distribution to studies. Does not import torch.

From Python::

    space = SearchSpace.of(AdamW)
    for study in split_into_studies(space, studies=3, trials=5, seed=0):
        submissions = [AdamW(**point) for point in study]
"""

from algoperf_lightning.tuning.points import Method, Point, draw_points, split_into_studies
from algoperf_lightning.tuning.search_space import Choices, Range, SearchSpace

__all__ = ["Choices", "Method", "Point", "Range", "SearchSpace", "draw_points", "split_into_studies"]
