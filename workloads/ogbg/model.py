"""The network of ogbg: a graph network with edge, node and global updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from algoperf_lightning.dropout import Dropout
from algoperf_lightning.initialisation import lecun_normal_
from algoperf_lightning.parameters import ParameterKind
from algoperf_lightning.utilities.inputs import nearest_or_raise

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": partial(nn.GELU, approximate="tanh"), "silu": nn.SiLU}
)


class GraphNetwork(nn.Module):
    """Rounds of updates of all edges, all nodes and each graph's global vector; the last globals are decoded to logits.

    Node and edge features are embedded by one linear layer each (category codes are used as numbers). Globals are
    initially zeros, with the width of the outputs. 3,554,176 parameters at the benchmark's size.

    Initialisation: weights LeCun normal (variance 1 / fan_in), truncated at two standard deviations; biases 0; norm
    scales 1.

    Args:
        node_features: Features of a node.
        edge_features: Features of an edge.
        outputs: Logits of a graph, and width of the initial globals.
        latent: Width of the embeddings.
        hidden: Widths of the layers of each update.
        rounds: Number of rounds, each with its own parameters.
        activation: ``relu``, ``gelu`` (in its tanh approximation) or ``silu``.
        dropout: Rate after every layer of every update.

    Raises:
        BadInputError: If the activation is unknown.

    Reference: P. Battaglia et al., Relational inductive biases, deep learning, and graph networks, 2018,
    https://arxiv.org/abs/1806.01261.
    """

    # The kinds of the benchmark, although these are linear layers.
    parameter_kinds: ClassVar[Mapping[str, ParameterKind]] = {
        "node_embedder.weight": ParameterKind.EMBEDDING,
        "edge_embedder.weight": ParameterKind.EMBEDDING,
    }

    def __init__(
        self,
        *,
        node_features: int = 9,
        edge_features: int = 3,
        outputs: int = 128,
        latent: int = 256,
        hidden: Sequence[int] = (256,),
        rounds: int = 5,
        activation: str = "relu",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.node_embedder = _linear(node_features, latent)
        self.edge_embedder = _linear(edge_features, latent)
        # Widths of an edge, a node and a global vector at the start of the first round, and of every later one.
        widths = [(latent, latent, outputs), *[(hidden[-1],) * 3] * (rounds - 1)]
        self.graph_network = nn.ModuleList(Round(*width, hidden, activation, dropout) for width in widths)
        self.decoder = _linear(hidden[-1], outputs)

    def forward(
        self, nodes: Tensor, edges: Tensor, senders: Tensor, receivers: Tensor, node_graphs: Tensor, graphs: int
    ) -> Tensor:
        """Return the logits of each graph.

        Args:
            nodes: Features of the nodes of all graphs, float32 ``(N, node_features)``.
            edges: Features of their directed edges, float32 ``(M, edge_features)``.
            senders: The node each edge leaves, int64 ``(M,)`` in [0, N).
            receivers: The node each edge enters, in the same graph, int64 ``(M,)`` in [0, N).
            node_graphs: The graph of each node, int64 ``(N,)`` in [0, graphs).
            graphs: Number of graphs.

        Returns:
            Logits ``(graphs, outputs)``.
        """
        nodes, edges = self.node_embedder(nodes), self.edge_embedder(edges)
        globals_ = nodes.new_zeros(graphs, self.outputs)
        for round_ in self.graph_network:
            nodes, edges, globals_ = round_(nodes, edges, globals_, senders, receivers, node_graphs)
        logits: Tensor = self.decoder(globals_)
        return logits


class Round(nn.Module):
    """One round: new edges from old nodes and globals, new nodes from new edges, new globals from both; sums only.

    The first layer of an update multiplies a matrix with a concatenation of vectors, for example edge, sender, receiver
    and global. It is computed as one product per vector, before vectors are copied to edges: there are half as many
    nodes as edges and far fewer graphs, and the concatenated vectors are never stored.
    """

    def __init__(
        self,
        edge_width: int,
        node_width: int,
        global_width: int,
        hidden: Sequence[int],
        activation: str,
        dropout: float,
    ) -> None:
        super().__init__()
        new = hidden[-1]
        rest = (tuple(hidden), activation, dropout)
        self.update_edge_fn = Update((edge_width, node_width, node_width, global_width), *rest)
        self.update_node_fn = Update((node_width, new, new, global_width), *rest)
        self.update_global_fn = Update((new, new, global_width), *rest)

    def forward(
        self, nodes: Tensor, edges: Tensor, globals_: Tensor, senders: Tensor, receivers: Tensor, node_graphs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return new nodes, edges and globals, with the same numbers of rows, and the width of the last hidden layer.

        Args:
            nodes: Shape ``(N, node_width)``.
            edges: Shape ``(M, edge_width)``.
            globals_: Shape ``(graphs, global_width)``.
            senders: The node each edge leaves, int64 ``(M,)``.
            receivers: The node each edge enters, int64 ``(M,)``.
            node_graphs: The graph of each node, int64 ``(N,)``.
        """
        count, graphs = len(nodes), len(globals_)
        of_edge, of_sender, of_receiver, of_global = self.update_edge_fn.weights()
        # An edge's graph is its sender's.
        sent = F.linear(nodes, of_sender) + _copied(F.linear(globals_, of_global), node_graphs)
        edges = self.update_edge_fn(
            F.linear(edges, of_edge) + _copied(sent, senders) + _copied(F.linear(nodes, of_receiver), receivers)
        )

        outgoing, incoming = _sums(edges, senders, count), _sums(edges, receivers, count)
        of_node, of_outgoing, of_incoming, of_global = self.update_node_fn.weights()
        nodes = self.update_node_fn(
            F.linear(nodes, of_node)
            + F.linear(outgoing, of_outgoing)
            + F.linear(incoming, of_incoming)
            + _copied(F.linear(globals_, of_global), node_graphs)
        )

        of_nodes, of_edges, of_global = self.update_global_fn.weights()
        globals_ = self.update_global_fn(
            F.linear(_sums(nodes, node_graphs, graphs), of_nodes)
            + F.linear(_sums(outgoing, node_graphs, graphs), of_edges)  # a graph's edges, summed from nodes
            + F.linear(globals_, of_global)
        )
        return nodes, edges, globals_


