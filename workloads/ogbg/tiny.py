"""A tiny data set of synthetic molecules in the official format: rings with substituents."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.files import write_atomic

from .spec import RAW_FILES, SPLIT_FILES

TINY_SPLITS = {"train": 1_400, "validation": 300, "test": 300}
"""Molecules in each split of a tiny data set."""

TASKS = 128

SIMPLE_TASKS = 96
"""Tasks about one motif each."""

# The official features of an atom are places in lists of possible values; of the elements, carbon is at place 5.
CARBON, NITROGEN, OXYGEN, FLUORINE, SULFUR, CHLORINE, BROMINE = 5, 6, 7, 8, 15, 16, 34
SINGLE, DOUBLE, TRIPLE, AROMATIC = range(4)
_UNCHARGED = 5
_VALENCES = {CARBON: 4, NITROGEN: 3, OXYGEN: 2, FLUORINE: 1, SULFUR: 2, CHLORINE: 1, BROMINE: 1}
_ORDERS = (1.0, 2.0, 3.0, 1.5)

GROUPS: dict[str, tuple[tuple[int, int, int], ...]] = {
    # Each atom: element, the atom it hangs on (-1 is the ring's), and the bond to it.
    "methyl": ((CARBON, -1, SINGLE),),
    "ethyl": ((CARBON, -1, SINGLE), (CARBON, 0, SINGLE)),
    "fluoro": ((FLUORINE, -1, SINGLE),),
    "chloro": ((CHLORINE, -1, SINGLE),),
    "bromo": ((BROMINE, -1, SINGLE),),
    "hydroxyl": ((OXYGEN, -1, SINGLE),),
    "amine": ((NITROGEN, -1, SINGLE),),
    "thiol": ((SULFUR, -1, SINGLE),),
    "nitrile": ((CARBON, -1, SINGLE), (NITROGEN, 0, TRIPLE)),
    "acid": ((CARBON, -1, SINGLE), (OXYGEN, 0, DOUBLE), (OXYGEN, 0, SINGLE)),
    "amide": ((CARBON, -1, SINGLE), (OXYGEN, 0, DOUBLE), (NITROGEN, 0, SINGLE)),
}
RINGS = (3, 4, 5, 6, 7)
MOTIFS = (*(f"ring of {size}" for size in RINGS), "aromatic ring", *GROUPS)
"""Motifs on which labels depend."""


@dataclass
class Molecule:
    """Atoms and bonds of a molecule during its construction."""

    frame: tuple[Any, ...] = ()
    elements: list[int] = field(default_factory=list)
    ring_atoms: list[bool] = field(default_factory=list)
    bonds: list[tuple[int, int]] = field(default_factory=list)
    bond_types: list[int] = field(default_factory=list)
    motifs: set[str] = field(default_factory=set)

    def add_atom(self, element: int, *, in_ring: bool = False) -> int:
        """Add an atom and return its number."""
        self.elements.append(element)
        self.ring_atoms.append(in_ring)
        return len(self.elements) - 1

    def add_bond(self, one: int, other: int, type_: int) -> None:
        """Add a bond between two atoms."""
        self.bonds.append((one, other))
        self.bond_types.append(type_)

    def add_ring(self, size: int, aromatic: bool) -> list[int]:
        """Add a ring of carbon and return its atoms."""
        ring = [self.add_atom(CARBON, in_ring=True) for _ in range(size)]
        for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
            self.add_bond(one, other, AROMATIC if aromatic else SINGLE)
        self.motifs |= {f"ring of {size}", *(["aromatic ring"] if aromatic else [])}
        return ring

    def add_group(self, name: str, atom: int) -> None:
        """Attach a group of atoms to an atom."""
        first = len(self.elements)
        for element, on, type_ in GROUPS[name]:
            self.add_bond(atom if on < 0 else first + on, self.add_atom(element), type_)
        self.motifs.add(name)

    def features(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return the nine features of each atom and the three of each bond."""
        degrees, orders = [0] * len(self.elements), [0.0] * len(self.elements)
        kinds = [SINGLE] * len(self.elements)
        for bond, type_ in zip(self.bonds, self.bond_types, strict=True):
            for atom in bond:
                degrees[atom] += 1
                orders[atom] += _ORDERS[type_]
                kinds[atom] = max(kinds[atom], type_)
        atoms = []
        for number, element in enumerate(self.elements):
            kind = kinds[number]
            hydrogens = max(0, int(_VALENCES[element] - orders[number]))
            hybridisation = {SINGLE: 2, DOUBLE: 1, TRIPLE: 0, AROMATIC: 1}[kind]
            aromatic, in_ring = int(kind == AROMATIC), int(self.ring_atoms[number])
            # Element, chirality, degree, charge, hydrogens, radical electrons, hybridisation, aromatic, in a ring.
            atoms.append([element, 0, degrees[number], _UNCHARGED, hydrogens, 0, hybridisation, aromatic, in_ring])
        # Type, stereo, conjugated.
        return atoms, [[type_, 0, int(type_ == AROMATIC)] for type_ in self.bond_types]


