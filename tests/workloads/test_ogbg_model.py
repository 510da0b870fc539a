from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from golden import fill_a, fill_b
from torch import nn
from torch.nn import functional as F

from algoperf_lightning.dropout import Dropout
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.parameters import ParameterKind, parameter_kinds
from algoperf_lightning.submission import Submission
from algoperf_lightning.workloads import OGBG
from algoperf_lightning.workloads.ogbg.model import GraphNetwork

VARIANTS = (None, "gelu", "silu", "model_size")

# Three graphs of 3, 2 and 4 nodes; of each, first the bonds forward, then backward.
NODES = torch.from_numpy(np.abs(np.sin(0.1 * np.arange(81))).astype(np.float32) * 5).view(9, 9)
EDGES = torch.tensor(
    [(0, 1, 0), (1, 2, 1), (0, 1, 0), (1, 2, 1), (2, 0, 0), (2, 0, 0)]
    + 2 * [(3, 1, 1), (4, 2, 0), (0, 0, 1), (1, 1, 0)],
    dtype=torch.float32,
)
SENDERS = torch.tensor([0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 5])
RECEIVERS = torch.tensor([1, 2, 0, 1, 4, 3, 6, 7, 8, 5, 5, 6, 7, 8])
NODE_GRAPHS = torch.tensor([0] * 3 + [1] * 2 + [2] * 4)
ENTRIES = torch.arange(3 * 128).view(3, 128)
LABELS = (ENTRIES % 3 == 0).float()
LABELLED = (ENTRIES % 5 != 0).float()

# Of graph 0 the first eight outputs, of graphs 1 and 2 the first three; mean and deviation of all; summed loss.
GOLDEN_A = {
    None: (
        (0.0240134, -0.0215917, -0.0174243, 0.00651978, -0.00575054, -0.0140857, 0.0208571, 0.0355624),
        (0.0224150, -0.0214928, -0.0158337, 0.0197745, -0.0213293, -0.0132063),
        (-1.22245e-06, 0.0229322, 212.925, 212.913),
    ),
    "gelu": (
        (0.0181506, -0.0213677, -0.0115793, 0.00583067, -0.0115406, -0.0129359, 0.0265557, 0.0339590),
        (0.0179810, -0.0214830, -0.0114006, 0.0179633, -0.0211244, -0.0114114),
        (2.86281e-06, 0.0227524, 212.924, 212.912),
    ),
    "silu": (
        (0.0180474, -0.0213570, -0.0114770, 0.00581185, -0.0116415, -0.0129090, 0.0266544, 0.0339243),
        (0.0179137, -0.0214775, -0.0113337, 0.0179364, -0.0211203, -0.0113848),
        (2.95559e-06, 0.0227505, 212.924, 212.912),
    ),
    "model_size": (
        (0.0180055, -0.00627929, 0.00532911, 0.0147255, -0.0197506, -0.0363416, 0.0108354, 0.0459081),
        (0.0180136, -0.00627339, 0.00532051, 0.0179997, -0.00628142, 0.00533507),
        (1.37522e-04, 0.0230613, 212.948, 212.936),
    ),
}
GOLDEN_B = {
    None: (
        (0.254659, 0.0777423, -0.692805, 0.423047, 0.520041, -0.00772836, 0.579701, 0.610713),
        (0.152824, 0.292714, -0.964235, 0.369323, 0.0167217, -0.215571),
        (-0.0233311, 0.756550, 239.184),
    ),
    "gelu": (
        (0.0595029, 0.0589980, -0.183479, 0.424110, 0.348257, 0.512116, 0.402036, 0.835368),
        (0.0784337, 0.396159, -0.641129, 0.242078, -0.0328365, 0.0568096),
        (-0.0145910, 0.716047, 234.344),
    ),
    "silu": (
        (0.421839, -0.208834, -0.184188, 0.326962, 0.555238, 0.616471, 0.0736323, 0.954430),
        (0.208171, 0.0643751, -0.427354, 0.555789, 0.174476, 0.0208341),
        (0.00334929, 0.684520, 232.338),
    ),
    "model_size": (
        (0.962939, 0.403115, 0.0350762, 0.300190, -0.220064, 0.516767, 0.777088, 0.386209),
        (0.885817, 0.451631, 0.0377967, 0.987926, 0.331675, 0.0346743),
        (0.105252, 0.689060, 237.880),
    ),
}


@cache
def built(variant):
    """Built once for all tests that fill it anyway."""
    return OGBG(Submission(), variant=variant).build_model()


def ready(variant=None, fill=None):
    workload = OGBG(Submission(), variant=variant)
    workload.model = built(variant)
    workload.model.zero_grad()
    if fill is not None:
        fill(workload.network)
    return workload.eval()


