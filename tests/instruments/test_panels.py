"""Everything that instruments record has a place in the pictures, alone and beside another run, light and dark."""

import pytest
import torch
from golden_nets import Golden, measured
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from torch import nn

from algoperf_lightning.instruments.instrument import PRESETS
from algoperf_lightning.instruments.panels import GROUPS, maps_of
from algoperf_lightning.instruments.pictures import layers, panel
from algoperf_lightning.report.looks import DARK, LIGHT, settings

PLACED = {name for panels in GROUPS.values() for each in panels for name in each.reads}


class Attending(Golden):
    """The convolutional net with attention before it, and a layer that is not trained."""

    def __init__(self):
        super().__init__("conv")
        self.model[0].bias.requires_grad_(False)

    def batch(self, number):
        return {name: torch.cat([values, values]) for name, values in super().batch(number).items()}

    def outputs(self, batch, **options):
        inputs = batch["inputs"]
        return super().outputs(
            batch | {"inputs": nn.functional.scaled_dot_product_attention(inputs, inputs, inputs)}, **options
        )


def rows_of(*names):
    rows, _ = measured(
        Attending(), lambda p: torch.optim.Adam(p, lr=0.05), gradient_clip=0.2, names=names, label_smoothing=0.1
    )
    return [{"step": 10 * number, **row} for number, row in enumerate(rows)]


@pytest.mark.parametrize("instrument", PRESETS["full"])
def test_what_an_instrument_measures_is_drawn(instrument):
    rows = rows_of(instrument)
    found = {name: value for row in rows for name, value in row.items() if name != "step"}
    assert found
    by_layer = {name for name, value in found.items() if isinstance(value, dict)}
    assert by_layer == {each.name for each in maps_of([rows])}
    assert set(found) - by_layer <= PLACED, "a number that is in no panel"
    for picture, wanted in ((panel, set(found) - by_layer), (layers, by_layer)):
        frames = picture({"a": rows, "b": rows}).axes if wanted else []
        assert bool(frames) == bool(wanted)
        assert all(map(drawn, frames))
        assert sum(map(drawn, frames)) % 2 == 0, "as much of one run as of the other"


def drawn(axes):
    """How many curves and maps a frame has, without lines of reference."""
    curves = [line for line in axes.lines if len(line.get_xdata()) > 2 or line.get_marker() == "o"]
    return len(curves) + len(axes.get_images()) + len(axes.collections)


@pytest.mark.parametrize("dark", [False, True])
def test_texts_can_be_read_on_their_page(dark):
    page = DARK if dark else LIGHT
    reasons = {"unmeasurable": {"attention": "none there"}}
    rows = [row | reasons for row in rows_of("loss", "clipping", "joint_histogram", "update_ratio")]
    for figure in (
        panel({"a": rows, "b": rows}, {"a": ([0], [0.5])}, targets=[0.9], dark=dark),
        layers({"a": rows}, dark=dark),
    ):
        with settings(page):
            figure.draw_without_rendering()
        assert figure.get_facecolor()[:3] == to_rgb(page.background)
        texts = [each for each in figure.findobj(Text) if each.get_text() and each.get_visible()]
        assert len(texts) > 10
        assert all(contrast(each.get_color(), page.background) > 3.0 for each in texts)


def contrast(one, other):
    """The ratio of luminances, of which WCAG 2 asks 3 for graphics and large texts."""
    shares = torch.tensor([to_rgb(one), to_rgb(other)], dtype=torch.float64)
    linear = torch.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    low, high = sorted((linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)).tolist())
    return (high + 0.05) / (low + 0.05)