def make_molecule(random: np.random.RandomState) -> Molecule:
    """Return one or two rings, the second on a chain of up to two atoms, with up to four groups on them."""
    molecule = Molecule()
    atoms: list[int] = []
    frame: list[Any] = []
    for number in range(1 + int(random.rand() < 0.5)):
        size = RINGS[int(random.choice(len(RINGS), p=(0.12, 0.13, 0.25, 0.35, 0.15)))]
        aromatic = bool(size == 6 and random.rand() < 0.5)
        frame.append((size, aromatic))
        chain = [molecule.add_atom(CARBON) for _ in range(random.randint(3))] if number else []
        ring = molecule.add_ring(size, aromatic)
        if number:
            path = [atoms.pop(random.randint(len(atoms))), *chain, ring[0]]
            for one, other in pairwise(path):
                molecule.add_bond(one, other, SINGLE)
            frame.append(len(chain))
        atoms += ring[number:]
    names = list(GROUPS)
    for atom in random.permutation(atoms)[: random.randint(5)]:
        molecule.add_group(names[random.randint(len(names))], int(atom))
    molecule.frame = tuple(frame)
    return molecule


def make_labels(motifs: NDArray[np.bool_], random: np.random.RandomState) -> NDArray[np.float64]:
    """Return labels of shape ``(molecules, 128)``, NaN where missing.

    The first tasks depend on one motif each, repeatedly, the others on two together or on one without the other. In
    each task, 10 to 50 % of the labels are missing, but never all labels of a molecule.

    Args:
        motifs: Which of :data:`MOTIFS` each molecule has, shape ``(molecules, motifs)``.
        random: Generator for tasks and missing labels.
    """
    count = motifs.shape[1]
    labels = [motifs[:, task % count] for task in range(SIMPLE_TASKS)]
    while len(labels) < TASKS:
        one, other = random.choice(count, 2, replace=False)
        labels.append(motifs[:, one] & (motifs[:, other] if random.rand() < 0.5 else ~motifs[:, other]))
    table = np.stack(labels, axis=1).astype(np.float64)
    missing = random.rand(*table.shape) < random.uniform(0.1, 0.5, TASKS)
    missing[np.arange(len(table)), random.randint(TASKS, size=len(table))] = False
    table[missing] = np.nan
    return table


def write_tiny_tables(folder: Path, random: np.random.RandomState) -> None:
    """Write the tables of a tiny data set."""
    molecules = [make_molecule(random) for _ in range(sum(TINY_SPLITS.values()))]
    motifs = np.array([[motif in molecule.motifs for motif in MOTIFS] for molecule in molecules])
    write_tables(folder, molecules, make_labels(motifs, random), TINY_SPLITS)


def write_tables(
    folder: Path, molecules: Sequence[Molecule], labels: NDArray[np.float64], splits: Mapping[str, int]
) -> None:
    """Write the official tables.

    Args:
        folder: Output folder.
        molecules: The molecules in the order of the tables.
        labels: 0, 1, or NaN for missing ones, shape ``(molecules, 128)``.
        splits: Molecules of each split; those of validation and test have the rarest frames.
    """
    features = [molecule.features() for molecule in molecules]
    tables: dict[str, Iterable[Iterable[Any]]] = {
        "num-node-list": ([len(molecule.elements)] for molecule in molecules),
        "num-edge-list": ([len(molecule.bonds)] for molecule in molecules),
        "node-feat": (row for atoms, _ in features for row in atoms),
        "edge": (bond for molecule in molecules for bond in molecule.bonds),
        "edge-feat": (row for _, bonds in features for row in bonds),
        "graph-label": (["" if label != label else label for label in row] for row in labels.tolist()),
    }
    # By scaffold: molecules with the same scaffold are in the same split, rare scaffolds in those for evaluation.
    frames = [molecule.frame for molecule in molecules]
    common = Counter(frames)
    numbers = sorted(range(len(frames)), key=lambda number: (-common[frames[number]], frames[number], number))
    for split, size in splits.items():
        tables[SPLIT_FILES[split]] = ([number] for number in sorted(numbers[:size]))
        numbers = numbers[size:]
    for name, rows in tables.items():
        text = "".join(",".join(map(str, row)) + "\n" for row in rows)
        path = folder / RAW_FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, gzip.compress(text.encode(), 6, mtime=0))
