"""Optional libraries: which are missing, and the command that installs them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from algoperf_lightning.errors import MissingLibraryError


def require_libraries(what: str, modules: Sequence[str], extra: str = "") -> None:
    """Raise unless all modules can be imported, without importing them.

    Args:
        what: Subject of the message: ``The workload 'ogbg'``.
        modules: Their import names: ``torch_geometric``.
        extra: Argument of pip that installs all of them: ``algoperf-lightning[ogbg]``. Empty: the missing ones.

    Raises:
        MissingLibraryError: Naming the missing ones and the command that installs them.

    Example:
        >>> require_libraries("The report", ["json"])
        >>> require_libraries("The report", ["json", "no_such_library"], "algoperf-lightning[all]")
        Traceback (most recent call last):
        ...
        algoperf_lightning.errors.MissingLibraryError: The report needs the library 'no_such_library', which is not \
installed: pip install 'algoperf-lightning[all]'.
    """
    if missing := [module for module in modules if not _is_installed(module)]:
        raise not_installed(what, missing, extra)


def not_installed(what: str, missing: Sequence[str], extra: str = "") -> MissingLibraryError:
    """Return the error for libraries that are missing; arguments as for :func:`require_libraries`."""
    libraries = " and ".join(f"{module!r}" for module in missing)
    noun, verb = ("library", "is") if len(missing) == 1 else ("libraries", "are")
    command = f"pip install '{extra}'" if extra else f"pip install {' '.join(missing)}"
    return MissingLibraryError(f"{what} needs the {noun} {libraries}, which {verb} not installed: {command}.")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: imported, but without a spec
        return False
