"""Padding, shapes, reading speed and recompilations of ogbg's batches.

    python tests/benchmarks/ogbg_batching.py [--data-dir D] [--steps 2000]

Without the real data, molecules are made up with the published means of ogbg-molpcba: 26.0 atoms, 28.1 bonds; the
spread of their sizes (a deviation of 6.3 atoms, a tail up to 332) is an assumption. The benchmark's own batching takes
molecules in order until 26 nodes and 56 directed edges for each of B molecules are used up; it is simulated beside.
"""

import argparse
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from algoperf_lightning import get_workload
from algoperf_lightning.data import Draws
from algoperf_lightning.data.streams import EvaluationBatches
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads.ogbg.batches import Graphs, GraphsInOrder

torch.set_num_threads(1)


def made_up(count):
    """Molecules of realistic sizes: chains, with random features and labels."""
    random = np.random.RandomState(0)
    spread = np.log(1 + (6.3 / 26) ** 2)
    atoms = np.exp(random.normal(np.log(26) - spread / 2, np.sqrt(spread), count)).round().astype(np.int64)
    atoms[random.randint(count, size=count // 2000)] = random.randint(80, 333, count // 2000)
    atoms = atoms.clip(1, 332)
    bonds = (atoms * 28.1 / 26).round().astype(np.int64)
    first_bonds = np.cumsum(bonds) - bonds
    owner = np.repeat(atoms, bonds)
    one = np.minimum(np.arange(bonds.sum()) - np.repeat(first_bonds, bonds), owner - 1)
    return SimpleNamespace(
        atom_counts=atoms,
        bond_counts=bonds,
        first_atoms=np.cumsum(atoms) - atoms,
        first_bonds=first_bonds,
        atoms=random.randint(0, 12, (atoms.sum(), 9)).astype(np.uint8),
        bonds=np.stack([one, (one + 1) % owner], axis=1).astype(np.uint16),
        bond_features=random.randint(0, 4, (bonds.sum(), 3)).astype(np.uint8),
        labels=random.choice(np.array([-1, 0, 1], np.int8), (count, 128), p=(0.39, 0.6, 0.01)),
    )


def of_the_benchmark(examples, size, steps):
    """Molecules in each batch of the benchmark's own batching, and the share of nodes and of edges that is padding."""
    nodes, edges = examples.molecules.atom_counts[examples.rows], 2 * examples.molecules.bond_counts[examples.rows]
    order = np.random.RandomState(0).permutation(len(nodes))
    batches, start = [], 0
    ends = np.cumsum(
        np.stack([nodes[order] / (26 * size), edges[order] / (56 * size), np.full(len(order), 1 / size)]), 1
    )
    before = np.zeros(3)
    while start < len(order) and len(batches) < steps:
        # A shade of tolerance, as the sums are of fractions.
        stop = min(
            int(np.searchsorted(row, done + 1 + 1e-9, side="right")) for row, done in zip(ends, before, strict=True)
        )
        batches.append((stop - start, *(1 - (ends[:2, stop - 1] - before[:2]))))
        before, start = ends[:, stop - 1], stop
    return np.array(batches[:-1]).mean(0)


def training(examples, size, steps):
    """Print padding and shapes of random batches, and how fast they are read."""
    random = np.random.RandomState(0)
    shapes, used = Counter(), np.zeros(2)
    draws = Draws(0, np.arange(size))
    drawn = [random.choice(len(examples), size, replace=False) for _ in range(min(steps, 200))]
    begin = time.perf_counter()
    for indices in drawn:
        examples.read(indices, draws)
    seconds = (time.perf_counter() - begin) / len(drawn)
    for _ in range(steps):
        rows = examples.rows[random.randint(len(examples), size=size)]
        counts = examples.molecules.atom_counts[rows].sum(), 2 * examples.molecules.bond_counts[rows].sum()
        shapes[examples.padding.room(size, *counts)] += 1
        used += counts
    rooms = sum(np.array(shape) * count for shape, count in shapes.items())
    waste = 1 - used / rooms
    theirs = of_the_benchmark(examples, size, steps)
    print(
        f"  train, {size:5} molecules: padding {waste[0]:6.1%} of nodes, {waste[1]:6.1%} of edges; shapes "
        f"{sorted(shapes.values(), reverse=True)}; read in {seconds * 1e3:.2f} ms, {size / seconds:,.0f} graphs/s; "
        f"the benchmark's batching: {theirs[0]:.1f} molecules, padding {theirs[1]:.1%} and {theirs[2]:.1%}"
    )


def evaluation(examples, ranks):
    """Print padding of the batches that go through a split once."""
    batches = [batch for rank in range(ranks) for batch in EvaluationBatches(examples, 32_768, rank, ranks)]
    shapes = {tuple(tuple(value.shape) for value in batch.values()) for batch in batches}
    used = sum(int((batch["node_graphs"] < len(batch["targets"])).sum()) for batch in batches)
    room = sum(len(batch["nodes"]) for batch in batches)
    counted = sum(int((batch["weights"] > 0).any(1).sum()) for batch in batches)
    print(
        f"  evaluation on {ranks} ranks: {len(batches)} batches of {len(shapes)} shape, {counted:,} of "
        f"{len(examples):,} molecules with labels, padding {1 - used / room:.1%} of nodes (the last batch's included)"
    )


def recompilations(examples, size, steps, *, pad):
    """Return how many graphs are compiled while a model trains, and evaluates once at the end."""
    compiled = []

    def backend(graph, inputs):
        compiled.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)])
        return graph.forward

    torch._dynamo.reset()
    workload = get_workload("ogbg")(PlainSGD(), tiny=True)
    workload.configure_model()
    workload.network.compile(backend=backend, fullgraph=True)
    random = np.random.RandomState(1)
    for _ in range(steps):
        batch = examples.read(random.choice(len(examples), size, replace=False), Draws(0, np.arange(size)))
        if not pad:
            nodes = int((batch["node_graphs"] < size).sum())
            edges = int((batch["senders"] < nodes).sum())
            for name in ("nodes", "node_graphs"):
                batch[name] = batch[name][: nodes + 1]
            for name in ("edges", "senders", "receivers"):
                batch[name] = batch[name][:edges]
        workload.train().loss(batch).per_example.sum().backward()
    during = len(compiled)
    metrics = workload.build_metrics()
    with torch.no_grad():
        for batch in EvaluationBatches(GraphsInOrder(examples.molecules, examples.rows[:1000]), 256):
            workload.eval().evaluate(batch, metrics)
    return during, len(compiled) - during


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="where the real data lie; default: made-up molecules")
    parser.add_argument("--molecules", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--compiled-steps", type=int, default=300)
    options = parser.parse_args()
    if options.data_dir is None:
        molecules = made_up(options.molecules)
        train, validation = (
            Graphs(molecules, np.arange(options.molecules)),
            GraphsInOrder(molecules, np.arange(43_793)),
        )
    else:
        data = get_workload("ogbg")(PlainSGD(), data_dir=options.data_dir).data
        train, validation = data.open("train"), data.open("validation")
        molecules = train.molecules
    sizes = molecules.atom_counts
    print(f"{len(sizes):,} molecules: {sizes.mean():.1f} atoms, deviation {sizes.std():.1f}, at most {sizes.max()}")
    for size in (512, 128, 64):
        training(train, size, options.steps)
    for ranks in (1, 4, 8):
        evaluation(validation, ranks)
    for pad in (True, False):
        during, after = recompilations(train, 64, options.compiled_steps, pad=pad)
        name = "padded" if pad else "not padded"
        print(f"  {name}: {during} graphs compiled in {options.compiled_steps} steps, {after} in an evaluation")


if __name__ == "__main__":
    main()
