"""The check with two processes."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import traceback
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist

from .compare import Failed, NotApplicable, differing, named, require_close
from .run import Run, Values, trained
from .stage import STEP_HINT
from .subject import Subject

_RANKS = 2
_TIMEOUT = 60.0
"""Timeout for communication between the ranks in seconds."""
_SAME = 1e-8


def ranks(subject: Subject) -> str:
    """Two processes (gloo), each with half of the batch, give equal parameters, the same as one process."""
    if dist.is_initialized():
        raise NotApplicable("this process is already part of a distributed run")
    if sys.platform != "linux" or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise NotApplicable("processes are forked, which needs Linux and a process that has not used a GPU")
    start = Run(subject).values()
    expected = trained(subject, steps=STEP_HINT)
    one, other = _on_ranks(subject)
    if names := differing(one, other):
        raise Failed(f"the two ranks end with different parameters: {named(names)}")
    return require_close(one, expected, start, _SAME, "two ranks and one process give different results")


def _on_ranks(subject: Subject) -> list[Values]:
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        started: list[BaseProcess] = [
            context.Process(target=_rank, args=(subject, rank, Path(folder)), daemon=True) for rank in range(_RANKS)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join(_TIMEOUT)
        hanging = [process for process in started if process.is_alive()]
        for process in hanging:
            process.kill()
        errors = [path.read_text() for path in sorted(Path(folder).glob("*.error"))]
        if errors:
            raise Failed(f"a rank failed: {errors[0]}")
        if hanging:
            raise Failed(f"the ranks did not finish within {_TIMEOUT:g} s: a collective call is not made on all ranks")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(_RANKS)]


def _rank(subject: Subject, rank: int, folder: Path) -> None:
    """Train as one rank, and write the parameters or the error to a folder."""
    torch.set_num_threads(1)  # a forked process does not inherit the threads of its parent
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'meeting'}",
            rank=rank,
            world_size=_RANKS,
            timeout=timedelta(seconds=_TIMEOUT / 2),
        )
        values = Run(subject, rank=rank, ranks=_RANKS).steps(STEP_HINT)
        torch.save(values, folder / f"{rank}.pt")
        dist.barrier()
        dist.destroy_process_group()
    except BaseException as error:
        (folder / f"{rank}.error").write_text(traceback.format_exception_only(error)[-1].strip())
