"""Draw molecules of ogbg's test split as graphs: atoms by element, bonds by type, and what their labels say.

    python examples/ogbg_samples.py --output docs/pictures/ogbg_samples.png

They are of the tiny data set unless ``--data-dir`` holds another. A tiny label is about a motif; its missing labels are
not shown. Of other data the number of positive and of known labels is shown.
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np

from algoperf_lightning.data.examples import Draws
from algoperf_lightning.testing import PlainSGD
from algoperf_lightning.workloads import OGBG
from algoperf_lightning.workloads.ogbg.tiny import MOTIFS

ELEMENTS = {5: "C", 6: "N", 7: "O", 8: "F", 15: "S", 16: "Cl", 34: "Br"}
COLOURS = {5: "#d9d9d9", 6: "#8da0ff", 7: "#ff8a80", 8: "#b9f6ca", 15: "#ffe57f", 16: "#69d18c", 34: "#c98f6b"}
LINES = ("solid", "solid", "solid", (0, (4, 1.5)))
WIDTHS = (1.2, 3.6, 6.0, 2.4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="default: a tiny data set in a temporary folder")
    parser.add_argument("--output", type=Path, default=Path("ogbg_samples.png"))
    parser.add_argument("--molecules", type=int, nargs="+", default=[0, 41, 83, 160, 212, 290])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = OGBG(PlainSGD(), data_dir=options.data_dir or scratch).data
        if options.data_dir is None:
            data.write_tiny()
        indices = np.array(options.molecules)
        batch = data.open("test").read(indices, Draws(0, indices))
        draw(options.output, batch, data.is_tiny)


def draw(output, batch, is_tiny):
    count = len(batch["targets"])
    columns = min(3, count)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3.7 * rows), squeeze=False)
    for molecule, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if molecule < count:
            draw_molecule(axis, batch, molecule)
            axis.set_title(describe(batch, molecule, is_tiny), fontsize=9)
    figure.text(0.5, 0.015, "bonds: single thin, double and triple thick, aromatic dashed", fontsize=9, ha="center")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(output, dpi=100)
    print(output)


def draw_molecule(axis, batch, molecule):
    atoms = (batch["node_graphs"] == molecule).nonzero().flatten().tolist()
    graph = nx.Graph()
    graph.add_nodes_from(atoms)
    links = zip(*(batch[name].tolist() for name in ("senders", "receivers", "edges")), strict=True)
    graph.add_edges_from((one, other, {"type": int(edge[0])}) for one, other, edge in links if one in graph)
    places = nx.kamada_kawai_layout(graph)
    for one, other, type_ in graph.edges.data("type"):
        along = np.array([places[one], places[other]]).T
        known = min(type_, 3)
        axis.plot(*along, color="#444444", linewidth=WIDTHS[known], linestyle=LINES[known], zorder=1)
    for atom in atoms:
        element = int(batch["nodes"][atom, 0])
        axis.scatter(*places[atom], s=230, color=COLOURS.get(element, "white"), edgecolor="#444444", zorder=2)
        axis.annotate(
            ELEMENTS.get(element, str(element + 1)), places[atom], ha="center", va="center", fontsize=9, zorder=3
        )
    axis.set_aspect("equal")
    axis.margins(0.12)


def describe(batch, molecule, is_tiny):
    positive, known = batch["targets"][molecule] > 0, batch["weights"][molecule] > 0
    if not is_tiny:
        return f"{int(positive.sum())} of {int(known.sum())} known labels positive"
    motifs = [name for task, name in enumerate(MOTIFS) if positive[task]]
    lines = [", ".join(motifs[start : start + 3]) for start in range(0, len(motifs), 3)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