class Update(nn.Module):
    """Layers of linear, layer norm, activation and dropout; the caller computes the first product.

    Args:
        widths: Widths of the vectors that make up the input, in their order.
        hidden: Width of each layer.
        activation: A key of :data:`ACTIVATIONS`.
        dropout: Rate after every layer.
    """

    def __init__(self, widths: tuple[int, ...], hidden: Sequence[int], activation: str, dropout: float) -> None:
        super().__init__()
        make_activation = ACTIVATIONS[nearest_or_raise("activation", activation, ACTIVATIONS)]
        self.widths = widths
        self.dense = _linear(sum(widths), hidden[0])
        modules: list[nn.Module] = []
        for layer, width in enumerate(hidden):
            if layer:
                modules.append(_linear(hidden[layer - 1], width))
            modules += [nn.LayerNorm(width, eps=1e-6), make_activation(), Dropout(dropout)]
        self.rest = nn.Sequential(*modules)

    def weights(self) -> tuple[Tensor, ...]:
        """Return the part of the first layer's weight for each vector of the input, ``(hidden[0], width)``."""
        parts: tuple[Tensor, ...] = self.dense.weight.split(self.widths, dim=1)  # type: ignore[no-untyped-call]
        return parts

    def forward(self, product: Tensor) -> Tensor:
        """Map the products with the first weight ``(K, hidden[0])``, without bias, to ``(K, hidden[-1])``."""
        output: Tensor = self.rest(product + self.dense.bias)
        return output


def _copied(rows: Tensor, index: Tensor) -> Tensor:
    return rows.index_select(0, index)


def _sums(rows: Tensor, index: Tensor, count: int) -> Tensor:
    from torch_geometric.utils import scatter  # type: ignore[import-untyped]

    sums: Tensor = scatter(rows, index, dim_size=count, reduce="sum")
    return sums


def _linear(fan_in: int, width: int) -> nn.Linear:
    linear = nn.Linear(fan_in, width)
    lecun_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
