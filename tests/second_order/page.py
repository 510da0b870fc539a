"""The classes and functions of the page on submissions, as a module that processes can import."""

import ast
import importlib
import sys

from pages import ROOT, blocks

PAGE = ROOT / "docs" / "write_a_submission.md"
NAMES = (
    *("Momentum", "DividedByCurvature", "ByCurvature"),
    *("gauss_newton_product", "AlongTheGradient", "gradients_of_examples"),
)


def section():
    """The section on second derivatives."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index("### Second derivatives") : text.index("## 9. A package")]


def write_module(folder):
    """Write ``by_curvature.py``, which has all of them, into a folder."""
    parts = ["import torch", "from algoperf_lightning import Submission"]
    for block in blocks(PAGE.read_text(encoding="utf-8")):
        if block.language == "python" and block.path is None:
            defined = [node for node in ast.parse(block.text).body if getattr(node, "name", None) in NAMES]
            parts += [ast.get_source_segment(block.text, node) for node in defined]
    (folder / "by_curvature.py").write_text("\n\n\n".join(parts) + "\n")


def load_module(folder):
    """Import it."""
    write_module(folder)
    sys.path.insert(0, str(folder))
    try:
        sys.modules.pop("by_curvature", None)
        return importlib.import_module("by_curvature")
    finally:
        sys.path.remove(str(folder))
