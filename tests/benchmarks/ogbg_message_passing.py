"""Graphs a second of ogbg's network, against two plain ways to write it: a loop of ``index_add``, and MetaLayer.

    python tests/benchmarks/ogbg_message_passing.py [--batch 32] [--compiled] [--device cuda]

All three have the same weights and give the same logits. The plain ways put the vectors that meet in an update in a row
and multiply that by the whole weight; MetaLayer is torch-geometric's generic graph network. On the CPU the seconds are
those of the process, which other work on the machine does not change much.
"""

import argparse
import copy
import statistics
import time

import torch
from batches.ogbg import make_batch
from torch import nn
from torch_geometric.nn import MetaLayer
from torch_geometric.utils import scatter

from algoperf_lightning import get_workload
from algoperf_lightning.testing import PlainSGD

torch.set_num_threads(1)


def update(module, *parts):
    """An update of ours, of vectors in a row."""
    return module(nn.functional.linear(torch.cat(parts, dim=1), module.dense.weight))


class IndexAddRound(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.ours = ours

    def forward(self, nodes, edges, globals_, senders, receivers, node_graphs):
        edge_graphs = node_graphs[senders]
        edges = update(self.ours.update_edge_fn, edges, nodes[senders], nodes[receivers], globals_[edge_graphs])
        sent = torch.zeros(len(nodes), edges.shape[1], device=edges.device).index_add(0, senders, edges)
        received = torch.zeros_like(sent).index_add(0, receivers, edges)
        nodes = update(self.ours.update_node_fn, nodes, sent, received, globals_[node_graphs])
        of_nodes = torch.zeros(len(globals_), nodes.shape[1], device=edges.device).index_add(0, node_graphs, nodes)
        of_edges = torch.zeros_like(of_nodes).index_add(0, edge_graphs, edges)
        return nodes, edges, update(self.ours.update_global_fn, of_nodes, of_edges, globals_)


class EdgeModel(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.ours = ours

    def forward(self, src, dst, edge_attr, u, batch):
        return update(self.ours, edge_attr, src, dst, u[batch])


class NodeModel(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.ours = ours

    def forward(self, x, edge_index, edge_attr, u, batch):
        sent, received = (scatter(edge_attr, ends, dim_size=len(x), reduce="sum") for ends in edge_index)
        return update(self.ours, x, sent, received, u[batch])


class GlobalModel(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.ours = ours

    def forward(self, x, edge_index, edge_attr, u, batch):
        of_nodes = scatter(x, batch, dim_size=len(u), reduce="sum")
        of_edges = scatter(edge_attr, batch[edge_index[0]], dim_size=len(u), reduce="sum")
        return update(self.ours, of_nodes, of_edges, u)


class MetaLayerRound(nn.Module):
    def __init__(self, ours):
        super().__init__()
        self.layer = MetaLayer(
            EdgeModel(ours.update_edge_fn), NodeModel(ours.update_node_fn), GlobalModel(ours.update_global_fn)
        )

    def forward(self, nodes, edges, globals_, senders, receivers, node_graphs):
        return self.layer(nodes, torch.stack([senders, receivers]), edges, globals_, node_graphs)


def step(workload, batch):
    """Seconds of forward, loss and backward."""
    cuda = batch["nodes"].is_cuda
    clock = time.perf_counter if cuda else time.process_time
    workload.network.zero_grad()
    if cuda:
        torch.cuda.synchronize()
    begin = clock()
    workload.loss(batch).per_example.sum().backward()
    if cuda:
        torch.cuda.synchronize()
    return clock() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--variant")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    batch = {name: value.to(options.device) for name, value in make_batch(options.batch).items()}
    ours = get_workload("ogbg")(PlainSGD(), variant=options.variant)
    ours.configure_model()
    workloads = {"ours": ours}
    for name, round_ in (("index_add", IndexAddRound), ("MetaLayer", MetaLayerRound)):
        workloads[name] = other = get_workload("ogbg")(PlainSGD(), variant=options.variant)
        other.model = copy.deepcopy(ours.network)
        other.model.graph_network = nn.ModuleList(round_(layer) for layer in other.model.graph_network)
    logits, seconds = {}, {name: [] for name in workloads}
    for name, workload in workloads.items():
        workload.to(options.device).eval()
        with torch.no_grad():
            logits[name] = workload.network(
                *(batch[key] for key in ("nodes", "edges", "senders", "receivers", "node_graphs")), options.batch + 1
            )
        workload.train()
        if options.compiled:
            workload.network.compile()
        step(workload, batch)
        step(workload, batch)
    for _ in range(options.rounds):
        for name, workload in workloads.items():
            seconds[name].append(step(workload, batch))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    how = "compiled" if options.compiled else "eager"
    print(f"forward, loss and backward of {options.batch} graphs with 26 nodes and 56 edges, {how}, {options.device}")
    for name, median in medians.items():
        difference = (logits[name] - logits["ours"]).abs().max().item()
        print(
            f"  {name:10} {options.batch / median:9,.0f} graphs/s   {median * 1e3:7.1f} ms   "
            f"{median / medians['ours']:5.2f} x ours   logits differ by at most {difference:.1e} "
            f"of {logits['ours'].abs().max():.2f}"
        )


if __name__ == "__main__":
    main()
