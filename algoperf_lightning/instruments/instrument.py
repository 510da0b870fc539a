"""The instruments by name, the presets, and sets of instruments that measure a step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.instruments import activations, curved, gradients, matrices, moves
from algoperf_lightning.instruments.look import Following, Look, Step, Value
from algoperf_lightning.instruments.probe import UnmeasurableError
from algoperf_lightning.utilities.inputs import nearest_or_raise


@dataclass(frozen=True)
class Instrument:
    """An instrument, which measures at one or several points in time around a step."""

    before: Callable[[Look], Mapping[str, Value]] | None = None
    """Measures before the step, at its parameters and with its batch."""
    after: Callable[[Step], Mapping[str, Value]] | None = None
    """Measures after the step."""
    following: Callable[[Following], Mapping[str, Value]] | None = None
    """Measures before the following step, with its batch."""
    following_step: Callable[[Following], Mapping[str, Value]] | None = None
    """Measures after the following step."""
    needs: frozenset[str] = frozenset()
    """Required computations: ``gradient`` (a pass), ``groups`` (a backward pass for each), ``curvature`` (second
    derivatives), ``forward`` (a forward pass), ``after`` (a pass at the new parameters), ``following`` (the next step's
    batch)."""


def _instrument(
    *needs: str,
    before: Callable[[Look], Mapping[str, Value]] | None = None,
    after: Callable[[Step], Mapping[str, Value]] | None = None,
    following: Callable[[Following], Mapping[str, Value]] | None = None,
    following_step: Callable[[Following], Mapping[str, Value]] | None = None,
) -> Instrument:
    return Instrument(before, after, following, following_step, frozenset(needs))


INSTRUMENTS: Mapping[str, Instrument] = {
    "loss": _instrument("forward", before=gradients.loss),
    "gradient_norm": _instrument("gradient", before=gradients.gradient_norm),
    "weight_norm": _instrument(before=gradients.weight_norm),
    "distance": _instrument(before=gradients.distance),
    "clipping": _instrument("gradient", before=gradients.clipping),
    "gradient_tests": _instrument("groups", before=gradients.tests),
    "gsnr": _instrument("groups", before=gradients.signal_to_noise),
    "early_stopping": _instrument("groups", before=gradients.early_stopping),
    "cabs": _instrument("groups", before=gradients.cabs),
    "noise_scale": _instrument("groups", before=gradients.noise_scale),
    "gradient_histogram": _instrument("groups", before=gradients.gradient_histogram),
    "joint_histogram": _instrument("groups", before=gradients.joint_histogram),
    "update_size": _instrument(after=moves.update_size),
    "update_ratio": _instrument(after=moves.update_ratios),
    "descent": _instrument("gradient", after=moves.descent),
    "same_batch": _instrument("gradient", "after", after=moves.same_batch),
    "predicted": _instrument("gradient", "after", "curvature", after=moves.predicted),
    "optimizer_state": _instrument(after=moves.optimizer_state),
    "alpha": _instrument("groups", "following", following=moves.alpha),
    "successive_gradients": _instrument("gradient", "following", following=moves.successive_gradients),
    "successive_updates": _instrument(following_step=moves.successive_updates),
    "activations": _instrument("forward", before=activations.activations),
    "attention": _instrument("forward", before=activations.attention),
    "outputs": _instrument("forward", before=activations.outputs),
    "accuracy": _instrument("forward", before=activations.accuracy),
    "matrices": _instrument(before=matrices.matrices),
    "hessian_trace": _instrument("curvature", before=curved.hessian_trace),
    "gauss_newton_trace": _instrument("curvature", before=curved.gauss_newton_trace),
    "tic": _instrument("groups", "curvature", before=curved.tic),
    "eigenvalues": _instrument("curvature", before=curved.eigenvalues),
    "stability": _instrument("curvature", before=curved.stability, after=curved.adam_stability),
}
"""All instruments, in the order in which they measure."""

_LIGHT = (
    *("loss", "gradient_norm", "weight_norm", "distance", "clipping", "update_size", "update_ratio", "descent"),
    "same_batch",
)
_ECONOMY = (
    *_LIGHT,
    *("gradient_tests", "noise_scale", "gradient_histogram", "alpha", "successive_gradients", "successive_updates"),
    *("activations", "attention", "outputs", "accuracy"),
)
_BUSINESS = (
    *_ECONOMY,
    *("gsnr", "early_stopping", "cabs", "hessian_trace", "tic", "predicted", "stability", "optimizer_state"),
)
PRESETS: Mapping[str, tuple[str, ...]] = {
    "light": _LIGHT,
    "economy": _ECONOMY,
    "business": _BUSINESS,
    "full": tuple(INSTRUMENTS),
}
"""Instruments by the name of a preset, the cheaper ones first; ``economy``, ``business`` and ``full`` contain the
instruments of Cockpit's presets with these names, and more."""


def chosen(measure: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of instruments, in the order in which they measure.

    Args:
        measure: The name of a preset or of an instrument, or several of these.

    Raises:
        BadInputError: If a name is unknown; the message suggests the most similar one.
    """
    names = [measure] if isinstance(measure, str) else list(measure)
    if not names:
        raise BadInputError(f"measure is empty. Expected a preset ({', '.join(PRESETS)}), or names of instruments.")
    known = {**dict.fromkeys(PRESETS), **dict.fromkeys(INSTRUMENTS)}
    wanted: set[str] = set()
    for name in names:
        nearest_or_raise("instrument or preset", name, known)
        wanted |= set(PRESETS.get(name, (name,)))
    return tuple(name for name in INSTRUMENTS if name in wanted)


class InstrumentSet:
    """A set of instruments. Those that cannot measure a workload are reported once, with the reason, and then left out.

    Args:
        names: Names as returned by :func:`chosen`.
        robust: Whether to leave out an instrument after any error. False for several ranks: otherwise a single rank
            might leave it out, and the others would wait for it.
    """

    def __init__(self, names: Sequence[str], *, robust: bool = True) -> None:
        self._instruments = {name: INSTRUMENTS[name] for name in names}
        self._caught: tuple[type[Exception], ...] = (Exception,) if robust else (UnmeasurableError,)

    @property
    def names(self) -> Collection[str]:
        """Names of the remaining instruments."""
        return self._instruments.keys()

    def needs(self, *what: str) -> bool:
        """Return whether any instrument requires any of these computations."""
        return any(instrument.needs & set(what) for instrument in self._instruments.values())

    def at(self, place: str) -> bool:
        """Return whether any instrument measures at a place: ``before``, ``after``, ``following``."""
        return any(getattr(instrument, place) is not None for instrument in self._instruments.values())

    def measure(self, place: str, seen: Look | Step | Following) -> dict[str, object]:
        """Return the measurements of all instruments at a place; reasons are under ``unmeasurable``, by instrument.

        Args:
            place: A field of :class:`Instrument`.
            seen: Their input at that place.
        """
        found: dict[str, object] = {}
        reasons: dict[str, str] = {}
        for name, instrument in list(self._instruments.items()):
            function = getattr(instrument, place)
            if function is None:
                continue
            try:
                found |= function(seen)
            except self._caught as error:
                known = isinstance(error, UnmeasurableError)
                first = (str(error).splitlines() or [""])[0]
                reasons[name] = first if known else f"{type(error).__name__}: {first}"
                del self._instruments[name]
        return found | ({"unmeasurable": reasons} if reasons else {})
