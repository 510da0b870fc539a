"""File writing that is safe against kills at any time and reports full disks."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from algoperf_lightning.errors import BadInputError

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")

_LEFT_BY_SYSTEMS = frozenset(
    {".ds_store", ".fseventsd", ".spotlight-v100", ".trashes", "__macosx", "desktop.ini", "ehthumbs.db", "thumbs.db"}
)


def is_left_by_system(name: str) -> bool:
    """Return whether a name is a system file of macOS or Windows; ``name`` may be a path in an archive.

    Example:
        >>> [is_left_by_system(name) for name in ("._trial.json", "__MACOSX/raw/x.csv", "Thumbs.db", "trial.json")]
        [True, True, True, False]
    """
    return any(part.startswith("._") or part.lower() in _LEFT_BY_SYSTEMS for part in name.split("/"))


def make_folder(path: str | Path, what: str = "") -> Path:
    """Create a folder and its parents, and return its path.

    Args:
        path: Path of the folder, which may already exist.
        what: Option that specified the folder, for messages, such as ``--output``.

    Raises:
        BadInputError: If a writable folder cannot be created, for example because a file with that path exists.
    """
    folder = Path(path)
    called = f"{what} {folder}" if what else str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        taken = next(
            (each for each in [folder, *folder.parents] if os.path.lexists(each) and not each.is_dir()), folder
        )
        raise BadInputError(f"{called} cannot be a folder: {taken} is a file. Choose another one.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{called} cannot be created: {reason}. Choose another folder.") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"{called} cannot be written to: permission denied. Choose another folder.")
    return folder


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file atomically, or leave it unchanged.

    Raises:
        OSError: If writing fails. The previous content is then unchanged.
    """
    # A separate temporary file per process, because several processes may write the same file at once.
    with written_aside(path, path.with_name(f".{path.name}.{os.getpid()}")) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_aside(path: Path, aside: Path | None = None, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that replaces ``path`` at the end of the block, or is deleted if the block raises an error.

    Args:
        path: Destination. Existing content is kept until then, also after a kill.
        aside: Temporary file in the same folder. Default: ``<name>.part``, which is overwritten by the next call after
            a kill.
        durable: Whether to sync the content to the disk before the move, so that it survives a crash of the machine.

    Raises:
        OSError: If writing fails. The previous content is then unchanged.
    """
    aside = aside or path.with_name(path.name + ".part")
    try:
        with aside.open("wb") as file:
            yield file
            if durable:
                sync(file)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def sync(file: IO[bytes]) -> None:
    """Wait until all data written to a file are on the disk."""
    file.flush()
    os.fsync(file.fileno())


def overwrite_in_place(path: Path, text: str) -> None:
    """Overwrite a file within its allocated blocks, which needs no free space. Last resort on a full disk.

    Raises:
        OSError: If the text needs more space than the file has.
    """
    data = text.encode()
    with path.open("r+b") as file:
        status = os.fstat(file.fileno())
        if len(data) > max(getattr(status, "st_blocks", 0) * 512, status.st_size):
            raise OSError(f"No room for {len(data)} bytes in {path}: the disk is full.")
        file.write(data)
        file.truncate(len(data))


def append_line(path: Path, line: str, *, durable: bool = True) -> None:
    """Append one line atomically.

    Args:
        path: Path of the file.
        line: Line without its line break.
        durable: Whether to wait until the line is on the disk, so that it survives a crash of the machine. Every line
            survives a kill of the process.

    Raises:
        OSError: If writing fails. The end of the file is then unchanged.
    """
    data = (line + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        try:
            if os.write(descriptor, data) < len(data):
                raise OSError(f"No space left for a line in {path}.")
            if durable and path.is_file():
                os.fsync(descriptor)
        except OSError:
            if path.is_file():
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def to_plain(value: Any) -> Any:
    """Convert a value to types supported in JSON and checkpoints, with NaN, infinities and objects as strings.

    The string of an object is reproducible across processes: it contains no memory address, and sets are sorted.
    Objects with an address in their default ``repr`` are described by their class and their plain public attributes.

    Example:
        >>> to_plain({"betas": (0.9, float("inf")), "norm": None, "kind": complex})
        {'betas': [0.9, 'inf'], 'norm': None, 'kind': "<class 'complex'>"}
    """
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if getattr(value, "ndim", None) == 0:
        value = value.item()  # NumPy or PyTorch scalar
    if isinstance(value, (bool, int, str, type(None))):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (set, frozenset)):
        return sorted(map(to_plain, value), key=repr)
    return _described(value)


def _described(value: Any) -> str:
    if isinstance(value, functools.partial):
        arguments = [*map(repr, to_plain(value.args)), *_assignments(value.keywords)]
        return f"partial({', '.join([_described(value.func), *arguments])})"
    text = repr(value)
    if not _ADDRESS.search(text):
        return text
    named = value if hasattr(value, "__qualname__") else type(value)
    name = f"{named.__module__}.{named.__qualname__}"
    if named is value:  # function or method
        return name
    public = {key: each for key, each in _state(value).items() if not key.startswith("_") and _is_plain(each)}
    return f"{name}({', '.join(_assignments(public))})"


def _state(value: Any) -> dict[str, Any]:
    slots = [name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    return {**{name: getattr(value, name) for name in slots if hasattr(value, name)}, **getattr(value, "__dict__", {})}


def _assignments(values: Mapping[str, Any]) -> list[str]:
    return [f"{key}={to_plain(each)!r}" for key, each in sorted(values.items())]


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, type(None)))
