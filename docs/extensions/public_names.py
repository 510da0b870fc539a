"""Names in pages and signatures lead to their documentation, here or in other projects.

In pages, inline code that is the name of a public class, or ``package.name``, is a link: ``TimeBudget``,
``optim.EMANesterov``. Markdown stays plain for those who read it elsewhere.

In signatures, a class knows the module it is written in, ``torch.nn.modules.module``, but other projects document it by
the name that users import, ``torch.nn.Module``. A name that leads nowhere is tried in every package around its module.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext import intersphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms import SphinxTransform

CORE = "algoperf_lightning"
PACKAGES = ("baselines", "callbacks", "data", "optim", "report", "scoring", "testing", "tuning", "workloads")

HIDDEN = "\ue000"
"""Stands for a colon; of private use."""


@cache
def targets() -> dict[str, str]:
    """Return what pages can write, with the full name of each: classes of one package only, and ``package.name``."""
    exported = {name: f"{CORE}.{name}" for name in import_module(CORE).__all__}
    dotted = {f"{package}.{name}" for package in PACKAGES for name in import_module(f"{CORE}.{package}").__all__}
    count = Counter(name.partition(".")[2] for name in dotted)
    alone = {name.partition(".")[2]: f"{CORE}.{name}" for name in dotted if count[name.partition(".")[2]] == 1}
    classes = {name: full for name, full in alone.items() if name[0].isupper() and not name.isupper()}
    return {name: f"{CORE}.{name}" for name in dotted} | classes | exported


class PageLinks(SphinxTransform):
    """Links the first mention of each name in a page of Markdown."""

    default_priority = 10

    def apply(self, **kwargs: Any) -> None:
        """Look through the inline code of a page."""
        if not str(self.env.doc2path(self.env.docname)).endswith(".md"):
            return
        seen = set()
        for node in list(self.document.findall(nodes.literal)):
            target = targets().get(node.astext())
            if (
                target is None
                or target in seen
                or isinstance(node.parent, nodes.title | nodes.reference | pending_xref)
            ):
                continue
            seen.add(target)
            link = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=self.env.docname, refexplicit=True
            )
            node.replace_self(link)
            link += node


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement) -> nodes.Element | None:
    """Resolve a reference to a Python object by another of its names."""
    if node.get("refdomain") != "py":
        return None
    for name in other_names(node["reftarget"]):
        node["reftarget"] = name
        domain = env.get_domain("py")
        found = domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], name, node, text)
        if found is None:
            found = intersphinx.resolve_reference_detect_inventory(env, node, text)
        if found is not None:
            return found
    return None


def other_names(name: str) -> Iterator[str]:
    """Yield the names that an object has in the packages around its module, the longest first."""
    path, _, attribute = name.rpartition(".")
    value = getattr(sys.modules.get(path), attribute, None)
    while value is not None and path:
        if getattr(sys.modules.get(path), attribute, None) is value:
            yield f"{path}.{attribute}"
        path = path.rpartition(".")[0]


def before_napoleon(app: Sphinx, what: str, name: str, obj: object, options: dict[str, bool], lines: list[str]) -> None:
    """Give values their own text, and hide the colons of attributes.

    A value that a package imports would have the text of its type, ``dict``. Napoleon would take the beginning of
    "Shape: ``(B,)``." for the type of an attribute.
    """
    if what == "data":
        lines[:] = text_at_home(name)
    if what in ("attribute", "data", "property"):
        lines[:] = [line.replace(":", HIDDEN) for line in lines]


def after_napoleon(app: Sphinx, what: str, name: str, obj: object, options: dict[str, bool], lines: list[str]) -> None:
    """Show hidden colons again."""
    lines[:] = [line.replace(HIDDEN, ":") for line in lines]


def text_at_home(name: str) -> list[str]:
    """Return the text of a value, from the module below its package in which it is defined."""
    package, _, attribute = name.rpartition(".")
    value = getattr(import_module(package), attribute)
    for home in sorted(module for module in sys.modules if module.startswith(package)):
        if vars(sys.modules[home]).get(attribute) is value:
            texts = ModuleAnalyzer.for_module(home).find_attr_docs()
            if ("", attribute) in texts:
                return texts["", attribute]
    return []


def module_with_source(app: Sphinx, module: str, name: str) -> str | None:
    """Return where viewcode looks for a value that says it is of ``builtins``, such as ``dict[str, Any]``."""
    value = getattr(sys.modules.get(module), name, None)
    return module if getattr(value, "__module__", None) == "builtins" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, before intersphinx and napoleon."""
    app.add_transform(PageLinks)
    app.connect("missing-reference", resolve, priority=400)
    app.connect("viewcode-follow-imported", module_with_source)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
