"""Compare quadratic_deep with the published curves of the Crowded Valley study: a Markdown table and a picture.

python tests/benchmarks/valley_published.py --picture docs/pictures/valley_published.png
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workloads"))

from valley_curves import POINTS, PUBLISHED, curves


def main() -> None:
    """Print the table, and draw the picture if a path is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", metavar="FILE", help="draw the distances there")
    options = parser.parse_args()
    rows = []
    print(f"| optimizer | schedule | Hessian | {' | '.join(f'epoch {point}' for point in POINTS)} | furthest |")
    print(f"|---|---|---|{'---|' * len(POINTS)}---|")
    for name, schedule, instance, published in PUBLISHED:
        found = curves(name, schedule, instance)
        means, deviations = found.mean(dim=0).tolist(), found.std(dim=0).tolist()
        pairs = zip(published, means, deviations, strict=True)
        cells = [f"{value:.2f} / {mean:.2f} ± {deviation:.2g}" for value, mean, deviation in pairs]
        distances = [
            abs(value - mean) / (deviation + 1e-4 * mean)
            for value, mean, deviation in zip(published, means, deviations, strict=True)
        ]
        print(f"| {name} | {schedule} | {instance} | {' | '.join(cells)} | {max(distances):.1f} |", flush=True)
        rows.append((f"{name}, {schedule}" if schedule != "constant" else name, published, means, deviations))
    if options.picture:
        draw(rows, options.picture)


def draw(rows, path):
    """Draw how far published values lie from the mean, in standard deviations of the orders of the data."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.6, 5.2), layout="constrained")
    axes.axvspan(-4, 4, color="#e8f1f8", label="four standard deviations")
    axes.axvline(0, color="#666666", linewidth=1)
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
    for place, (_, published, means, deviations) in enumerate(rows):
        for number, point in enumerate(POINTS):
            distance = (published[number] - means[number]) / (deviations[number] + 1e-4 * means[number])
            label = f"epoch {point}" if place == 0 else None
            axes.plot(distance, place, "o", color=colours[number], markersize=5, label=label)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlim(-6, 6)
    axes.set_xlabel("published test loss, from the mean over 16 orders of the data, in standard deviations")
    axes.set_title("quadratic_deep: published runs and this library", loc="left", fontsize=11)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
