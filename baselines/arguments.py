"""Classes whose annotated attributes are the arguments of their constructor, each with a description.

The decorator makes a constructor with all arguments and a docstring with all descriptions, so inherited arguments are
also visible in the signature, in ``help``, in ``--help``, in YAML and in the docs.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from typing import TypeVar, dataclass_transform

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.signatures import resolve_annotations

_Class = TypeVar("_Class", bound=type)


@dataclass_transform(eq_default=False, field_specifiers=(dataclasses.field,))
def with_arguments(cls: _Class) -> _Class:
    """Make a submission's annotated attributes the arguments of its constructor, the inherited ones first.

    It is ``dataclasses.dataclass`` without comparison. A field that is declared again keeps its place and changes its
    default. Arguments that the class's docstring leaves out are described as in its base classes; the docstring is
    completed with these descriptions, in the order of the arguments.
    """
    for base in reversed(cls.__mro__[:-1]):
        resolve_annotations(base)
    dataclasses.dataclass(eq=False, repr=False)(cls)
    cls.__doc__ = _with_all_arguments(cls)
    return cls


def check_decorated(cls: type) -> None:
    """Check that a class that redeclares fields was decorated; its defaults would be ignored otherwise.

    Raises:
        BadInputError: If it was not.
    """
    again = vars(cls).get("__annotations__", {}).keys() & cls.__dataclass_fields__.keys()  # type: ignore[attr-defined]
    if again and "__dataclass_fields__" not in vars(cls):
        raise BadInputError(
            f"{cls.__name__} declares {', '.join(sorted(again))} again, but is not decorated, so its defaults would be "
            "ignored. Decorate the class with @with_arguments or @dataclass."
        )


def _with_all_arguments(cls: type) -> str:
    """Return a class's docstring with a section of all arguments in order, before its other sections."""
    described: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        described |= _descriptions(base)
    arguments = [name for name in inspect.signature(cls).parameters if name in described]
    blocks = [text for text in _blocks(cls) if not text.startswith("Args:")]
    sections = [number for number, text in enumerate(blocks) if re.match(r"(Attributes|Raises|Reference): ?", text)]
    lines = [_indented(f"{name}: {described[name]}") for name in arguments]
    blocks.insert(min(sections, default=len(blocks)), "\n".join(["Args:", *lines]))
    return "\n\n".join(blocks) + "\n"


def _descriptions(cls: type) -> dict[str, str]:
    """Return the description of each argument in a class's own docstring."""
    found: dict[str, str] = {}
    for text in _blocks(cls):
        if text.startswith("Args:"):
            lines = textwrap.dedent(text.removeprefix("Args:\n"))
            entries = re.findall(r"^(\w+): (.*(?:\n .*)*)", lines, re.MULTILINE)
            found |= {name: " ".join(about.split()) for name, about in entries}
    return found


def _blocks(cls: type) -> list[str]:
    return re.split(r"\n\s*\n", inspect.cleandoc(cls.__doc__ or "").rstrip())


def _indented(text: str) -> str:
    return textwrap.fill(
        text, 116, initial_indent=" " * 4, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    )
