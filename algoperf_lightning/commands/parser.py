"""The parser of every command except ``fit``: errors in one line, with the option that was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.utilities.inputs import nearest

_CHOICE = re.compile(r"invalid choice: (?:'(?P<given>[^']*)'|\S+) \(choose from (?P<choices>.*)\)")
_only_built: ContextVar[bool] = ContextVar("_only_built", default=False)


class _Built(Exception):  # noqa: N818
    def __init__(self, parser: Parser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(command: Callable[[Sequence[str]], None]) -> Parser:
    """Return the argument parser of a command without running the command."""
    token = _only_built.set(True)
    try:
        command([])
    except _Built as built:
        return built.parser
    finally:
        _only_built.reset(token)
    raise AssertionError(f"{command.__module__} does not parse its arguments with Parser.parse")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises :class:`~algoperf_lightning.errors.BadInputError`.

    Args:
        hands_on: Whether arguments after ``--`` are those of ``algoperf fit``.
        options: Options of :class:`argparse.ArgumentParser`.
    """

    def __init__(self, *, hands_on: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._hands_on = hands_on

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the options; positional arguments may be anywhere between them.

        Raises:
            BadInputError: If an option is unknown or missing, or a value is invalid.
        """
        if _only_built.get():
            raise _Built(self)
        within = self._subparsers_by_name()
        known = next((within[each] for each in arguments if each in within), self)
        for argument in arguments:
            if argument == "--":
                break
            name = argument.partition("=")[0]
            if name.startswith("--") and not known._matches(name):
                raise BadInputError(
                    f"Unknown option {name}.{known._hint(name)} `{known.prog} --help` shows all options."
                )
        return self.parse_args(arguments) if within else self.parse_intermixed_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        hint = ""
        if found := _CHOICE.search(message):
            close = nearest(found["given"] or "", re.findall(r"[\w.-]+", found["choices"]))
            hint = f" Did you mean {close}?" if close else ""
        raise BadInputError(f"{message.rstrip('.')}.{hint} {self._all_options}")

    @property
    def _all_options(self) -> str:
        return f"`{self.prog} --help` shows all options."

    def _matches(self, name: str) -> bool:
        return any(option.startswith(name) for option in self._option_string_actions)

    def _hint(self, name: str) -> str:
        own = [option.removeprefix("--").replace("-", "_") for option in self._option_string_actions]
        if close := nearest(name.removeprefix("--"), own):
            return f" Did you mean --{close.replace('_', '-')}?"
        if not self._hands_on:
            return ""
        from algoperf_lightning.commands.fit_options import option_meant_by  # needs torch

        meant = option_meant_by(name.removeprefix("--"))
        return f" Options of `algoperf fit` come after --, as in: -- --{meant} VALUE." if meant else ""

    def _subparsers_by_name(self) -> dict[str, Parser]:
        found: dict[str, Parser] = {}
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(action.choices)
        return found


class Once(argparse.Action):
    """Stores a value, and refuses a second one instead of overwriting the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the value."""
        before = getattr(namespace, self.dest, None)
        if before is not None:
            raise BadInputError(f"{option_string} was given twice, with {before} and {values}. Give one at a time.")
        setattr(namespace, self.dest, values)
