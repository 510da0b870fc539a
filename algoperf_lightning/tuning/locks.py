"""Locks of trials: held by the process that runs the trial, gone with it however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
from pathlib import Path

from algoperf_lightning.errors import BadInputError

LOCK_FILE = "lock"
_PATIENCE = 2.0  # seconds; somebody who only looks whether a lock is held holds it for a moment
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class TrialLock:
    """The right to run a trial: a lock of the operating system on a file in the trial's folder.

    The system takes it back when its holder ends or is killed; a file that is left there says nothing. On network file
    systems it holds across machines where these pass locks on (NFS from version 4, Lustre mounted with ``flock``).

    Args:
        folder: The trial's folder.

    Raises:
        BadInputError: When it is taken, if the file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Return whether the lock is ours now; False if another process holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + _PATIENCE
        while not _try(descriptor, fcntl.LOCK_EX, self._path):
            if time.monotonic() > deadline:
                os.close(descriptor)
                return False
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode(), 0)
        self._descriptor = descriptor
        # Worker processes that read data are forked, and would hold it on when this process is killed.
        os.register_at_fork(after_in_child=self._forget)
        return True

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def release(self) -> None:
        """Give it back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(folder: Path) -> bool:
    """Return whether a process runs the trial now."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH, folder / LOCK_FILE)
    finally:
        os.close(descriptor)


def holder(folder: Path) -> str:
    """Return who runs the trial, in words; empty if nobody does."""
    return (folder / LOCK_FILE).read_text(encoding="utf-8").strip() if is_locked(folder) else ""


def _try(descriptor: int, kind: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise BadInputError(
            f"{path} cannot be locked ({error.strerror}): this file system has no locks, so two runners could run a "
            "trial twice. Choose an --output on another one."
        ) from error
    return True
