"""Agreement of the rankings of two sets of runs with the same submissions, for example a small suite and the benchmark.

Kendall's tau-b (Kendall 1945, https://doi.org/10.1093/biomet/33.3.239) counts the pairs of submissions that have the
same order in both. Rank-biased overlap (Webber, Moffat, Zobel 2010, https://doi.org/10.1145/1852102.1852106) weights
the first places more than the last. Both have intervals from a percentile bootstrap over the studies of both sides, and
a ceiling: the agreement of the board with itself when its studies are resampled twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.scoring.leaderboard import Leaderboard, score_times
from algoperf_lightning.scoring.mathematics import ranks
from algoperf_lightning.scoring.runs import Runs, Trial, natural, present
from algoperf_lightning.scoring.uncertainty import DRAWS, LEVEL, redraw
from algoperf_lightning.utilities.inputs import nearest_or_raise

Array = NDArray[np.float64]
Values = Array | NDArray[np.intp]

LEAST = 3
"""Minimum number of shared submissions for a coefficient."""
PERSISTENCE = 0.9
"""Parameter of rank-biased overlap: the first ten places have 86 % of the weight."""


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of agreement with its interval; NaN where one of the two rankings has only ties."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OnWorkload:
    """Agreement of the times on two workloads."""

    workload: str
    theirs: str
    """The workload of the board."""
    tau: Coefficient


@dataclass(frozen=True)
class Agreement:
    """Agreement of the scores of shared submissions; rows in the order of ``submissions``, best of the board first."""

    submissions: tuple[str, ...]
    """Names in the user's runs."""
    theirs: tuple[str, ...]
    """Names on the board."""
    scores: Array
    """Own scores, computed among the shared submissions, shape ``(S,)``."""
    board_scores: Array
    """The board's scores, computed among the shared submissions, shape ``(S,)``."""
    tau: Coefficient
    """Kendall's tau-b."""
    overlap: Coefficient
    """Rank-biased overlap, extrapolated, in [0, 1]."""
    ceiling: Coefficient
    """Tau between two resamples of the board's studies: the median, and its interval."""
    workloads: tuple[OnWorkload, ...]
    """Shared workloads, by their names on the board."""
    level: float
    draws: int
    caveats: tuple[str, ...]

    @property
    def ranks(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Own ranks and the board's, each of shape ``(S,)``; 1 is the best."""
        return ranks(self.scores), ranks(self.board_scores)


def kendall_tau(first: Array, second: Array) -> Array:
    """Return Kendall's tau-b along the last axis, shape ``(...)``; NaN if all values of one side are equal.

    Args:
        first: Values, shape ``(..., S)``; infinite ones are equal to each other.
        second: Values of the same items, shape ``(..., S)``.

    Example:
        >>> round(float(kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))), 3)
        0.333
    """
    a, b = _orders(first), _orders(second)
    pairs = np.sqrt((a != 0).sum(axis=(-2, -1)) * (b != 0).sum(axis=(-2, -1)).astype(float))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(axis=(-2, -1)) / pairs)


def _orders(values: Array) -> NDArray[np.int8]:
    """Return the sign of the difference of each pair, shape ``(..., S, S)``."""
    left, right = values[..., :, None], values[..., None, :]
    return (left < right).astype(np.int8) - (left > right).astype(np.int8)


