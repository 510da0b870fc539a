"""Links from pages to files of the repository lead to copies of these files in the site.

The pages link to code, configs and records by relative paths, as one reads them in a checkout. In the site, each linked
file has a page with its highlighted text, and each linked folder one with its list of files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[2]
PAGES = {"README": "index", "CHANGELOG": "changelog", "CONTRIBUTING": "contributing"}
"""Texts outside of docs/ that are pages of the site."""

LANGUAGES = {".cff": "yaml", ".cfg": "ini", ".json": "json", ".jsonl": "text", ".py": "python", ".yaml": "yaml"}
"""By the suffix of files that are shown; others are downloads."""


class RepositoryLinks(SphinxTransform):
    """Resolves what MyST takes for downloads, for pages that are missing, and for targets that are."""

    default_priority = 5

    def apply(self, **kwargs: Any) -> None:
        """Change the links of one page."""
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("reftype") == "myst" and node.get("refdomain") == "doc":
                outside = Path(node["reftarget"])
                if outside.is_absolute() and outside.parent == ROOT:
                    node["reftarget"] = PAGES[outside.name]
            elif node.get("reftype") == "myst":
                self.lead_to_copy(node, folder=True)
        for node in list(self.document.findall(addnodes.download_reference)):
            self.lead_to_copy(node, folder=False)

    def lead_to_copy(self, node: nodes.Element, folder: bool) -> None:
        """Let a link lead to the page of a file or folder."""
        here = Path(self.env.doc2path(self.env.docname)).parent
        file = Path(os.path.normpath(here / node["reftarget"]))
        if not (file.is_dir() if folder else file.is_file() and file.suffix in LANGUAGES):
            return
        inside = file.relative_to(ROOT).as_posix()
        linked(self.env).setdefault(self.env.docname, set()).add(inside)
        address = "../" * self.env.docname.count("/") + page_of(inside) + ".html"
        node.replace_self(nodes.reference("", "", *node.children, refuri=address, internal=True))


def page_of(inside: str) -> str:
    """Return the name of the page of a file or folder, given by its path from the root."""
    return f"files/{inside}"


def linked(env: BuildEnvironment) -> dict[str, set[str]]:
    """Return the files and folders that each page links to."""
    if not hasattr(env, "repository_files"):
        env.repository_files = {}  # type: ignore[attr-defined]
    return env.repository_files  # type: ignore[attr-defined, no-any-return]


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget what a page linked to before it is read again."""
    linked(env).pop(docname, None)


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the pages of all linked files, of linked folders, and of the files in these."""
    wanted = set().union(*linked(app.env).values())
    folders = {inside for inside in wanted if (ROOT / inside).is_dir()}
    for folder in sorted(folders):
        files = sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in LANGUAGES)
        wanted |= {path.relative_to(ROOT).as_posix() for path in files}
        items = "".join(
            f'<li><a href="{escape(os.path.relpath(page_of(name), Path(page_of(folder)).parent))}.html">'
            f"<code>{escape(name)}</code></a></li>"
            for name in (path.relative_to(ROOT).as_posix() for path in files)
        )
        yield page_of(folder), context(folder, f"<ul>{items}</ul>"), "page.html"
    for file in sorted(wanted - folders):
        text = (ROOT / file).read_text(encoding="utf-8")
        highlighted = app.builder.highlighter.highlight_block(text, LANGUAGES[Path(file).suffix])
        yield page_of(file), context(file, highlighted), "page.html"


def context(inside: str, body: str) -> dict[str, Any]:
    """Return what the template of a page takes."""
    return {"title": inside, "body": f"<h1><code>{escape(inside)}</code></h1>\n{body}", "parents": []}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_transform(RepositoryLinks)
    app.connect("env-purge-doc", forget)
    app.connect("html-collect-pages", pages)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
