"""Strict reading of YAML: a duplicate key or another encoding is an error with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from algoperf_lightning.errors import BadInputError

_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
    r"|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
"""YAML 1.2's floats: in YAML 1.1, and therefore in PyYAML, ``1e-3`` is a string."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


for each in (_Loader, _Dumper):
    each.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if not tag.endswith((":float", ":timestamp"))]
        for first, pairs in each.yaml_implicit_resolvers.items()
    }
    each.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file, None if it is empty.

    Raises:
        BadInputError: If it cannot be read, is not UTF-8, is not YAML, or has duplicate keys. The message names the
            file and the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = Path(path).read_bytes()[: error.start].count(b"\n") + 1
        raise BadInputError(f"{path}, line {line}: the text is not UTF-8. Save the file in that encoding.") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise BadInputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Return the content of a YAML text; ``source`` is its origin for messages.

    Raises:
        BadInputError: If it is not YAML, or has duplicate keys.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
        to_yaml(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
        raise BadInputError(f"{source}{where}: {what}.") from error
    except RecursionError as error:
        raise BadInputError(f"{source} refers to itself, or is nested too deeply.") from error
    return content


def to_yaml(content: Any) -> str:
    """Return YAML on one line, which :func:`parse_yaml` and the parser of ``algoperf fit`` read as ``content``."""
    text: str = yaml.dump(content, Dumper=_Dumper, default_flow_style=True, width=float("inf"), sort_keys=False)
    return text.strip()