def graph_batch(extra_nodes=5, extra_edges=6):
    """The three graphs and padding: nodes of zeros, loops of zeros on the first of them."""
    loops = torch.full((extra_edges,), 9)
    return {
        "nodes": torch.cat([NODES, torch.zeros(extra_nodes, 9)]),
        "edges": torch.cat([EDGES, torch.zeros(extra_edges, 3)]),
        "senders": torch.cat([SENDERS, loops]),
        "receivers": torch.cat([RECEIVERS, loops]),
        "node_graphs": torch.cat([NODE_GRAPHS, torch.full((extra_nodes,), 3)]),
        "targets": LABELS * LABELLED,
        "weights": LABELLED,
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("fill", "golden"), [(fill_a, GOLDEN_A), (fill_b, GOLDEN_B)], ids=["sine", "hash"])
def test_outputs_are_those_of_the_reference(fill, golden, variant):
    network = ready(variant, fill).network
    with torch.no_grad():
        logits = network(NODES, EDGES, SENDERS, RECEIVERS, NODE_GRAPHS, 3)
    first, others, (mean, std, *_) = golden[variant]
    tolerance = {"rtol": 1e-5, "atol": 2e-7} if fill is fill_a else {"rtol": 1e-5, "atol": 1.5e-6}
    torch.testing.assert_close(logits[0, :8], torch.tensor(first), **tolerance)
    torch.testing.assert_close(logits[1:, :3].flatten(), torch.tensor(others), **tolerance)
    assert logits.shape == (3, 128)
    assert logits.double().mean().item() == pytest.approx(mean, rel=1e-4, abs=1e-9)
    assert logits.double().std().item() == pytest.approx(std, rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("fill", "golden"), [(fill_a, GOLDEN_A), (fill_b, GOLDEN_B)], ids=["sine", "hash"])
def test_losses_are_those_of_the_reference(fill, golden, variant):
    workload = ready(variant, fill)
    for smoothing, expected in zip((0.0, 0.1), golden[variant][2][2:], strict=False):
        with torch.no_grad():
            loss = workload.loss(graph_batch(), label_smoothing=smoothing)
        assert loss.per_example.shape == loss.weight.shape == (3,)
        assert loss.per_example.sum().item() == pytest.approx(expected, abs=6e-4)
        assert torch.equal(loss.weight, LABELLED.sum(1))
    assert loss.weight.sum() == 307


def test_smoothing_divides_by_the_number_of_tasks():
    workload = ready(fill=fill_b)
    with torch.no_grad():
        loss = workload.loss(graph_batch(), label_smoothing=0.2)
        logits = workload.network(NODES, EDGES, SENDERS, RECEIVERS, NODE_GRAPHS, 3).double()
    smooth = 0.8 * LABELS + 0.2 / 128
    entries = -(smooth * logits.sigmoid().log() + (1 - smooth) * (-logits).sigmoid().log())
    torch.testing.assert_close(loss.per_example.double(), (entries * LABELLED).sum(1), rtol=1e-5, atol=1e-4)


