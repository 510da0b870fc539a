"""The options of ``algoperf fit``: the existing ones, and suggestions for unknown ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L

from algoperf_lightning.errors import BadInputError, PluginError
from algoperf_lightning.plugins import find_submission, find_workload_class
from algoperf_lightning.registry import (
    SUBMISSIONS,
    WORKLOADS,
    find_workload,
    get_class,
    load_plugin,
    names,
)
from algoperf_lightning.submission import Submission
from algoperf_lightning.tuning.checks import shown
from algoperf_lightning.utilities.inputs import nearest
from algoperf_lightning.utilities.signatures import constructor_parameters
from algoperf_lightning.utilities.terminal import warn
from algoperf_lightning.workload import Workload

CALLBACKS = "algoperf_lightning.callbacks"
"""Entry points of the callbacks of every trial, whose options have the entry point's name as prefix."""
CHOSEN: dict[str, tuple[str, Callable[[str], type]]] = {
    "workload": (WORKLOADS, find_workload_class),
    "submission": (SUBMISSIONS, find_submission),
}
"""Options that are a plug-in and its arguments."""

CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
"""Keys of a plug-in with its arguments in full form."""

_LINKED = {"workload": ("submission",)}
"""Arguments that are set by another option."""
_MOST_SHOWN = 30


@dataclass
class FitOptions:
    """The existing options, given the classes that were named so far."""

    groups: Mapping[str, type] = field(default_factory=lambda: option_groups())
    """Classes whose constructor arguments are options, by prefix: ``trainer`` and the callbacks of every trial."""
    classes: dict[str, type] = field(default_factory=dict)
    """Workload and submission, if they were named; the last one counts."""

    def choose(self, group: str, name: Any, where: str = "") -> str:
        """Return the import path of a plug-in, given its name or import path."""
        kind, find = CHOSEN[group]
        if not isinstance(name, str) or not name:
            raise BadInputError(
                f"{where or f'--{group}'} must be a name or an import path, but is {shown_value(name)}."
            )
        if group == "workload":
            _refuse_full_name(name)
        chosen = get_class(kind, group, name) if name[0].isupper() and "." not in name else find(name)
        self.classes[group] = chosen
        return f"{chosen.__module__}.{chosen.__qualname__}"

    def check(self, key: str, where: str) -> None:
        """Raise an error that suggests the most similar option if an option does not exist.

        Args:
            key: ``trainer.max_steps``.
            where: The option as given, with its file.
        """
        if key in ("config", "ckpt_path", *self.groups, *CHOSEN):
            return
        group, dot, name = short(key).partition(".")
        name = name.partition(".")[0].removesuffix("+")
        if not dot or group not in (*self.groups, *CHOSEN):
            raise self.unknown(where, key)
        owner = self.classes.get(group) or self.groups.get(group)
        if owner is None or (group in CHOSEN and name == "class_path"):
            return  # its class is named later on
        parameters, takes_any = _parameters(group, owner)
        if not takes_any and name not in parameters:
            all_options = "`algoperf fit --help` shows all options."
            few = len(parameters) <= _MOST_SHOWN
            choices = f"{owner.__name__} takes: {', '.join(parameters) or 'nothing'}." if few else all_options
            close = nearest(name, parameters)
            raise self.unknown(where, name, f"{group}.{close}" if close else None, choices)

    def is_free(self, key: str) -> bool:
        """Return whether only the ``**kwargs`` of a constructor accept an option, which belongs to ``dict_kwargs``."""
        group, _, name = key.partition(".")
        if group not in CHOSEN or group not in self.classes or name.partition(".")[0] in (*CLASS_KEYS, "help"):
            return False
        parameters, takes_any = _parameters(group, self.classes[group])
        return takes_any and name.partition(".")[0] not in parameters

    def unknown(
        self, where: str, key: str, meant: str | None = None, choices: str = "`algoperf fit --help` shows all options."
    ) -> BadInputError:
        """Return the error for an option that does not exist, with the one that was probably meant.

        Args:
            where: The option as given, with its file.
            key: Its name, for finding similar ones.
            meant: The option that was meant, if known.
            choices: A sentence about the possible options.
        """
        meant = meant or self.meant_by(key)
        dashes = "--" if where.startswith("-") else ""
        hint = f" Did you mean {dashes}{meant}?" if meant else ""
        return BadInputError(f"Unknown option {where}.{hint} {choices}")

    def meant_by(self, key: str) -> str | None:
        """Return the full name of the option that was probably meant by one with a missing or wrong prefix."""
        known = {name: name for name in ("config", "ckpt_path", "hparams")}
        by_last = dict(known)
        for group, owner in [*self.classes.items(), *self._assumed(), *self.groups.items()]:
            for name in _parameters(group, owner)[0]:
                known.setdefault(f"{group}.{name}", f"{group}.{name}")
                by_last.setdefault(name, f"{group}.{name}")
        last = key.replace("-", "_").rpartition(".")[2]
        if last in by_last:
            return by_last[last]
        if close := nearest(key, known):
            return known[close]
        return by_last[close] if (close := nearest(last, by_last)) else None

    def _assumed(self) -> Iterator[tuple[str, type]]:
        """Yield the base classes of plug-ins that were not named yet, whose options all subclasses have."""
        for group, base in (("workload", Workload), ("submission", Submission)):
            if group not in self.classes:
                yield group, base

    def annotation_of(self, key: str) -> Any:
        """Return the type that an option's class declares for it; ``inspect.Parameter.empty`` if it is unknown."""
        group, _, name = key.partition(".")
        owner = self.classes.get(group) or self.groups.get(group)
        parameters = {} if owner is None else constructor_parameters(owner)[0]
        return parameters[name].annotation if name in parameters else inspect.Parameter.empty


