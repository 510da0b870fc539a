"""Classes of workloads and submissions by name; :mod:`algoperf_lightning.registry` finds their entry points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algoperf_lightning.registry import SUBMISSIONS, WORKLOADS, import_class, load_plugin
from algoperf_lightning.submission import Submission

if TYPE_CHECKING:
    from algoperf_lightning.workload import Workload


def get_workload(name: str) -> type[Workload]:
    """Return the workload class with a name.

    Raises:
        BadInputError: If the name is unknown; the message suggests the most similar one.
        PluginError: If it cannot be loaded; the message names its package.
        MissingLibraryError: If the workload needs a library that is not installed.
    """
    from algoperf_lightning.workload import (
        Workload,  # not at the top: it imports Lightning, which a submission does not need
    )

    return load_plugin(WORKLOADS, "workload", name, Workload)  # type: ignore[type-abstract]


def get_submission(name: str) -> type[Submission]:
    """Return the submission class with a name.

    Raises:
        BadInputError: If the name is unknown; the message suggests the most similar one.
        PluginError: If it cannot be loaded; the message names its package.
        MissingLibraryError: If the submission needs a library that is not installed.
    """
    return load_plugin(SUBMISSIONS, "submission", name, Submission)


def find_submission(name: str) -> type[Submission]:
    """Return the submission class of a registered name, or of an import path: ``my_module.MyClass``.

    Modules are also looked for in the current folder.

    Raises:
        BadInputError: If there is none, or it cannot be imported.
    """
    if "." not in name:
        return get_submission(name)
    return import_class("submission", name, Submission)


def find_workload_class(name: str) -> type[Workload]:
    """Return the workload class of a registered name, or of an import path: ``my_module.MyClass``.

    Modules are also looked for in the current folder.

    Raises:
        BadInputError: If there is none, or it cannot be imported.
    """
    if "." not in name:
        return get_workload(name)
    from algoperf_lightning.workload import Workload

    return import_class("workload", name, Workload)  # type: ignore[type-abstract]