def rank_biased_overlap(first: Values, second: Values, persistence: float = PERSISTENCE) -> Array:
    """Return the extrapolated rank-biased overlap of two complete rankings along the last axis, shape ``(...)``.

    The overlap at depth ``d`` is the share of the first ``d`` places that both rankings have in common, with weight
    ``persistence ** (d - 1)``; beyond the last place it is constant. Equal ranks form a set at the best of their
    places, as in section 4.5 of the paper.

    Args:
        first: Ranks from 1, equal ones sharing the better, shape ``(..., S)``.
        second: The other ranks, shape ``(..., S)``.
        persistence: ``p``, between 0 and 1.

    Example:
        >>> float(rank_biased_overlap(np.array([1, 2, 3]), np.array([1, 2, 3])))
        1.0
    """
    depth = np.arange(1, first.shape[-1] + 1)
    in_first, in_second = (ranking[..., None] <= depth for ranking in (first, second))  # (..., S, D)
    shared = 2 * (in_first & in_second).sum(axis=-2) / (in_first.sum(axis=-2) + in_second.sum(axis=-2))
    weights = (1 - persistence) * persistence ** (depth - 1.0)
    return np.asarray((shared * weights).sum(axis=-1) + shared[..., -1] * persistence ** len(depth))


def of_ruleset(runs: Runs, ruleset: str) -> Runs:
    """Return the runs under a ruleset, if there are any and others were made under another one; else all."""
    if ruleset not in (rulesets := present(trial.ruleset for trial in runs.trials)) or len(rulesets) == 1:
        return runs
    return Runs([trial for trial in runs.trials if trial.ruleset in (None, ruleset)], list(runs.findings))


def shared_runs(own: Runs, board: Runs, names: Mapping[str, str]) -> tuple[Runs, Runs]:
    """Return the runs of the shared submissions, those of the board under the names in ``own``.

    Args:
        own: The user's runs.
        board: The runs of the board.
        names: The board's name of a submission by its name in ``own``, if they differ.

    Raises:
        BadInputError: If a name is unknown, two submissions have the same name, or fewer than three are shared.
    """
    mine, theirs = (present(trial.submission for trial in runs.trials) for runs in (own, board))
    for name, other in names.items():
        nearest_or_raise("submission of the runs", name, dict.fromkeys(mine))
        nearest_or_raise("submission of the board", other, dict.fromkeys(theirs))
    pairs = {name: names.get(name, name) for name in mine if names.get(name, name) in theirs}
    if len(set(pairs.values())) < len(pairs):
        twice = next(other for other in pairs.values() if list(pairs.values()).count(other) > 1)
        raise BadInputError(
            f"{' and '.join(name for name in pairs if pairs[name] == twice)} cannot both be {twice} of the board. "
            "Give each submission of the board one name with --same-as, or leave one out with --exclude."
        )
    if len(pairs) < LEAST:
        raise BadInputError(
            f"Expected at least {LEAST} submissions that are in the runs and on the board, but found {len(pairs)}. The "
            f"runs have {', '.join(mine)}; the board has {', '.join(theirs)}. Name those that differ with --same-as, "
            "as in --same-as nadamw=baseline."
        )
    own_name = {other: name for name, other in pairs.items()}
    kept = [trial for trial in own.trials if trial.submission in pairs]
    renamed = [
        dataclasses.replace(trial, submission=own_name[trial.submission])
        for trial in board.trials
        if trial.submission in own_name
    ]
    return _with_trials(own, kept), _with_trials(board, renamed)


def _with_trials(runs: Runs, trials: list[Trial]) -> Runs:
    return Runs(trials, list(runs.findings))


