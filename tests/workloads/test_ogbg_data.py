from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from algoperf_lightning.data import Draws
from algoperf_lightning.data.streams import EvaluationBatches, TrainingStream
from algoperf_lightning.workloads.ogbg.batches import Graphs, GraphsInOrder
from algoperf_lightning.workloads.ogbg.data import OGBGData
from algoperf_lightning.workloads.ogbg.spec import FOLDER, OGBG, RAW_FILES
from algoperf_lightning.workloads.ogbg.tiny import TINY_SPLITS

TINY = OGBG.of(tiny=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Only to read from."""
    folder = tmp_path_factory.mktemp("ogbg")
    OGBGData(OGBG, folder).write_tiny()
    return folder


def read_lines(folder, name):
    return gzip.decompress((folder / FOLDER / RAW_FILES[name]).read_bytes()).decode().splitlines()


@pytest.fixture(scope="module")
def slow(tiny):
    """Every molecule as its tables say: features of its atoms, of its bonds, the bonds, labels. And the splits."""
    tables = {name: iter(read_lines(tiny, name)) for name in RAW_FILES}

    def rows(name, count):
        return [[float(field) if field else -1.0 for field in next(tables[name]).split(",")] for _ in range(count)]

    molecules = []
    for atoms in tables["num-node-list"]:
        bonds = int(next(tables["num-edge-list"]))
        molecules.append(
            (rows("node-feat", int(atoms)), rows("edge-feat", bonds), rows("edge", bonds), rows("graph-label", 1)[0])
        )
    splits = {name: [int(line) for line in tables[name]] for name in ("train", "valid", "test")}
    return molecules, splits


def expected_graphs(molecules, numbers):
    """The batch as the benchmark lays it out, without padding."""
    nodes, edges, senders, receivers, graphs = [], [], [], [], []
    for graph, number in enumerate(numbers):
        atoms, features, bonds, _ = molecules[number]
        first = len(nodes)
        nodes += atoms
        edges += features + features
        senders += [first + int(one) for one, _ in bonds] + [first + int(other) for _, other in bonds]
        receivers += [first + int(other) for _, other in bonds] + [first + int(one) for one, _ in bonds]
        graphs += [graph] * len(atoms)
    labels = torch.tensor([molecules[number][3] for number in numbers])
    batch = {"nodes": nodes, "edges": edges, "senders": senders, "receivers": receivers, "node_graphs": graphs}
    return {**{name: torch.tensor(value) for name, value in batch.items()}, "labels": labels}


def check_batch(batch, expected, *, counted=None):
    size, nodes, edges = len(expected["labels"]), len(expected["nodes"]), len(expected["edges"])
    types = {name: value.dtype for name, value in batch.items()}
    assert types == {
        **dict.fromkeys(("nodes", "edges", "targets", "weights"), torch.float32),
        **dict.fromkeys(("senders", "receivers", "node_graphs"), torch.int64),
    }
    for name in ("nodes", "node_graphs"):
        assert torch.equal(batch[name][:nodes], expected[name].to(batch[name].dtype)), name
    for name in ("edges", "senders", "receivers"):
        assert torch.equal(batch[name][:edges], expected[name]), name
    assert not batch["nodes"][nodes:].any()
    assert not batch["edges"][edges:].any()
    assert len(batch["nodes"]) > nodes
    assert bool((batch["node_graphs"][nodes:] == size).all())
    assert bool((batch["senders"][edges:] == nodes).all())
    assert bool((batch["receivers"][edges:] == nodes).all())
    counted = torch.ones(size, 1) if counted is None else counted[:, None]
    assert torch.equal(batch["targets"], (expected["labels"] == 1).float())
    assert torch.equal(batch["weights"], (expected["labels"] >= 0).float() * counted)


def test_batches_hold_what_the_tables_say(tiny, slow):
    molecules, splits = slow
    data = OGBGData(TINY, tiny)
    train = data.open("train")
    assert {name: len(numbers) for name, numbers in splits.items()} == {"train": 1400, "valid": 300, "test": 300}
    assert sorted([*splits["train"], *splits["valid"], *splits["test"]]) == list(range(2000))
    indices = np.array([3, 1399, 0, 77, 3])
    batch = train.read(indices, Draws(0, indices))
    check_batch(batch, expected_graphs(molecules, [splits["train"][index] for index in indices]))
    assert (batch["weights"] == 0).any()


def test_batches_are_those_of_torch_geometric(tiny, slow):
    from torch_geometric.data import Batch, Data

    molecules, splits = slow
    graphs = []
    for number in splits["train"][:9]:
        atoms, features, bonds, _ = molecules[number]
        forward = torch.tensor(bonds).long().T
        both = torch.cat([forward, forward.flip(0)], dim=1)
        graphs.append(Data(x=torch.tensor(atoms), edge_index=both, edge_attr=torch.tensor(features + features)))
    theirs = Batch.from_data_list(graphs)
    ours = OGBGData(TINY, tiny).open("train").read(np.arange(9), Draws(0, np.arange(9)))
    nodes, edges = theirs.num_nodes, theirs.num_edges
    assert torch.equal(ours["nodes"][:nodes], theirs.x)
    assert torch.equal(ours["edges"][:edges], theirs.edge_attr)
    assert torch.equal(torch.stack([ours["senders"], ours["receivers"]])[:, :edges], theirs.edge_index)
    assert torch.equal(ours["node_graphs"][:nodes], theirs.batch)


@pytest.mark.parametrize(("split", "name"), [("validation", "valid"), ("test", "test")])
@pytest.mark.parametrize(("size", "ranks"), [(64, 1), (128, 3), (512, 2), (7, 5)])
def test_every_graph_is_evaluated_once_in_batches_of_one_shape(tiny, slow, split, name, size, ranks):
    molecules, splits = slow
    examples = OGBGData(TINY, tiny).open(split)
    seen, shapes = [], set()
    for rank in range(ranks):
        for number, batch in enumerate(EvaluationBatches(examples, size, rank, ranks)):
            begin = (number * ranks + rank) * len(batch["targets"])
            positions = np.arange(begin, begin + len(batch["targets"]))
            rows = examples.rows[np.minimum(positions, 299)]
            counted = torch.from_numpy(positions < 300).float()
            check_batch(batch, expected_graphs(molecules, rows), counted=counted)
            seen += rows[positions < 300].tolist()
            shapes.add(tuple(tuple(value.shape) for value in batch.values()))
    assert sorted(seen) == sorted(splits[name])
    assert len(shapes) == 1


def test_part_of_the_training_set_that_is_evaluated(tiny):
    for spec, size in ((TINY, 300), (OGBG, 1400)):
        chosen = OGBGData(spec, tiny).open("eval_train").rows
        assert len(set(chosen)) == len(chosen) == size
        assert set(chosen) <= set(OGBGData(spec, tiny).open("train").rows)
    same, other = (set(OGBGData(TINY, tiny, seed=seed).open("eval_train").rows) for seed in (0, 1))
    assert same == set(OGBGData(TINY, tiny).open("eval_train").rows)
    assert same != other


def sizes(atoms, bonds):
    """Molecules of these sizes without features, in memory."""
    atoms, bonds = np.array(atoms), np.array(bonds)
    return type(
        "Molecules",
        (),
        {
            "atom_counts": atoms,
            "bond_counts": bonds,
            "first_atoms": np.cumsum(atoms) - atoms,
            "first_bonds": np.cumsum(bonds) - bonds,
            "atoms": np.ones((atoms.sum(), 9), np.uint8),
            "bonds": np.zeros((bonds.sum(), 2), np.uint16),
            "bond_features": np.ones((bonds.sum(), 3), np.uint8),
            "labels": np.ones((len(atoms), 128), np.int8),
        },
    )


def test_batches_of_giants_lose_no_graph_and_have_few_shapes():
    atoms = np.full(2000, 26)
    atoms[:40] = 332
    molecules = sizes(atoms, atoms + 2)
    train = Graphs(molecules, np.arange(2000))
    random = np.random.RandomState(0)
    shapes = set()
    for number in range(300):
        indices = random.permutation(2000)[:32] if number else np.arange(32)  # the first batch holds giants alone
        batch = train.read(indices, Draws(0, indices))
        assert len(torch.unique(batch["node_graphs"])) == 33
        assert int(batch["nodes"].any(1).sum()) == atoms[indices].sum()
        assert int(batch["edges"].any(1).sum()) == 2 * (atoms[indices] + 2).sum()
        shapes.add((len(batch["nodes"]), len(batch["edges"])))
    assert len(shapes) < 40
    assert len({nodes for nodes, _ in shapes}) == len(shapes), "nodes and edges grow together"


@pytest.mark.parametrize(
    ("atoms", "bonds"),
    [([1, 1, 1], [0, 0, 0]), ([5], [4]), ([0, 3, 0], [0, 2, 0]), ([4, 300, 4, 2], [500, 2, 1, 1])],
    ids=["single-atoms", "one", "empty", "dense"],
)
def test_odd_molecules_are_read(atoms, bonds):
    molecules = sizes(atoms, bonds)
    rows = np.arange(len(atoms))
    for examples in (Graphs(molecules, rows), GraphsInOrder(molecules, rows)):
        for size in (1, 3, 8):
            indices = np.minimum(np.arange(size), len(rows) - 1)
            batch = examples.read(indices, Draws(0, indices))
            assert int(batch["nodes"].any(1).sum()) == np.array(atoms)[examples.rows[indices]].sum()
            assert int(batch["edges"].any(1).sum()) == 2 * np.array(bonds)[examples.rows[indices]].sum()
            assert int(batch["senders"].max()) < len(batch["nodes"])


def test_ranks_see_together_what_one_would(tiny):
    train = OGBGData(TINY, tiny).open("train")
    whole = next(iter(TrainingStream(train, 24, seed=3)))
    parts = [next(iter(TrainingStream(train, 24, seed=3, rank=rank, ranks=3))) for rank in range(3)]
    for name in ("targets", "weights"):
        assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
    nodes = torch.cat([part["nodes"][part["node_graphs"] < 8] for part in parts])
    assert torch.equal(nodes, whole["nodes"][whole["node_graphs"] < 24])


# The tiny data set


def test_tiny_data_are_the_same_for_the_same_seed(tiny, tmp_path):
    contents = [[(tiny / file).read_bytes() for file in OGBG.files]]
    for seed in (0, 1):
        OGBGData(OGBG, tmp_path).write_tiny(seed)
        contents.append([(tmp_path / file).read_bytes() for file in OGBG.files])
    assert contents[0] == contents[1]
    assert all(one != other for one, other in zip(contents[1], contents[2], strict=True))


def test_tiny_data_look_like_the_real_ones(tiny):
    data = OGBGData(OGBG, tiny)
    molecules = data.molecules
    assert len(molecules) == sum(TINY_SPLITS.values())
    rates = {split: (molecules.labels[rows] == 1).sum(0) for split, rows in molecules.splits.items()}
    missing = (molecules.labels < 0).mean(0)
    assert (missing > 0.05).all()
    assert (missing < 0.55).all()
    assert (molecules.labels >= 0).any(1).all()
    assert all((positives > 0).sum() > 115 for positives in rates.values())
    assert (rates["train"] == 0).any(), "a task without positives, as a metric may meet"
