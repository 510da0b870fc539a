"""All checks of the contract, and their execution."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from algoperf_lightning.contract import Contract
from algoperf_lightning.errors import BadInputError, in_one_line
from algoperf_lightning.rng import get_rng_state, set_rng_state
from algoperf_lightning.rules.global_state import differences
from algoperf_lightning.submission import Submission
from algoperf_lightning.utilities.inputs import nearest_or_raise

from . import geometry, gradients, numbers, rates, saved, surroundings
from .compare import Failed, NotApplicable
from .ranks import ranks
from .report import Report, Row
from .run import Run
from .stage import Problem, Stage
from .subject import OptimizerFactory, Subject, of_optimizer, of_submission, restricted_to


@dataclass(frozen=True)
class Check:
    """One check."""

    name: str
    function: Callable[[Subject], str]
    """Returns the measurement or raises ``Failed`` or ``NotApplicable``. The docstring is the checked property."""
    meaning: str
    """Meaning of a failure."""

    @property
    def title(self) -> str:
        """The checked property."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


CHECKS: Mapping[str, Check] = {
    check.name: check
    for check in (
        Check("roles", geometry.roles, "The optimizer alone cannot train a model of the benchmark."),
        Check("convolution", geometry.convolution, "The scale of steps is computed from the wrong axes of a kernel."),
        Check(
            "symmetry",
            geometry.symmetry,
            "The algorithm differs from its description, for example because axes are confused.",
        ),
        Check("resume", saved.resume, "An interrupted run gives different results."),
        Check("state", saved.state, "state_dict does not contain everything that affects later steps."),
        Check("memory", saved.memory, "A long run runs out of memory."),
        Check("ranks", ranks, "Training on several GPUs is a different algorithm, or hangs."),
        Check("foreach", numbers.foreach, "Parameters that are updated together affect each other."),
        Check("order", numbers.order, "State is tied to the position of a parameter in a list, not to the parameter."),
        Check("float32", numbers.float32, "Rounding errors dominate, for example in differences of close numbers."),
        Check("bfloat16", numbers.bfloat16, "Runs with precision bf16-true fail."),
        Check("float16", numbers.float16, "Runs with precision 16-true fail; 16-mixed keeps float32 parameters."),
        Check("missing_gradients", gradients.missing_gradients, "Layers that a step does not use are changed."),
        Check(
            "zero_gradients",
            gradients.zero_gradients,
            "Dead units, padding or a frozen layer give 0 / 0 = NaN.",
        ),
        Check("sparse_gradients", gradients.sparse_gradients, "Tokens that are not in the batch give NaN."),
        Check(
            "gradient_kept",
            gradients.gradient_kept,
            "Zeroing gradients in place changes the optimizer's state.",
        ),
        Check(
            "gradient_modified",
            gradients.gradient_modified,
            "Logs of gradients after a step are wrong.",
        ),
        Check(
            "closure",
            gradients.closure,
            "Lightning computes the gradient in the closure: a step uses an old gradient.",
        ),
        Check("zero_learning_rate", rates.zero_learning_rate, "Parameters move after the end of a schedule."),
        Check("schedule", rates.schedule, "The learning rate is frozen: schedules and tuning have no effect."),
        Check(
            "global_state",
            surroundings.global_state,
            "It affects the measurement, or depends on earlier code in the process.",
        ),
        Check("attributes", surroundings.attributes, "A setting has no effect."),
        Check("compile", numbers.compiled, "The compiled step is a different algorithm, or raises an error."),
    )
}
"""All checks, by name."""


def check_submission(
    submission: type[Submission],
    *,
    contract: Contract | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    **options: Any,
) -> Report:
    """Check a submission against the contract, on the CPU and without data.

    Args:
        submission: Class of the submission.
        contract: Declarations of the submission; None uses its attribute ``contract``.
        only: Names of the checks to run; empty means all checks.
        skip: Names of the checks to skip.
        **options: Hyperparameters.

    Raises:
        BadInputError: If a check is unknown, or the submission cannot be created.

    Example:
        >>> import torch
        >>> class Plain(Submission):
        ...     def configure_optimizers(self, model, workload):
        ...         return torch.optim.SGD(model.parameters(), lr=0.1)
        >>> check_submission(Plain, only=["gradient_kept"]).raise_if_failed()["gradient_kept"].status
        'passed'
    """
    subject = of_submission(submission, options, contract)
    return _report(subject, only, skip)


