"""Locks of trials: held by the process that runs the trial, and released when it ends in any way."""

from __future__ import annotations

import errno
import os
import platform
import time
from pathlib import Path
from weakref import WeakSet

from algoperf_lightning.errors import BadInputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment, unused-ignore]

LOCK_FILE = "lock"
_PATIENCE = 2.0  # seconds; checking whether a lock is held holds it for a moment
_HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_FAR = 1 << 30
"""Position of the locked byte on systems without ``flock``: after the text, which others read."""
_HANDED_ON = "ALGOPERF_TRIAL_LOCK"


class TrialLockedError(BadInputError):
    """Another process runs the trial; the message names it."""


class NoLocksError(BadInputError):
    """The file system of a trial's folder has no locks."""


class TrialLock:
    """The right to run a trial: a lock of the operating system on a file in the trial's folder.

    The system releases it when its holder ends or is killed; the existence of the file means nothing. On network file
    systems it works across machines if these support locks (NFS from version 4, Lustre mounted with ``flock``).

    The library filelock has no shared lock, which is needed to inspect a lock without blocking others, and its older
    versions truncate the file, which names the holder here.

    Args:
        folder: The trial's folder.

    Raises:
        NoLocksError: On acquisition, if the file system has no locks.
        BadInputError: On acquisition, if the lock's file cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LOCK_FILE
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Try to acquire the lock; return False if another process holds it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise BadInputError(
                f"{self._path} cannot be opened ({error.strerror}): a trial needs its own writable "
                "folder. Choose another folder, or remove the obstacle."
            ) from error
        deadline = time.monotonic() + _PATIENCE
        while not _try(descriptor, self._path):
            if time.monotonic() > deadline:
                os.close(descriptor)
                return False
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        self._descriptor = descriptor
        _held.add(self)
        return True

    def take_or_raise(self) -> None:
        """Acquire the lock.

        Raises:
            TrialLockedError: If another process holds it.
        """
        if not self.take():
            by = holder(self._folder)
            raise TrialLockedError(
                f"{self._folder} is already run by another process{f' ({by})' if by else ''}. Wait for it to end, or "
                "choose another folder; nothing was changed."
            )

    def hand_on(self) -> None:
        """Let the recorder in this process or its children run the trial under this lock."""
        os.environ[_HANDED_ON] = os.path.realpath(self._folder)

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None
            if os.environ.get(_HANDED_ON) == os.path.realpath(self._folder):
                del os.environ[_HANDED_ON]

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_held: WeakSet[TrialLock] = WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()


# Forked worker processes that read data would keep the lock when this process is killed.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def is_handed_on(folder: Path) -> bool:
    """Return whether the process that started this trial holds its lock for it."""
    return os.environ.get(_HANDED_ON) == os.path.realpath(folder) and is_locked(folder)


def is_locked(folder: Path) -> bool:
    """Return whether a process runs the trial now."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:  # a file that cannot be opened was not locked either
        return False
    try:
        return not _try(descriptor, folder / LOCK_FILE, shared=True)
    finally:
        os.close(descriptor)


def holder(folder: Path) -> str:
    """Return a description of the process that runs the trial; empty if there is none."""
    if not is_locked(folder):
        return ""
    return (folder / LOCK_FILE).read_text(encoding="utf-8", errors="replace").strip()


def _try(descriptor: int, path: Path, *, shared: bool = False) -> bool:
    try:
        _lock(descriptor, shared)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise NoLocksError(
            f"{path} cannot be locked ({error.strerror}): this file system has no locks, so two processes could run a "
            "trial twice. Choose a folder (for `algoperf tune`, an --output) on another file system."
        ) from error
    return True


def _lock(descriptor: int, shared: bool) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        return
    import msvcrt

    os.lseek(descriptor, _FAR, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