def _refuse_full_name(name: str) -> None:
    """Raise an error with the right options if a name is that of a variant or size, as in plans and records.

    Raises:
        BadInputError: Naming these options.
    """
    known = names(WORKLOADS)
    if name in known:
        return
    try:
        spec = find_workload(name)
    except BadInputError as error:
        if (base := next((each for each in known if name.startswith(f"{each}_")), None)) is None:
            return  # it is not such a name
        raise BadInputError(f"Unknown workload {name!r}. {error} Without it: --workload {base}.") from error
    options = [f"--workload {spec.name}"]
    options += [] if spec.variant is None else [f"--workload.variant {spec.variant}"]
    options += [] if spec.size is None else [f"--workload.{spec.size} true"]
    raise BadInputError(f"{name!r} is a name in plans, records and suites. For one trial of it: {' '.join(options)}.")


def option_groups() -> dict[str, type]:
    """Return the classes whose constructors' arguments are options, by prefix: the Trainer, each trial's callbacks.

    A callback of another package that cannot be loaded is skipped, with a message.
    """
    found: dict[str, type] = {"trainer": L.Trainer}
    for name in names(CALLBACKS):
        try:
            found[name] = load_plugin(CALLBACKS, "callback", name, L.Callback)
        except PluginError as error:
            warn(str(error))
    return found


def option_meant_by(key: str) -> str | None:
    """Return the full name of the option of ``algoperf fit`` that was probably meant, None if there is none."""
    return FitOptions().meant_by(key)


def short(key: str) -> str:
    """Return an option's name in its short form, without ``init_args``."""
    group, _, rest = key.partition(".")
    if group in CHOSEN:
        rest = rest.removeprefix("init_args.").removeprefix("dict_kwargs.")
    return f"{group}.{rest}" if rest else group


def shown_value(value: Any) -> str:
    """Return a value of a YAML file in the form for messages."""
    return "empty (null)" if value is None else shown(value)


def _parameters(group: str, owner: type) -> tuple[dict[str, inspect.Parameter], bool]:
    found, takes_any = constructor_parameters(owner)
    return {name: each for name, each in found.items() if name not in _LINKED.get(group, ())}, takes_any
