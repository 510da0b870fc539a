"""LAWA: which snapshots are taken, what is evaluated, and that training does not see it."""

import lightning as L
import pytest
import torch
from odd_digits import OddDigits, make

from algoperf_lightning import get_submission
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.testing import train

# With a step hint of 12: ceil(1.2) = 2 steps, and after the third the first snapshot; then every ceil(1.8) = 2 steps.
EVERY_TWO = {"lawa_start_factor": 0.1, "lawa_interval_factor": 0.15}


class Trajectory(L.Callback):
    """The weights after every step, and those that an evaluation there would see."""

    def __init__(self):
        self.trained, self.evaluated = [None], [None]

    def on_train_batch_end(self, trainer, pl_module, *args):
        def weights():
            return [p.detach().clone() for p in pl_module.network.parameters()]

        before = weights()
        pl_module.submission.before_evaluation(pl_module.network)
        self.evaluated.append(weights())
        pl_module.submission.after_evaluation(pl_module.network)
        assert all(torch.equal(one, other) for one, other in zip(before, weights(), strict=True))
        self.trained.append(before)


def trajectory(name, steps, folder, **options):
    path = Trajectory()
    train(OddDigits(make(name, **EVERY_TWO, **options)), steps, folder, callbacks=[path])
    return path


def assert_close(ones, others):
    for one, other in zip(ones, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_the_queue_is_the_mean_of_its_last_snapshots_once_it_is_full(tmp_path):
    path = trajectory("lawa_queue", 10, tmp_path, lawa_queue_length=3)
    for step in range(1, 7):  # snapshots after steps 3, 5: too few
        assert_close(path.evaluated[step], path.trained[step])
    for step, snapshots in ((7, (3, 5, 7)), (8, (3, 5, 7)), (9, (5, 7, 9)), (10, (5, 7, 9))):
        means = [sum(values) / 3 for values in zip(*(path.trained[s] for s in snapshots), strict=True)]
        assert_close(path.evaluated[step], means)


@pytest.mark.parametrize("beta", [0.2, 0.0], ids=["as-meant", "as-scored"])
def test_the_moving_average_moves_at_snapshots(beta, tmp_path):
    path = trajectory("lawa_ema", 8, tmp_path, lawa_ema_beta=beta)
    for step in (1, 2):
        assert_close(path.evaluated[step], path.trained[step])
    average = path.trained[3]
    for step in range(3, 9):
        if step in (5, 7):
            average = [beta * e + (1 - beta) * p for e, p in zip(average, path.trained[step], strict=True)]
        assert_close(path.evaluated[step], average)


@pytest.mark.parametrize("name", ["lawa_queue", "lawa_ema"])
def test_snapshots_enter_after_the_steps_after_which_the_entries_took_them(name, tmp_path):
    """Golden: with a start of 4 and an interval of 3, the entry's own code took them after steps 5, 8 and 11."""
    taken = []
    submission = make(name, lawa_start_factor=0.3, lawa_interval_factor=0.25)  # ceil(3.6) and 3 of 12 steps
    take = submission.take
    workload = OddDigits(submission)

    class Count(L.Callback):
        steps = 0

        def on_before_optimizer_step(self, *_):
            self.steps += 1

    count = Count()
    submission.take = lambda snapshot: (taken.append(count.steps), take(snapshot))
    train(workload, 12, tmp_path, callbacks=[count])
    assert taken == [5, 8, 11]


@pytest.mark.parametrize("name", ["lawa_queue", "lawa_ema"])
def test_it_trains_as_nadamw_but_for_the_first_step(name, tmp_path):
    """Its first step is made at the peak learning rate; the schedule goes on as NadamW's."""
    lawa, rates = OddDigits(make(name)), []

    class Rates(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

    train(lawa, 5, tmp_path, callbacks=[Rates()])
    peak = get_submission("nadamw")().learning_rate
    assert rates[0] == peak
    assert rates[1] == pytest.approx(peak)  # int(0.1 * 12) = 1 step of warm-up
    assert rates[2] < peak


def test_snapshots_are_on_the_cpu_and_in_the_checkpoint(tmp_path):
    workload = OddDigits(make("lawa_queue", **EVERY_TWO, lawa_queue_length=2))
    train(workload, 7, tmp_path).save_checkpoint(tmp_path / "last.ckpt")
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["algoperf_lightning"]["ranks"][0]["submission"]
    assert state["step"] == 7
    assert len(state["snapshots"]) == 2
    for value, parameter in zip(state["snapshots"][-1], workload.network.parameters(), strict=True):
        assert value.device.type == "cpu"
        assert torch.equal(value, parameter.detach())  # of step 7
        assert value.data_ptr() != parameter.data_ptr()


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("lawa_queue", "lawa_interval_factor", 0.0),
        ("lawa_ema", "lawa_interval_factor", 0.0),
        ("lawa_queue", "lawa_queue_length", 0),
        ("cyclic_lr", "num_cycles", 0),
    ],
)
def test_an_empty_interval_queue_or_cycle_is_refused(name, argument, value):
    submission = get_submission(name)
    with pytest.raises(BadInputError, match=rf"{submission.__name__}: {argument} must be .*, but got {value}\."):
        submission(**{argument: value})