def test_missing_labels_change_neither_loss_nor_gradient():
    gradients = []
    for missing in (0.0, 1.0):
        workload = ready(fill=fill_b)
        batch = graph_batch()
        batch["targets"] = torch.where(LABELLED > 0, LABELS, missing)
        workload.loss(batch, label_smoothing=0.1).per_example.sum().backward()
        gradients.append([parameter.grad.clone() for parameter in workload.network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_padding_has_outputs_of_its_own_and_changes_no_others():
    network = ready(fill=fill_b).network
    batch = graph_batch()
    names = ("nodes", "edges", "senders", "receivers", "node_graphs")
    with torch.no_grad():
        plain = network(NODES, EDGES, SENDERS, RECEIVERS, NODE_GRAPHS, 3)
        padded = network(*(batch[name] for name in names), 5)
    torch.testing.assert_close(padded[:3], plain, rtol=1e-5, atol=2e-6)
    expected = torch.tensor([[-0.376855, 0.0386755, -0.580101], [-0.715023, 1.05156, 1.11574]])
    torch.testing.assert_close(padded[3:, :3], expected, rtol=1e-5, atol=1e-6)


def plain_round(ours, nodes, edges, globals_, senders, receivers, node_graphs):
    """A round as the papers write it, one edge, node and graph at a time."""

    def update(module, *vectors):
        hidden = nn.functional.linear(torch.cat(vectors), module.dense.weight, module.dense.bias)
        return module.rest(hidden)

    links = list(zip(senders.tolist(), receivers.tolist(), strict=True))
    graphs = node_graphs.tolist()
    new_edges = [
        update(ours.update_edge_fn, edges[k], nodes[s], nodes[r], globals_[graphs[s]]) for k, (s, r) in enumerate(links)
    ]
    zero = torch.zeros_like(new_edges[0])
    new_nodes = []
    for number, node in enumerate(nodes):
        sent = sum((new_edges[k] for k, (s, _) in enumerate(links) if s == number), zero)
        received = sum((new_edges[k] for k, (_, r) in enumerate(links) if r == number), zero)
        new_nodes.append(update(ours.update_node_fn, node, sent, received, globals_[graphs[number]]))
    new_globals = []
    for graph, vector in enumerate(globals_):
        of_nodes = sum((new_nodes[n] for n, g in enumerate(graphs) if g == graph), zero)
        of_edges = sum((new_edges[k] for k, (s, _) in enumerate(links) if graphs[s] == graph), zero)
        new_globals.append(update(ours.update_global_fn, of_nodes, of_edges, vector))
    return torch.stack(new_nodes), torch.stack(new_edges), torch.stack(new_globals)


@pytest.mark.parametrize("variant", [None, "model_size"])
def test_gradients_are_those_of_a_plain_loop(variant):
    gradients = []
    for plain in (False, True):
        network = OGBG(Submission(), variant=variant, tiny=True).build_model().double().eval()
        fill_b(network)
        state = (network.node_embedder(NODES.double()), network.edge_embedder(EDGES.double()), torch.zeros(3, 128))
        state = (*state[:2], state[2].double())
        for round_ in network.graph_network:
            arguments = (*state, SENDERS, RECEIVERS, NODE_GRAPHS)
            state = plain_round(round_, *arguments) if plain else round_(*arguments)
        F.binary_cross_entropy_with_logits(network.decoder(state[2]), LABELS.double()).backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


# Parameters

SHAPES = {
    None: {
        (128,): 1, (256,): 47, (128, 256): 1, (256, 3): 1, (256, 9): 1,
        (256, 640): 1, (256, 768): 4, (256, 896): 2, (256, 1024): 8,
    },
    "model_size": {
        (128,): 3, (256,): 54, (128, 3): 1, (128, 9): 1, (128, 256): 1, (256, 256): 9,
        (256, 512): 1, (256, 640): 1, (256, 768): 3, (256, 1024): 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_have_the_shapes_of_the_reference(variant):
    network = ready(variant).network
    shapes = Counter(tuple(parameter.shape) for parameter in network.parameters())
    assert shapes == SHAPES["model_size" if variant == "model_size" else None]
    count = 2_571_648 if variant == "model_size" else 3_554_176
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert not list(network.buffers())


def test_initialisation():
    torch.manual_seed(0)
    network = OGBG(Submission(), variant="model_size").build_model()
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            std = module.in_features**-0.5
            assert module.weight.abs().max() <= 2 * std / 0.87962566103423978, name
            assert module.weight.std().item() == pytest.approx(std, rel=0.12), name
            if module.weight.numel() > 100_000:
                assert module.weight.std().item() == pytest.approx(std, rel=0.01), name
            assert not module.bias.any(), name
        elif isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-6
            assert bool((module.weight == 1).all())
            assert not module.bias.any()


def test_kinds_of_parameters():
    workload = ready()
    kinds = parameter_kinds(workload.network)
    embeddings = {name for name, kind in kinds.items() if kind is ParameterKind.EMBEDDING}
    assert embeddings == {"node_embedder.weight", "edge_embedder.weight"}
    counts = Counter(kinds.values())
    assert counts[ParameterKind.WEIGHT] == 16
    assert counts[ParameterKind.BIAS] == 18
    assert counts[ParameterKind.LAYER_NORM_SCALE] == counts[ParameterKind.LAYER_NORM_BIAS] == 15
    assert workload.view.output_parameters == {"decoder.weight", "decoder.bias"}


@pytest.mark.parametrize(("variant", "layers"), [(None, 15), ("model_size", 18)])
def test_dropout_follows_every_layer_of_every_update_at_the_rate_asked_for(variant, layers):
    for rate, expected in ((None, 0.1), (0.3, 0.3), (0.0, 0.0)):
        submission = Submission()
        submission.dropout = rate
        with torch.device("meta"):
            network = OGBG(submission, variant=variant).build_model()
        rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout)]
        assert rates == [expected] * layers
        for round_ in network.graph_network:
            for update in (round_.update_edge_fn, round_.update_node_fn, round_.update_global_fn):
                kinds = [type(module) for module in update.rest]
                layer = [nn.LayerNorm, nn.ReLU, Dropout]
                assert kinds == (layer if variant is None else [*layer, nn.Linear, *layer])


def test_an_unknown_activation_is_named():
    with pytest.raises(BadInputError, match=r"Unknown activation 'gelo'. Did you mean 'gelu'\?"):
        GraphNetwork(activation="gelo")


def test_numbers_of_the_benchmark_versions():
    numbers = [
        (spec.budget, spec.eval_period, spec.step_hint)
        for spec in (OGBG.spec.of(version=version) for version in ("0.5", "0.6", "1.0"))
    ]
    assert numbers == [(18_477, 240, 80_000), (12_011, 240, 52_000), (11_303, 452, 52_000)]
    targets = {name: (row.validation_target, row.test_target) for name, row in OGBG.spec.variants.items()}
    assert targets == {
        "gelu": (0.27771, 0.262926),
        "silu": (0.282178, 0.272144),
        "model_size": (0.269446, 0.253051),
    }
    assert (OGBG.spec.validation_target, OGBG.spec.test_target) == (0.28098, 0.268729)
    assert sum(OGBG.spec.splits.values()) - OGBG.spec.splits["eval_train"] == 437_929
