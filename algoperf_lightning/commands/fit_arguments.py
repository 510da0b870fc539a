"""The arguments of ``algoperf fit``, processed before its parser.

Names are replaced by classes, on the command line and in files, and unknown options get an error with the possible
ones. The parser only converts values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from algoperf_lightning.commands.fit_options import CHOSEN, CLASS_KEYS, FitOptions, short, shown_value
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, names
from algoperf_lightning.utilities.inputs import nearest
from algoperf_lightning.utilities.yaml_files import parse_yaml, read_yaml, to_yaml

_YAML = (".yaml", ".yml", ".json")
_FILE = "--config="
_NO_VALUE = ("-h", "--help", "--print_config")


@dataclass(frozen=True)
class Given:
    """An option with its value."""

    key: str
    """``trainer.max_steps``."""
    value: Any
    """Text from the command line; any type from a file."""
    source: str = ""
    """The file; empty for the command line."""

    def __str__(self) -> str:
        return f"{self.source}: {self.key}" if self.source else f"--{self.key}"


@dataclass
class FitArguments:
    """Arguments of ``algoperf fit``: :attr:`arguments` is for the parser, :attr:`given` for messages."""

    options: FitOptions = field(default_factory=FitOptions)
    arguments: list[str] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    _submission: str = ""
    """The class chosen so far."""

    def read(self, arguments: Sequence[str]) -> FitArguments:
        """Read all arguments, in order.

        Raises:
            BadInputError: If an option, a name or a file is invalid.
        """
        rest = list(arguments)
        while rest:
            option, equals, value = rest.pop(0).partition("=")
            if not option.startswith("-") or option == "-":
                raise BadInputError(f"`algoperf fit` takes options only, but got {option!r}.{_instead(option)}")
            option = "--config" if option == "-c" else option
            if option in _NO_VALUE or option.endswith(".help"):
                self._read_help(option, value or (rest.pop(0) if _is_named_help(option, rest) else ""))
                continue
            key = option.removeprefix("--").removesuffix("+")
            if not option.startswith("--"):
                raise self.options.unknown(option, option.lstrip("-"))
            self.options.check(key, f"--{key}")
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise BadInputError(f"{option} needs a value: {option} VALUE.")
                value = rest.pop(0)
            self._read_option(option, key, value)
        return self

    # From the command line

    def _read_option(self, option: str, key: str, value: str) -> None:
        group, _, name = key.partition(".")
        if key == "config":
            self._read_config(_config_path(value))
        elif key in (*CHOSEN, *self.options.groups):
            source = f"--{key}"
            content = parse_yaml(value, source) if value.startswith("{") else value
            self._write(key, self._read_group(key, content, source, Path()))
        elif group in CHOSEN and name == "class_path":
            self._write(group, {"class_path": self._choose(group, value)})
        else:
            self.given.append(Given(short(option.removeprefix("--")), value))
            if self.options.is_free(key):
                option = f"--{group}.dict_kwargs.{name}"
            self.arguments.append(f"{option}={value}")

    def _read_help(self, option: str, value: str) -> None:
        group = option.removeprefix("--").removesuffix(".help")
        if value and group in CHOSEN:
            value = self.options.choose(group, value)
        self.arguments.append(f"{option}={value}" if value else option)

    def _choose(self, group: str, name: Any, where: str = "") -> str:
        chosen = self.options.choose(group, name, where)
        if group == "submission":
            if self._submission not in ("", chosen):
                self._drop_hyperparameters()
            self._submission = chosen
        return chosen

    def _drop_hyperparameters(self) -> None:
        """Drop hyperparameters that files set for the previously chosen submission: they do not fit another one.

        The parser would keep those that both have. Options of the command line are kept: they are given for this run.
        """
        for place, argument in enumerate(self.arguments):
            content = parse_yaml(argument.removeprefix(_FILE), _FILE) if argument.startswith(_FILE) else None
            if content and "submission" in content:
                kept = {key: value for key, value in content["submission"].items() if key == "class_path"}
                self.arguments[place] = f"{_FILE}{to_yaml({**content, 'submission': kept})}"

    def _write(self, key: str, content: Any) -> None:
        self.arguments.append(f"{_FILE}{to_yaml({key: content})}")

    # From files

    def _read_config(self, path: Path) -> None:
        content = read_yaml(path)
        if content is None:
            return
        if not isinstance(content, dict):
            raise BadInputError(
                f"{path} must map options to values, as in `workload: digits`, but contains {shown_value(content)}."
            )
        read = {}
        for key, value in content.items():
            self.options.check(str(key), f"{path}: {key}")
            if key == "config":
                raise BadInputError(f"{path}: a config cannot include another one. Give --config several times.")
            group = str(key) in (*CHOSEN, *self.options.groups)
            if not group:
                self.given.append(Given(str(key), value, str(path)))
            if group or value is not None:
                read[str(key)] = self._read_group(str(key), value, str(path), path.parent) if group else value
        if read:
            self.arguments.append(f"{_FILE}{to_yaml(read)}")

    def _read_group(self, group: str, content: Any, source: str, folder: Path) -> Any:
        """Return the options of a group in the form that the parser accepts."""
        where = source if source == f"--{group}" else f"{source}: {group}"
        if isinstance(content, str) and content.endswith(_YAML):
            path = folder / content
            return self._read_group(group, read_yaml(path), str(path), path.parent)
        if group in CHOSEN and isinstance(content, str):
            return {"class_path": self._choose(group, content)}
        if not isinstance(content, dict):
            also = "a name, " if group in CHOSEN else ""
            raise BadInputError(
                f"{where} must be {also}a mapping of options to values or a file with one, but is "
                f"{shown_value(content)}."
            )
        if group not in CHOSEN:
            for name, value in content.items():
                self.options.check(f"{group}.{name}", f"{source}: {group}.{name}")
                self.given.append(Given(f"{group}.{name}", value, source))
            return content
        return self._read_class(group, content, source)

    def _read_class(self, group: str, content: dict[Any, Any], source: str) -> dict[str, Any]:
        """Return ``class_path`` and ``init_args``; other options of the group are also arguments."""
        read: dict[str, Any] = {key: content[key] for key in CLASS_KEYS if content.get(key) is not None}
        if "class_path" in content:
            read["class_path"] = self._choose(group, content["class_path"], f"{source}: {group}.class_path")
        arguments = read.get("init_args", {})
        if not isinstance(arguments, dict):
            raise BadInputError(
                f"{source}: {group}.init_args must map arguments to values, but is {shown_value(arguments)}."
            )
        arguments = {**arguments, **{key: value for key, value in content.items() if key not in CLASS_KEYS}}
        for name, value in arguments.items():
            self.options.check(f"{group}.{name}", f"{source}: {group}.{name}")
            self.given.append(Given(f"{group}.{name}", value, source))
        free = {name: arguments.pop(name) for name in list(arguments) if self.options.is_free(f"{group}.{name}")}
        if free:
            read["dict_kwargs"] = {**read.get("dict_kwargs", {}), **free}
        return {**read, "init_args": arguments} if arguments else read


def _is_named_help(option: str, rest: Sequence[str]) -> bool:
    return option.endswith(".help") and bool(rest) and not rest[0].startswith("-")


def _instead(word: str) -> str:
    """Return what an argument without an option was probably meant to be."""
    known = {"config": packaged_configs(), "workload": names(WORKLOADS), "submission": names(SUBMISSIONS)}
    for option, choices in known.items():
        if word in choices or (option == "config" and word.endswith(_YAML)):
            return f" Did you mean --{option} {word}?"
    return " `algoperf fit --help` shows them."


def _config_path(value: str) -> Path:
    """Return the file of a config: a path, or the name of a packaged one."""
    if value.endswith(_YAML) or Path(value).is_file():
        return Path(value)
    packaged = packaged_configs()
    if value in packaged:
        return Path(packaged[value])
    close = nearest(value, packaged)
    hint = f" Did you mean {close!r}?" if close else ""
    groups = dict.fromkeys(name.rpartition("/")[0] + "/..." if "/" in name else name for name in packaged)
    raise BadInputError(f"Unknown config {value!r}.{hint} Choose from: {', '.join(groups)}; or give a YAML file.")


def packaged_configs() -> dict[str, str]:
    """Return the paths of the packaged configs by name."""
    folder = Path(str(files("algoperf_lightning.configs")))
    return {path.relative_to(folder).with_suffix("").as_posix(): str(path) for path in sorted(folder.rglob("*.yaml"))}
