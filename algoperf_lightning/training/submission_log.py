"""The log of a run, which does not synchronise the device: values are copied to the host when the clock is read."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.records.submission_log import LoggedStep

_PACKED_AT = 1024
"""Values that are stored as single tensors, each of which takes 0.5 kB of GPU memory; more are merged to one tensor."""
_HELD = 2**16
"""Values on the host above which they are written before the next evaluation."""
_ROWS_OF_TRAINING = 1000
"""Number of rows of losses and learning rates within the step hint."""

_Key: TypeAlias = str | int
"""A name from the submission, or the index of a parameter group for its learning rate."""


class SubmissionLog:
    """Accepts values at any time, and passes rows, one for each step, to its sinks.

    The clock starts it on the first rank. On other ranks and without a clock, values are checked and dropped.

    Values on the device remain there until :meth:`collect`, which the clock calls after synchronising the device, so
    logging never waits. Memory is limited to the values logged between two readings of the clock.
    """

    def __init__(self) -> None:
        self.sinks: list[Callable[[Sequence[LoggedStep]], None]] = []
        """Receivers of the rows."""
        self._step: Callable[[], int] | None = None
        self._every = 1
        self._clear()

    def _clear(self) -> None:
        self._kept: list[tuple[int, _Key, float | Tensor]] = []
        self._packs: list[_Pack] = []
        self._rows: dict[int, LoggedStep] = {}
        self._held = 0

    def begin(self, step: Callable[[], int], step_hint: int) -> None:
        """Start a run.

        Args:
            step: Returns the current step, to which logged values belong.
            step_hint: Expected number of steps; losses and learning rates of a thousand of them are logged.
        """
        self._step, self._every = step, max(1, -(-step_hint // _ROWS_OF_TRAINING))
        self._clear()

    def end(self) -> None:
        """End the run, and drop values that were not passed on."""
        self._step, self.sinks = None, []
        self._clear()

    def forget(self) -> None:
        """Drop values logged before a run resumes, which are already in the log."""
        self._clear()

    # While the submission runs

    def add(self, values: Mapping[str, float | Tensor]) -> None:
        """Store the current values by name.

        Raises:
            BadInputError: If one is neither a number nor a tensor without axes.
        """
        if not isinstance(values, Mapping):
            raise BadInputError(f"workload.log takes a dict of values by name, but got {_described(values)}.")
        copies = {name: _copy(name, value) for name, value in values.items()}
        if self._step is not None:
            step = self._step()
            self._kept += [(step, name, value) for name, value in copies.items()]
            if len(self._kept) >= _PACKED_AT:
                self._pack()

    def add_learning_rates(self, optimizers: Iterable[Optimizer]) -> None:
        """Store the learning rates of this step, if its loss and rates are logged."""
        if self._step is None or not self._is_sampled(step := self._step()):
            return
        rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups if "lr" in group]
        self._kept += [
            (step, number, rate.detach().reshape(()).clone() if isinstance(rate, Tensor) else float(rate))
            for number, rate in enumerate(rates)
        ]

    def _is_sampled(self, step: int) -> bool:
        return step % self._every == 0 or step == 1

    def _pack(self) -> None:
        if self._kept:
            self._packs.append(_Pack(self._kept))
            self._kept = []

    # While the clock is stopped

    def collect(self, seconds: float, losses: Iterable[tuple[int, float]] = ()) -> None:
        """Copy logged values to the host.

        Args:
            seconds: Submission seconds now.
            losses: Steps since the last call, and their losses.
        """
        if self._step is None:
            return
        self._pack()
        packs, self._packs = self._packs, []
        for step, loss in losses:
            if self._is_sampled(step):
                self._row(step, seconds).loss = loss
        for step, name, value in (entry for pack in packs for entry in pack.unpacked()):
            row = self._row(step, seconds)
            if isinstance(name, str):
                row.values[name] = value
            else:  # both passes of a step have the same rates
                row.learning_rates[name : name + 1] = [value]
            self._held += 1
        if self._held > _HELD:
            self._flush(self._step() - 2)  # not the last step, to whose row an evaluation may add

    def flush(self, seconds: float, step: int) -> None:
        """Pass all rows of steps up to ``step`` to the sinks, at ``seconds`` on the clock."""
        self.collect(seconds)
        self._flush(step)

    def _flush(self, through: int) -> None:
        rows = [row for step, row in sorted(self._rows.items()) if step <= through]
        if rows:
            self._rows = {step: row for step, row in self._rows.items() if step > through}
            self._held = sum(len(row.values) for row in self._rows.values())
            for sink in self.sinks:
                sink(rows)

    def _row(self, step: int, seconds: float) -> LoggedStep:
        return self._rows.setdefault(step, LoggedStep(step, seconds))


class _Pack:
    """Values in the order of logging; tensors with the same device and type are merged."""

    def __init__(self, entries: list[tuple[int, _Key, float | Tensor]]) -> None:
        kinds: dict[Any, list[Tensor]] = {}
        self._entries: list[tuple[int, _Key, Any, Any]] = []
        for step, name, value in entries:
            if isinstance(value, Tensor):
                same = kinds.setdefault((value.device, value.dtype), [])
                self._entries.append((step, name, (value.device, value.dtype), len(same)))
                same.append(value)
            else:
                self._entries.append((step, name, None, value))
        self._stacked = {kind: torch.stack(same) for kind, same in kinds.items()}

    def unpacked(self) -> Iterable[tuple[int, _Key, float]]:
        """Return step, name and value of each entry; waits for the device."""
        values = {kind: stacked.tolist() for kind, stacked in self._stacked.items()}
        for step, name, kind, value in self._entries:
            yield step, name, float(value if kind is None else values[kind][value])


def _copy(name: object, value: object) -> float | Tensor:
    """Return a snapshot of a value; the submission's code must not run later, when the clock is stopped."""
    if not isinstance(name, str) or not name:
        raise BadInputError(f"workload.log: a name must be a string that is not empty, but got {name!r}.")
    if type(value) in (Tensor, nn.Parameter):
        tensor: Any = value
        functional = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        if tensor.ndim == 0 and not (tensor.is_complex() or tensor.is_meta or functional):
            copied: Tensor = tensor.detach().clone()
            return copied
    elif isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            pass
    raise BadInputError(
        f"workload.log: {name!r} must be a number or a real tensor without axes, but got {_described(value)}. Reduce "
        "it to one number: value.mean(), value.norm()."
    )


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        text = repr(value)
        return text if len(text) <= 100 else f"{text[:100]}..."
    if torch._C._functorch.is_functorch_wrapped_tensor(value):
        return "a tensor within a function of torch.func, which has no value outside (return it, and log it then)"
    return f"a {type(value).__name__} of shape {tuple(value.shape)} and type {value.dtype}"
