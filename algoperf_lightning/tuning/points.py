"""Points of a search space: quasi-random sequences, and their split into studies.

There are three methods, all of which are functions of a seed:

- ``halton``: the scrambled Halton sequence of ``scipy.stats.qmc.Halton`` (Halton 1960, "On the efficiency of certain
  quasi-random sequences of points in evaluating multi-dimensional integrals"; scrambling by random digit permutations,
  Owen 2017, https://arxiv.org/abs/1706.02808; see SciPy's page on ``qmc.Halton``). Hyperparameters with one value do
  not use a dimension of it.
- ``algoperf``: the benchmark's own sequence. It has no seed: the points are always the same, and only their order is
  random. The official code shuffles them with NumPy's global generator, which is not seeded: three consecutive studies
  run the *same* five points in three unknown orders, and each of several processes may have a different order. The
  rules require different points in each study. Here the points of all studies are drawn together, shuffled with the
  given seed, and split.
- ``random``: independent points from consecutive numbers of NumPy's legacy generator, as in the study "Descending
  through a Crowded Valley" (Schmidt et al. 2021, https://arxiv.org/abs/2007.01547).

Source: AlgoPerf benchmark documentation, section "External tuning ruleset", and its quasi-random search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.rng import SEEDS
from algoperf_lightning.tuning.checks import is_integer
from algoperf_lightning.tuning.search_space import Choices, Range, SearchSpace
from algoperf_lightning.utilities.inputs import nearest_or_raise

Point = dict[str, Any]
Method = Literal["halton", "algoperf", "random"]

_METHODS = {
    "halton": "scipy's scrambled Halton sequence",
    "algoperf": "the benchmark's own sequence",
    "random": "independent points",
}
_DISCARDED = 100  # the benchmark skips the first points of its sequence
_PATIENCE = 1_000  # points of the sequence that are tried for each new point before giving up


def draw_points(space: SearchSpace, count: int, seed: int | None, method: Method = "halton") -> list[Point]:
    """Draw the points of one or more studies; the same arguments give the same points in every process.

    A list with exactly ``count`` points is used in its own order; from a longer one, ``count`` points are drawn without
    replacement.

    Args:
        space: Ranges and choices, or a list of points.
        count: Number of points.
        seed: In [0, 2**32); keep it with the results. For ``halton`` it scrambles the sequence
            (``qmc.Halton(seed=np.random.default_rng(seed))``): points are a function of the seed and the versions of
            SciPy and NumPy, and the first points stay the same if more are drawn. For ``algoperf`` it shuffles the
            ``count`` points like NumPy's ``RandomState(seed)``. For ``random`` it is the seed of ``RandomState``, and
            the first points stay the same if more are drawn. None: ``algoperf`` unshuffled; the first of a list.
        method: ``halton``, whose points are all different, or ``algoperf`` or ``random``, which repeat points in small
            spaces.

    Returns:
        Points: dicts of the hyperparameters, in the search space's order, with plain Python values.

    Raises:
        BadInputError: If there are too few points, or an argument is out of its range.
    """
    nearest_or_raise("method", method, _METHODS)
    _check(count=count, seed=seed)
    if not space.dimensions:
        return _choose(space.points, count, seed, space.source)
    if method == "algoperf":
        rows = benchmark_sequence(len(space.dimensions), count)
        return _shuffled([_point(space, row) for row in rows], seed)
    if seed is None:
        raise BadInputError(f"The method {method!r} needs a seed, which is stored with the results, but got None.")
    return _independent(space, count, seed) if method == "random" else _different(space, count, seed)


def split_into_studies(
    points: SearchSpace | Sequence[Point],
    studies: int,
    trials: int,
    seed: int | None,
    method: Method = "halton",
    existing: Mapping[int, Sequence[Point]] = MappingProxyType({}),
) -> list[list[Point]]:
    """Return the points of each study according to the rules.

    From ranges and choices, ``studies * trials`` different points are drawn together, shuffled, and split. A list with
    as many points as there are trials is used completely by every study, in its own order; from a longer one each study
    draws points without replacement. A space of choices with fewer points than trials of all studies is treated as a
    list.

    Args:
        points: A search space, or a list of points.
        studies: Number of studies.
        trials: Points in each.
        seed: As for :func:`draw_points`. None: the order is not changed, and each study gets the first points of a
            list, as in the official code.
        method: As for :func:`draw_points`.
        existing: Points of studies that were planned before, by number of the study from 1. A study keeps these as its
            first points; the points drawn for its other trials, and for new studies, are different from all of them.

    Returns:
        ``studies`` lists of ``trials`` points.

    Raises:
        BadInputError: If there are too few points, or an argument is out of its range.
    """
    nearest_or_raise("method", method, _METHODS)
    _check(studies=studies, trials=trials, seed=seed)
    space = points if isinstance(points, SearchSpace) else SearchSpace("given", points=tuple(points))
    listed = space.points
    if space.dimensions and space.size < studies * trials:
        values = [dimension.different for dimension in space.dimensions.values() if isinstance(dimension, Choices)]
        listed = tuple(dict(zip(space.dimensions, point, strict=True)) for point in product(*values))
    kept = [list(existing.get(number, ()))[:trials] for number in range(1, studies + 1)]
    if listed or not space.dimensions:
        return [
            _choose(listed, trials, None if seed is None else [seed, study], space.source, kept[study])
            for study in range(studies)
        ]
    drawn = draw_points(space, studies * trials, seed, method)
    if method == "halton":
        drawn = _shuffled(drawn, seed)  # neighbours in the sequence are far apart, but the rules split at random
    elif len(set(map(repr, drawn))) < len(drawn):
        raise BadInputError(
            f"The search space {space.source}: expected {studies * trials} different points for {studies} studies of "
            f"{trials} trials, but the method {method!r} repeats some. Draw with the method 'halton', or list them."
        )
    used = {repr(point) for own in kept for point in own}
    unused = (point for point in drawn if repr(point) not in used)
    return [[*own, *islice(unused, trials - len(own))] for own in kept]


def benchmark_sequence(dimensions: int, count: int) -> list[list[float]]:
    """Return the first points of AlgoPerf's quasi-random sequence, before any shuffling.

    A Halton sequence over the largest primes below 997, each with a fixed digit permutation and a fixed shift.

    Args:
        dimensions: Number of hyperparameters; those with one value count.
        count: Number of points.

    Returns:
        ``count`` rows of ``dimensions`` numbers in [0, 1).
    """
    columns = []
    for base in _bases(dimensions):
        permutation, shift = digit_permutation(base)
        indices = range(_DISCARDED + 1, _DISCARDED + 1 + count)
        columns.append([math.fmod(_radical_inverse(index, base, permutation) + shift, 1.0) for index in indices])
    return [list(row) for row in zip(*columns, strict=True)]


def digit_permutation(base: int) -> tuple[list[int], float]:
    """Return the permutation of a base's digits (0 stays in place) and the shift that AlgoPerf's sequence uses."""
    generator = np.random.RandomState(base)  # the benchmark is defined by this generator's stream
    digits = list(range(1, base))
    generator.shuffle(digits)
    return [0, *digits], float(generator.random_sample())


def _bases(dimensions: int) -> list[int]:
    limit = 1000
    while len(primes := _odd_primes_below(limit)) <= dimensions:
        limit += 1000
    return primes[-dimensions - 1 : -1]  # the benchmark does not use the largest one


def _odd_primes_below(limit: int) -> list[int]:
    return [n for n in range(3, limit, 2) if all(n % divisor for divisor in range(3, math.isqrt(n) + 1, 2))]


def _radical_inverse(index: int, base: int, permutation: Sequence[int]) -> float:
    """Return the radical inverse with permuted digits: sum of ``permutation[digit j] / base^j``, j = 1, 2, ..."""
    value, place = 0.0, base
    while index:
        index, digit = divmod(index, base)
        value += permutation[digit] / place
        place *= base
    return value


def _different(space: SearchSpace, count: int, seed: int) -> list[Point]:
    """Return the first ``count`` different points of the scrambled sequence."""
    if count > space.size:
        raise _too_few(space.source, count, f"{space.size:.0f} different points")
    found: dict[str, Point] = {}
    for row in islice(_scrambled_halton(space, seed), _PATIENCE * count):
        point = _point(space, row)
        found.setdefault(repr(point), point)
        if len(found) == count:
            return list(found.values())
    raise _too_few(space.source, count, f"{len(found)} different ones in {_PATIENCE * count} draws")


def _independent(space: SearchSpace, count: int, seed: int) -> list[Point]:
    """Return consecutively drawn points; each hyperparameter uses one random number, in the order of the space."""
    generator = np.random.RandomState(seed)  # the study's points are defined by this generator's stream

    def drawn(dimension: Range | Choices) -> Any:
        if isinstance(dimension, Range):
            return dimension.at(float(generator.random_sample()))
        return dimension.values[generator.randint(len(dimension.values))]

    return [{name: drawn(dimension) for name, dimension in space.dimensions.items()} for _ in range(count)]


def _scrambled_halton(space: SearchSpace, seed: int) -> Iterator[list[float]]:
    """Yield numbers in [0, 1), one for each dimension; 0 for those with a single value."""
    from scipy.stats import qmc  # type: ignore[import-untyped]  # here, as it takes a second

    varies = [isinstance(d, Range) or len(d.values) > 1 for d in space.dimensions.values()]
    if not any(varies):
        yield [0.0] * len(varies)
        return
    # SciPy 1.11 to 1.17 all accept a generator as `seed` (`rng` is new in 1.15).
    sampler = qmc.Halton(sum(varies), scramble=True, seed=np.random.default_rng(seed))
    while True:
        for row in sampler.random(256).tolist():
            drawn = iter(row)
            yield [next(drawn) if one_varies else 0.0 for one_varies in varies]


def _point(space: SearchSpace, row: Sequence[float]) -> Point:
    return {name: d.at(u) for (name, d), u in zip(space.dimensions.items(), row, strict=True)}


def _choose(
    points: Sequence[Mapping[str, Any]],
    count: int,
    seed: int | list[int] | None,
    source: str,
    kept: Sequence[Point] = (),
) -> list[Point]:
    """Return ``kept`` and further points up to ``count``, in the list's order if that is all there are."""
    if count > len(points):
        raise _too_few(source, count, str(len(points)))
    order = range(len(points))
    if count < len(points) and seed is not None:
        order = np.random.RandomState(seed).permutation(len(points)).tolist()
    left = [dict(points[index]) for index in order]
    for point in kept:
        if point in left:
            left.remove(point)
    return [*map(dict, kept), *left[: count - len(kept)]]


def _shuffled(points: list[Point], seed: int | None) -> list[Point]:
    """Return the points in the order that NumPy's legacy ``shuffle`` gives them after seeding; None: as they are."""
    if seed is None:
        return points
    return [points[index] for index in np.random.RandomState(seed).permutation(len(points))]


def _check(*, seed: int | None, **counts: int) -> None:
    for name, value in counts.items():
        if not is_integer(value) or value < 1:
            raise BadInputError(f"{name} must be a positive integer, but got {value!r}.")
    if seed is not None and not (is_integer(seed) and 0 <= seed < SEEDS):
        raise BadInputError(f"seed must be an integer from 0 to {SEEDS - 1}, but got {seed!r}.")


def _too_few(source: str, wanted: int, there_are: str) -> BadInputError:
    return BadInputError(
        f"The search space {source}: expected at least {wanted} points, but there are {there_are}. "
        "Use fewer trials (--trials), or widen the search space."
    )
