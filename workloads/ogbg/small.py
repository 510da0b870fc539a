"""The molecules of the small size: synthetic ones whose labels depend on the neighbourhoods of their atoms.

A molecule has one to three rings, some of them with nitrogen, oxygen or sulfur in them, joined by bonds or chains, and
up to seven groups of atoms on them; rings, groups and elements have decreasing frequencies.

The neighbourhood of an atom up to a radius (0, 1, 2 bonds) is described by a code, as in circular fingerprints (Rogers
and Hahn 2010, https://doi.org/10.1021/ci100050t). Most codes are rare. A task's activity is a weighted sum of the
logarithms of the counts of each code in a molecule: some codes count for one task only, others through one of 12
factors that all tasks share. The most active molecules are positive: between 2 and 30 % of them, by task. Activities
are measured with noise, and 10 to 70 % of the labels of a task are missing.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tiny import AROMATIC, GROUPS, NITROGEN, OXYGEN, RINGS, SINGLE, SULFUR, TASKS, Molecule, write_tables

_CODES = 2_048
"""Number of values to which codes of neighbourhoods are hashed."""
_RADIUS = 2
_FACTORS = 12
_OWN_CODES = 60
"""Number of codes that count for one task only."""
_NOISE = 0.3
"""Standard deviation of the noise of an activity; that of the activity is 1."""


def make_molecule(random: np.random.RandomState) -> Molecule:
    """Return a molecule."""
    molecule = Molecule()
    places: list[int] = []
    frame: list[Any] = []
    for number in range(1 + int(random.choice(3, p=(0.35, 0.45, 0.2)))):
        size = RINGS[int(random.choice(len(RINGS), p=(0.06, 0.07, 0.27, 0.5, 0.1)))]
        aromatic = bool(size in (5, 6) and random.rand() < 0.6)
        chain = [molecule.add_atom(5) for _ in range(random.randint(4))] if number else []
        ring = molecule.add_ring(size, aromatic)
        for atom in ring[1:]:
            if random.rand() < 0.12:
                molecule.elements[atom] = int(random.choice((NITROGEN, OXYGEN, SULFUR), p=(0.65, 0.2, 0.15)))
        if number:
            for one, other in pairwise([places.pop(random.randint(len(places))), *chain, ring[0]]):
                molecule.add_bond(one, other, SINGLE)
        frame.append((size, aromatic, len(chain)))
        places += [atom for atom in ring[bool(number) :] if molecule.elements[atom] == 5]
    names = list(GROUPS)
    falling = 1.0 / np.arange(1, len(names) + 1)
    for atom in random.permutation(places)[: random.randint(8)]:
        molecule.add_group(names[random.choice(len(names), p=falling / falling.sum())], int(atom))
    molecule.frame = tuple(frame)
    return molecule


def codes_of(molecule: Molecule) -> Counter[int]:
    """Return the count of each code of a neighbourhood in a molecule."""
    neighbours: list[list[tuple[int, int]]] = [[] for _ in molecule.elements]
    for (one, other), type_ in zip(molecule.bonds, molecule.bond_types, strict=True):
        neighbours[one].append((other, type_))
        neighbours[other].append((one, type_))
    codes = [
        64 * element + 8 * len(around) + any(type_ == AROMATIC for _, type_ in around)
        for element, around in zip(molecule.elements, neighbours, strict=True)
    ]
    found = Counter(code % _CODES for code in codes)
    for radius in range(1, _RADIUS + 1):
        codes = [
            zlib.crc32(repr((radius, code, sorted((codes[atom], type_) for atom, type_ in around))).encode())
            for code, around in zip(codes, neighbours, strict=True)
        ]
        found.update(code % _CODES for code in codes)
    return found


def make_labels(counts: NDArray[np.float64], random: np.random.RandomState) -> NDArray[np.float64]:
    """Return labels of shape ``(molecules, 128)``, NaN where missing.

    Args:
        counts: Logarithms of one plus the count of each code in each molecule, shape ``(molecules, codes)``.
        random: Generator for the tasks, the noise and the missing labels.
    """
    shared = counts @ random.normal(0, 1, (_CODES, _FACTORS))
    shared = (shared - shared.mean(0)) / shared.std(0)
    common = np.argsort(-counts.sum(0), kind="stable")[: 10 * _OWN_CODES]
    labels = np.empty((len(counts), TASKS))
    for task, share in enumerate(np.geomspace(0.02, 0.3, TASKS)):
        own = counts[:, random.choice(common, _OWN_CODES, replace=False)] @ random.normal(0, 1, _OWN_CODES)
        activity = (own - own.mean()) / own.std() + shared @ random.normal(0, 1 / np.sqrt(_FACTORS), _FACTORS)
        activity = activity / activity.std() + random.normal(0, _NOISE, len(activity))
        labels[:, task] = activity > np.quantile(activity, 1 - share)
    missing = random.rand(*labels.shape) < random.uniform(0.1, 0.7, TASKS)
    missing[np.arange(len(labels)), random.randint(TASKS, size=len(labels))] = False
    labels[missing] = np.nan
    return labels


def write_small_tables(folder: Path, splits: Mapping[str, int], random: np.random.RandomState) -> None:
    """Write the tables of all molecules.

    Args:
        folder: Output folder.
        splits: Number of molecules of each split.
        random: Generator for everything.
    """
    molecules = [make_molecule(random) for _ in range(sum(splits.values()))]
    counts = np.zeros((len(molecules), _CODES))
    for row, molecule in enumerate(molecules):
        found = codes_of(molecule)
        counts[row, list(found)] = np.log1p(list(found.values()))
    write_tables(folder, molecules, make_labels(counts, random), splits)
