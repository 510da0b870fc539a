"""The pages of the documentation, and what is in them: blocks of code, commands in the text, headings, links."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "baselines"

_FENCE = re.compile(r"^(```+)(\w*)\s*$")
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_BARE = re.compile(r"https?://[^\s)>\]`\"']+")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int
    """Of its first line of code, counted from 1."""
    path: str | None
    """Where it is to be written: the line before the block ends in "`path`:"."""


def pages():
    """All Markdown pages that people read, by their path from the root."""
    found = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts),
    ]
    return {path.relative_to(ROOT).as_posix(): path for path in found}


def notebooks():
    return {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "docs" / "gallery").glob("*.ipynb"))}


def blocks(text):
    """The fenced blocks of a page."""
    found, open_fence, language, start, path, before = [], None, "", 0, None, ""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if open_fence is None and fence:
            named = re.search(r"`([\w./-]+)`:$", before)
            open_fence, language, start, path = fence[1], fence[2], number, named and named[1]
        elif open_fence is not None and line.strip() == open_fence:
            found.append(Block(language, "\n".join(lines[start : number - 1]) + "\n", start + 1, path))
            open_fence = None
        if open_fence is None and line.strip():
            before = line
    assert open_fence is None, f"the block of line {start} has no end"
    return found


def prose(text):
    """The page without its blocks of code, on the same lines."""
    lines = text.splitlines()
    for block in blocks(text):
        for number in range(block.line - 2, block.line + block.text.count("\n")):
            lines[number] = ""
    return "\n".join(lines)


def commands(block):
    """The commands of a bash block: continued lines joined, comments and blank lines left out."""
    joined = block.text.replace("\\\n", " ")
    lines = (re.sub(r"(?:^|\s+)#(?=\s).*$", "", line) for line in joined.splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def inline_code(text):
    """The pieces of code in the text, each on one line."""
    return [" ".join(match[2].split()) for match in _CODE.finditer(prose(text))]


def words(command):
    return shlex.split(command)


def links(text):
    """Targets of links and images, and bare addresses, each with its line."""
    hidden = _CODE.sub(lambda code: re.sub(r"[^\n]", "x", code[0]), prose(text))
    found = [(match[1], match.start()) for match in _LINK.finditer(hidden)]
    found += [(match[0].rstrip(".,;"), match.start()) for match in _BARE.finditer(hidden)]
    return [(target, hidden.count("\n", 0, start) + 1) for target, start in found]


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    found = []
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = sum(other == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", other) is not None for other in found)
        found.append(f"{slug}-{count}" if count else slug)
    return found


def notebook_text(path):
    """The text cells of a notebook as one page."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
