"""The pages of the baselines are what docs/generate_pages.py would write, and read like pages."""

import importlib.util
import re

import pytest
from pages import GENERATED, ROOT, blocks, prose

from algoperf_lightning import get_submission

specification = importlib.util.spec_from_file_location("generate_pages", ROOT / "docs" / "generate_pages.py")
generate_pages = importlib.util.module_from_spec(specification)
specification.loader.exec_module(generate_pages)
NAMES = generate_pages.names()


@pytest.mark.parametrize("name", NAMES)
def test_page_is_up_to_date(name):
    path = GENERATED / f"{name}.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    assert text == generate_pages.page(name), "it is stale: run `python docs/generate_pages.py`"


def test_the_trainers_page_is_up_to_date():
    text = generate_pages.TRAINER_PAGE.read_text(encoding="utf-8")
    assert text == generate_pages.trainer_page(), "it is stale: run `python docs/generate_pages.py`"


def test_there_are_no_other_pages():
    assert {path.stem for path in GENERATED.iterdir()} == set(NAMES), "run `python docs/generate_pages.py`"


@pytest.mark.parametrize("name", NAMES)
def test_page_reads_like_one(name):
    text = generate_pages.page(name)
    assert not re.search(r"``|:\w+:`", prose(text)), "markup of docstrings"
    assert "\n\n\n" not in text
    sections = re.split(r"^## .*$", text, flags=re.MULTILINE)
    assert all(section.strip() for section in sections), "an empty section"
    for argument in get_submission(name)().hyperparameters:
        assert re.search(rf"^\| `{argument}` \| .+ \| .+ \|$", text, re.MULTILINE), f"{argument} is not in the table"
    (block,) = blocks(text)
    assert block.text.startswith(f"algoperf fit --config digits --submission {name}\n")


def test_an_argument_without_words_is_an_error():
    from algoperf_lightning import Submission

    class Silent(Submission):
        """Says nothing of its argument."""

        def __init__(self, rate: float = 0.1):
            self.rate = rate

    with pytest.raises(ValueError, match="Silent: its docstring does not describe rate"):
        generate_pages.read_docstring(Silent)


def test_markup_becomes_markdown():
    text = generate_pages.markdown("``a < b``, c < d, :class:`~x.y.Z`, ``submissions/adamw``, ``submissions/none``")
    link = "[`submissions/adamw`](../../configs/submissions/adamw.yaml)"
    assert text == f"`a < b`, c &lt; d, `Z`, {link}, `submissions/none`"
