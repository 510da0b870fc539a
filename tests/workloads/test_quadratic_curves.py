"""quadratic_deep against the published curves of "Descending through a Crowded Valley"."""

import lightning as L
import pytest
import torch
from valley_curves import BATCH, PUBLISHED, STEPS, curves, make

from algoperf_lightning.callbacks import TimeBudget
from algoperf_lightning.data.examples import Permutations, WholeBatches


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "schedule", "instance", "published"), PUBLISHED, ids=[f"{row[0]}-{row[1]}" for row in PUBLISHED]
)
def test_the_published_curve_is_within_the_spread_of_the_orders_of_the_data(name, schedule, instance, published):
    found = curves(name, schedule, instance)
    spread = found.std(dim=0) + 1e-4 * found.mean(dim=0)
    distance = (torch.tensor(published) - found.mean(dim=0)).abs() / spread
    assert (distance < 4).all(), distance


@pytest.mark.slow
def test_other_rules_of_the_same_names_are_outside_that_spread():
    """As the study's are not those of the papers: Lookahead discards gradients, and RMSProp begins at 1."""
    for name, instance, place, published in (
        ("lookahead_radam", 1, 0, 208.92),
        ("lookahead_momentum", 1, 1, 122.50),
        ("rmsprop", 12, 0, 362.4735),
    ):
        faithful = curves(name, "constant", instance)[:, place]
        other = curves(name, "constant", instance, faithful=False)[:, place]
        assert abs(published - faithful.mean()) < 4 * faithful.std() + 1e-4 * published
        assert abs(published - other.mean()) > 4 * other.std() + 1e-4 * published, name


def test_a_run_of_the_engine_goes_where_the_plain_loop_goes(tmp_path):
    workload = make("adam", "cosine", 1, 3)
    budget = TimeBudget(unit="epochs", budget=2)
    trainer = L.Trainer(
        callbacks=[budget],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(workload)
    found = [each.metrics["test/loss"] for each in budget.result.evaluations]
    assert found[0] == pytest.approx(353.44677, rel=1e-6)  # of the point at ones, as published
    assert [each.step for each in budget.result.evaluations] == [0, STEPS, 2 * STEPS]
    train = workload.data.open("train").columns["inputs"]
    order = WholeBatches(Permutations(len(train), workload.data.seed), len(train), BATCH)
    model = workload.build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    test = workload.data.open("test").columns["inputs"]
    for epoch, factor in enumerate((1.0, 0.5)):
        optimizer.param_groups[0]["lr"] = 1e-3 * factor
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            optimizer.zero_grad()
            model(train[order.take(step * BATCH, BATCH)]).mean().backward()
            optimizer.step()
        with torch.no_grad():
            assert found[epoch + 1] == pytest.approx(float(model(test).mean()), rel=1e-5)