def agreement(
    own: Leaderboard,
    board: Leaderboard,
    *,
    names: Mapping[str, str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Agreement:
    """Return the agreement of two leaderboards of the same submissions.

    Args:
        own: The leaderboard of the user's runs, see :func:`shared_runs`.
        board: The board's leaderboard, with the same names of submissions.
        names: The board's names of submissions, if they differ.
        draws: Number of bootstrap draws.
        seed: Seed of the bootstrap.
        level: Share of the draws in an interval.

    Raises:
        BadInputError: If the submissions differ, or a number is out of range.
    """
    if set(own.submissions) != set(board.submissions):
        raise BadInputError(
            f"The leaderboards contain different submissions: {', '.join(own.submissions)} and "
            f"{', '.join(board.submissions)}. Score those that both have."
        )
    if draws < 1 or seed < 0 or not 0 < level < 1:
        raise BadInputError(
            f"Expected draws >= 1, seed >= 0 and a level between 0 and 1, but got {draws}, {seed} and {level}."
        )
    order = board.order
    submissions = tuple(board.submissions[row] for row in order)
    rows = [own.submissions.index(name) for name in submissions]
    sides = [_Side(own, rows, draws, seed, 0), _Side(board, order, draws, seed, 1), _Side(board, order, draws, seed, 2)]
    interval = _Interval(level)
    among = kendall_tau(sides[1].drawn_scores, sides[2].drawn_scores)
    return Agreement(
        submissions=submissions,
        theirs=tuple((names or {}).get(name, name) for name in submissions),
        scores=sides[0].scores,
        board_scores=sides[1].scores,
        tau=interval(kendall_tau, sides[0].scores, sides[1].scores, sides[0].drawn_scores, sides[1].drawn_scores),
        overlap=interval(
            rank_biased_overlap,
            *(ranks(side.scores) for side in sides[:2]),
            *(ranks(side.drawn_scores) for side in sides[:2]),
        ),
        ceiling=Coefficient(float(np.nanmedian(among)) if np.isfinite(among).any() else np.nan, *interval.ends(among)),
        workloads=tuple(_on_workloads(sides[0], sides[1], interval)),
        level=level,
        draws=draws,
        caveats=tuple(_caveats(own, "own runs") + _caveats(board, "the board's runs")),
    )


class _Side:
    """The scores and times of one side, measured and resampled; rows in the order of the board."""

    def __init__(self, board: Leaderboard, rows: Sequence[int], draws: int, seed: int, stream: int) -> None:
        drawn = redraw(board.table, board.mode, draws, np.random.default_rng([seed, stream]))
        self.workloads = [workload.name for workload in board.benchmark.base]
        self.scores = board.scores[rows]
        self.drawn_scores = score_times(drawn, board.benchmark, board.reference)[2][:, rows]
        self.times = board.times[rows]
        self.drawn_times = drawn[:, rows]


@dataclass(frozen=True)
class _Interval:
    level: float

    def __call__(
        self, measure: Callable[..., Array], own: Values, board: Values, drawn_own: Values, drawn_board: Values
    ) -> Coefficient:
        return Coefficient(float(measure(own, board)), *self.ends(measure(drawn_own, drawn_board)))

    def ends(self, drawn: Array) -> tuple[float, float]:
        known = drawn[np.isfinite(drawn)]
        if not known.size:
            return np.nan, np.nan
        low, high = np.quantile(known, [(1 - self.level) / 2, (1 + self.level) / 2])
        return float(low), float(high)


def _on_workloads(own: _Side, board: _Side, interval: _Interval) -> list[OnWorkload]:
    found = []
    for name in sorted(own.workloads, key=natural):
        theirs = _counterpart(name, board.workloads)
        if theirs is None:
            continue
        columns = own.workloads.index(name), board.workloads.index(theirs)
        # A submission without a log of this workload counts as slower than all with one.
        times, drawn = (
            [np.nan_to_num(each[..., column], nan=np.inf) for each, column in zip(pair, columns, strict=True)]
            for pair in ((own.times, board.times), (own.drawn_times, board.drawn_times))
        )
        found.append(OnWorkload(name, theirs, interval(kendall_tau, *times, *drawn)))
    return found


def _counterpart(name: str, board: Sequence[str]) -> str | None:
    """Return the board's workload with the same name, or the one of which this is a variant (``wmt_tiny``)."""
    return max((each for each in board if f"{name}_".startswith(f"{each}_")), key=len, default=None)


def _caveats(board: Leaderboard, whose: str) -> list[str]:
    studies = (~np.isnan(board.table.times)).any(axis=-1).sum(axis=-1)  # (S, W)
    single = [name for name, counts in zip(board.submissions, studies, strict=True) if (counts == 1).any()]
    if not single:
        return []
    return [f"The intervals are too narrow: {whose} of {', '.join(single)} have one study of some workloads."]
