"""Results with evaluations of given metrics, and ways to write and to compare them."""

from algoperf_lightning.result import Evaluation, Status, TrialResult


def evaluation(step, validation, test=0.5, **changes):
    metrics = {"train/accuracy": 0.25, "validation/accuracy": validation, "test/accuracy": test}
    values = {"step": step, "submission_seconds": step / 10, "wall_seconds": step / 8, "loss": 1 / step}
    return Evaluation(**{**values, "metrics": metrics, **changes})


def trial(*evaluations, **changes):
    values = {
        "workload": "shapes_large",
        "version": "1.0",
        "ruleset": "external",
        "submission": "adamw",
        "hyperparameters": {"lr": 1e-3, "warmup": 0.05, "nesterov": True, "dropout": None, "name": "½"},
        "seed": 2**62,
        "batch_size": 64,
        "budget": 77.0,
        "eval_period": 1.5,
        "metric": "accuracy",
        "direction": "max",
        "validation_target": 0.9,
        "test_target": 0.8,
        "stop_at": "validation",
        "environment": {"torch": "2.11", "devices": 8},
    }
    return TrialResult(**{**values, **changes}, evaluations=list(evaluations))


def write(result, folder):
    result.write_trial(folder)
    result.write_evaluations(folder)


def same(one, other):
    """Equal, with NaN equal to NaN."""
    one, other = (vars(each) if isinstance(each, TrialResult) else each for each in (one, other))
    return repr(one) == repr(other)


def ended(status, **more):
    """A trial with a status that its evaluation agrees with."""
    return trial(evaluation(10, 0.95 if status is Status.REACHED else 0.1), status=status, **more)