def check_optimizer(
    factory: OptimizerFactory,
    *,
    contract: Contract | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    **options: Any,
) -> Report:
    """Check an optimizer against the contract, with a linear schedule if its groups have a learning rate.

    Args:
        factory: Optimizer class, or another callable that takes parameters or parameter groups and returns an
            optimizer.
        contract: Declarations of the optimizer; None uses the attribute ``contract`` of the factory, if present.
        only: Names of the checks to run; empty means all checks.
        skip: Names of the checks to skip.
        **options: Additional arguments of the factory.

    Raises:
        BadInputError: If a check is unknown, or the optimizer accepts no parameters of any kind.

    Example:
        >>> import torch
        >>> check_optimizer(torch.optim.AdamW, lr=0.01, only=["closure"]).raise_if_failed()["closure"].status
        'passed'
    """
    if contract is None:
        contract = getattr(factory, "contract", Contract())
    subject = of_optimizer(factory, getattr(factory, "__name__", type(factory).__name__), options, contract)
    return _report(subject, only, skip)


def _report(subject: Subject, only: Collection[str], skip: Collection[str]) -> Report:
    for name in (*only, *skip, *subject.contract.exempt):
        nearest_or_raise("check", name, CHECKS)
    begun, rng = time.perf_counter(), get_rng_state()
    before = surroundings.settings()
    subject, refused = _that_takes(subject)
    subject = replace(subject, changes=tuple(differences(before, surroundings.settings())))
    try:
        chosen = [check for check in CHECKS.values() if not only or check.name in only]
        rows = [_timed_row(check, subject, refused, skipped=check.name in skip) for check in chosen]
    finally:
        set_rng_state(rng)
    return Report(subject.name, tuple(rows), time.perf_counter() - begun)


def _timed_row(check: Check, subject: Subject, refused: str, *, skipped: bool) -> Row:
    begun = time.perf_counter()
    row = _row(check, subject, refused, skipped=skipped)
    return replace(row, seconds=time.perf_counter() - begun)


def _row(check: Check, subject: Subject, refused: str, *, skipped: bool) -> Row:
    if reason := subject.contract.exempt.get(check.name):
        return Row(check.name, "not applicable", f"declared: {reason}")
    if skipped:
        return Row(check.name, "not applicable", "skipped")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = geometry.roles(subject, refused) if check.name == "roles" else check.function(subject)
    except NotApplicable as error:
        return Row(check.name, "not applicable", str(error))
    except Failed as error:
        return Row(check.name, "failed", str(error), check.meaning)
    except Exception as error:
        return Row(check.name, "failed", in_one_line(error), check.meaning)
    return Row(check.name, "passed", found)


def _that_takes(subject: Subject) -> tuple[Subject, str]:
    """Return the subject with the parameters that it accepts, and a description of those that it rejects.

    Raises:
        BadInputError: If it accepts none.
    """
    try:
        Run(subject).steps(2)
    except Exception as error:
        if subject.factory is None:
            raise BadInputError(f"{subject.name} cannot train a small problem: {in_one_line(error)}.") from error
        return _restricted(subject)
    return subject, ""


def _restricted(subject: Subject) -> tuple[Subject, str]:
    network = Stage(Problem()).network
    taken, shapes, reason = [], set(), ""
    for name, parameter in network.named_parameters():
        try:
            Run(restricted_to(subject, [name])).steps(2)
            taken.append(name)
        except Exception as error:
            shapes.add(f"{parameter.ndim}-d")
            reason = in_one_line(error)
    if not taken:
        raise BadInputError(
            f"{subject.name} cannot train any tensor: {reason}. Pass the arguments that it needs: --option lr=0.1."
        )
    return restricted_to(subject, taken), f"does not accept {', '.join(sorted(shapes))} tensors ({reason})"
