"""Links, anchors and pictures of the documentation lead somewhere, and every page is led to."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pages import ROOT, anchors, inline_code, links, notebook_text, notebooks, pages

TEXTS = {name: path.read_text(encoding="utf-8") for name, path in pages().items()}
TEXTS |= {name: notebook_text(path) for name, path in notebooks().items()}
SOURCES = sorted(
    path
    for folder in ("algoperf_lightning", "baselines", "callbacks", "configs", "examples", "tests", "workloads")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".yaml")
)
FILE = re.compile(
    r"(?<![\w./])((?:algoperf_lightning|baselines|callbacks|configs|docs|examples|tests|workloads)"
    r"/[\w./-]*\.(?:py|md|yaml|json|ipynb|gz|png))\b"
)


def target_of(name, link):
    """The file or folder that a relative link leads to, and the anchor in it."""
    path, _, anchor = link.partition("#")
    return ((ROOT / name).parent / path).resolve() if path else ROOT / name, anchor


def is_external(link):
    return "://" in link or link.startswith("mailto:")


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    wrong = []
    for link, line in links(TEXTS[name]):
        if is_external(link):
            parts = urlsplit(link)
            if parts.scheme not in ("http", "https") or "." not in parts.netloc:
                wrong.append(f"line {line}: {link} is no address")
            continue
        target, anchor = target_of(name, link)
        if not target.is_relative_to(ROOT) or not target.exists():
            wrong.append(f"line {line}: {link}: there is no {target}")
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            wrong.append(f"line {line}: {link}: no heading of {target.name} has that anchor")
    assert not wrong, "\n".join(wrong)


def test_every_page_and_notebook_is_reached_from_the_readme_or_the_index():
    reached, waiting = set(), ["README.md", "docs/index.md"]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in TEXTS:
            continue
        reached.add(name)
        for link, _ in links(TEXTS[name]):
            target, _anchor = target_of(name, link) if not is_external(link) else (ROOT, "")
            waiting.append(target.relative_to(ROOT).as_posix())
    assert set(TEXTS) == reached, f"nothing leads to {sorted(set(TEXTS) - reached)}; docs/index.md lists all pages"


def test_every_picture_is_shown():
    shown = {target_of(name, link)[0] for name in TEXTS for link, _ in links(TEXTS[name]) if link.endswith(".png")}
    unused = {path for path in (ROOT / "docs" / "pictures").iterdir() if path not in shown}
    assert not unused, f"no page shows {sorted(path.name for path in unused)}"


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_named_in_the_text_exist(name):
    named = {file for code in inline_code(TEXTS[name]) for file in FILE.findall(code) if "my_" not in file}
    assert not (missing := sorted(file for file in named if not (ROOT / file).exists())), missing


def test_pages_that_the_code_names_exist():
    named = {
        (page, path)
        for path in SOURCES
        if path != Path(__file__)
        for page in re.findall(r"\bdocs/[\w/]+\.md", path.read_text(encoding="utf-8"))
    }
    assert not (missing := [f"{path}: {page}" for page, path in named if not (ROOT / page).exists()]), missing


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("## What is split, and what is not", "what-is-split-and-what-is-not"),
        ("# `digits`: a measurement in seconds", "digits-a-measurement-in-seconds"),
        ("### lawa_queue, lawa_ema", "lawa_queue-lawa_ema"),
        ("## 3. Batch sizes and regularisers", "3-batch-sizes-and-regularisers"),
        ("## A [link](x.md) & more", "a-link--more"),
    ],
)
def test_anchors_are_those_of_github(heading, anchor):
    assert anchors(heading) == [anchor]


def test_headings_of_one_name_are_numbered():
    assert anchors("# A\n\n## B\n\n## B\n\n```\n# no heading\n```\n\n## B\n") == ["a", "b", "b-1", "b-2"]


def test_links_in_code_are_none():
    text = "`[a](b.md)` [`c`](d.md#e) ![f](g.png)\n\n```\n[h](i.md)\n```\n<https://example.org/x>."
    assert links(text) == [("d.md#e", 1), ("g.png", 1), ("https://example.org/x", 6)]
