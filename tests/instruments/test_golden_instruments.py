"""The instruments on the nets of the golden numbers: what reaches a row, not only the functions behind it."""

import copy
import math

import pytest
import torch
from golden_nets import Golden, Net, measured
from torch import nn
from torchmetrics.functional.classification import multiclass_recall

from algoperf_lightning.instruments.instrument import INSTRUMENTS
from algoperf_lightning.instruments.look import Look
from algoperf_lightning.instruments.probe import Probe, UnmeasurableError
from algoperf_lightning.instruments.undisturbed import undisturbed

NETS = pytest.mark.parametrize("name", ["mlp", "conv"])
BY_LAYER = {
    "mlp": {
        "gradient_norms": [0.04452444413, 0.02588189804, 0.119458541, 0.1093774466],
        "hessian_traces": [0.1319495632, 0.0297300449, 0.8046301538, 0.6400073245],
        "gauss_newton_traces": [0.1051981815, 0.02750839396, 0.8046301538, 0.6400073245],
    },
    "conv": {
        "gradient_norms": [0.4588789569, 0.1070879364, 0.2213456018, 0.08736069836],
        "hessian_traces": [1.771396332, 0.1371332699, 2.380558225, 0.664725308],
        "gauss_newton_traces": [1.771396332, 0.1371332699, 2.380558225, 0.664725308],
    },
}
SQUARED_NORMS = {
    "mlp": [1.98352884, 1.11254758, 2.18253227, 1.67666269, 2.04039352, 1.03342324, 1.16626819, 1.78039133],
    "conv": [7.02980183, 6.2506355, 3.43931671, 3.50787848, 6.75293457, 5.99887171, 5.17996865, 3.01379572],
}


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def near(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@NETS
def test_rows_of_three_steps_hold_the_golden_numbers(name):
    rows, _ = measured(Golden(name), sgd)
    golden = Net(name).golden
    exact = {"gradient_norm", "norm_test", "inner_product_test", "orthogonality_test", "mean_gsnr", "early_stopping"}
    for key in {*exact, "loss", "cabs", "alpha", "update_size", "distance"}:
        values = golden[key]
        assert [row[key] for row in rows[: len(values)]] == near(values), key
    first = rows[0]
    assert list(first["gradient_norms"].values()) == near(BY_LAYER[name]["gradient_norms"])
    if name == "mlp":
        assert first["gradient_variance"] == pytest.approx(1.82066559, rel=1e-8)
    expected = {
        "mlp": (-0.920433908, -0.00277378728, 0.794981774, -0.00277372068),
        "conv": (-0.833889046, -0.0261044162, 1.26455947, -0.0258766856),
    }[name]
    keys = ("same_batch_step_length", "predicted_loss_change", "directional_sharpness", "loss_change")
    assert [first[key] for key in keys] == pytest.approx(expected, rel=1e-8)
    for row, largest, trace, tic in zip(
        rows, golden["largest"], golden["hessian_trace"], golden["tic_trace"], strict=True
    ):
        assert row["largest_eigenvalue"] == pytest.approx(largest, rel=1e-3)
        assert row["sharpness_to_limit"] == pytest.approx(largest * 0.1 / 2, rel=1e-3)
        assert row["hessian_trace_error"] < 0.5 * trace
        assert row["hessian_trace"] == pytest.approx(trace, abs=4 * row["hessian_trace_error"])
        assert row["tic_trace"] * row["gauss_newton_trace"] == pytest.approx(tic * trace, rel=1e-6)


@NETS
def test_the_largest_eigenvalue_does_not_depend_on_the_random_start(name):
    largest = Net(name).golden["largest"][0]
    for seed in range(12):
        with undisturbed(seed):
            probe = Probe(Golden(name), Golden(name).batch(0), seed=seed)
            found = INSTRUMENTS["eigenvalues"].before(Look(0, probe, loss_type="softmax_cross_entropy"))
        assert found["largest_eigenvalue"] == pytest.approx(largest, rel=1e-3), seed


@NETS
def test_traces_by_layer_and_norms_of_single_examples(name):
    net = Net(name)
    rows, hessian = net.rows(net.vector, net.batch(0)), net.hessian(net.vector, net.batch(0))
    assert rows.square().sum(dim=1).tolist() == pytest.approx(SQUARED_NORMS[name], rel=1e-8)
    parts = [float(each.sum()) for each in net.unflatten(hessian.diagonal()).values()]
    assert parts == near(BY_LAYER[name]["hessian_traces"])
    with undisturbed(0):
        look = Look(0, Probe(Golden(name), Golden(name).batch(0)), loss_type="softmax_cross_entropy")
        for key in ("hessian_trace", "gauss_newton_trace"):
            found = INSTRUMENTS[key].before(look)
            error = found[f"{key}_error"]
            assert sum(found[f"{key}s"].values()) == pytest.approx(found[key])
            assert list(found[f"{key}s"].values()) == pytest.approx(BY_LAYER[name][f"{key}s"], abs=4 * error)


@NETS
def test_the_modern_set_is_what_plain_pytorch_computes(name):
    rows, weights = measured(Golden(name), lambda p: torch.optim.Adam(p, lr=0.05), gradient_clip=0.2)
    net, row = Net(name), rows[1]
    before, after, last = weights[1:]
    gradients = [net.rows(point, net.batch(number)).mean(dim=0) for number, point in enumerate(weights[:3])]
    update, clipped = after - before, [g * min(1.0, 0.2 / float(g.norm())) for g in gradients]

    def cos(one, other):
        return float(nn.functional.cosine_similarity(one, other, dim=0))

    old, moved = net.unflatten(before), net.unflatten(update)
    ratios = [float((moved[k].square().mean() / old[k].square().mean()).sqrt()) for k in net.shapes]
    assert list(row["update_ratios"].values()) == near(ratios)
    assert row["clip_ratio"] == near(float(gradients[1].norm()) / 0.2)
    assert row["cosine_descent"] == near(cos(-gradients[1], update))
    assert row["cosine_gradients"] == near(cos(gradients[1], gradients[2]))
    assert row["cosine_updates"] == near(cos(update, last - after))
    moment = net.unflatten(0.09 * clipped[0] + 0.1 * clipped[1])
    square = net.unflatten(0.999e-3 * clipped[0] ** 2 + 1e-3 * clipped[1] ** 2)
    assert list(row["state_norms/exp_avg"].values()) == pytest.approx(
        [float(moment[k].norm()) for k in net.shapes], rel=1e-5
    )
    assert list(row["state_norms/exp_avg_sq"].values()) == pytest.approx(
        [float(square[k].norm()) for k in net.shapes], rel=1e-5
    )
    preconditioner = (net.flatten(square) / (1 - 0.999**2)).sqrt().add(1e-8) * (1 - 0.9**2)
    root = preconditioner.rsqrt()
    largest = torch.linalg.eigvalsh(root[:, None] * net.hessian(before, net.batch(1)) * root)[-1]
    assert row["sharpness_to_limit"] == pytest.approx(float(largest) * 0.05 / 38, rel=2e-3)
    assert torch.allclose(update, -0.05 * net.flatten(moment) / preconditioner, atol=1e-5), (
        "which makes it that of the step"
    )
    logits = net.logits(before, net.batch(1)[0])
    q = torch.distributions.Categorical(logits=logits)
    z = logits.exp().sum(dim=1).log()
    found = [row[f"output_{key}"] for key in ("largest", "logsumexp", "squared_logsumexp", "entropy")]
    expected = [logits.max(), z.mean(), (z * z).mean(), q.entropy().mean()]
    assert found == pytest.approx([float(each) for each in expected], rel=1e-6)
    assert row["batch_accuracy"] == float((logits.argmax(dim=1) == net.batch(1)[1]).float().mean())
    for key, rank in row["stable_ranks"].items():
        singular = torch.linalg.svdvals(old[key].flatten(1))
        assert rank == near(float((singular**2).sum() / singular[0] ** 2))
        assert row["effective_ranks"][key] == near(float(torch.distributions.Categorical(singular).entropy().exp()))
        assert row["conditions"][key] == near(float(torch.linalg.cond(old[key].flatten(1))))
    _check_activations(net, before, row)


def _check_activations(net, point, row):
    model, values = copy.deepcopy(net.model), net.batch(1)[0]
    for p, piece in zip(model.parameters(), net.unflatten(point).values(), strict=True):
        p.data.copy_(piece)
    for number, module in enumerate(model):
        values = module(values)
        assert row["activation_rms"][str(number)] == pytest.approx(float(values.square().mean().sqrt()), rel=1e-5)
        assert row["activation_largest"][str(number)] == pytest.approx(float(values.abs().max()), rel=1e-5)
        if isinstance(module, nn.ReLU):
            assert row["dead_units"] == {str(number): float((values.amax(dim=(0, 2, 3)) == 0).float().mean())}


def test_shares_correct_by_class_are_recalls_of_the_examples_that_are_not_padded():
    golden, generator = Golden("mlp"), torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(40, 6, generator=generator).double(), torch.randint(3, (40,), generator=generator)
    targets[targets == 2] = torch.arange(int((targets == 2).sum())) % 2
    targets[:3] = 2  # too few
    batch = {"inputs": inputs, "targets": targets, "weights": (torch.arange(40) < 30).float()}
    found = INSTRUMENTS["accuracy"].before(Look(0, Probe(golden, batch), loss_type="softmax_cross_entropy"))
    logits = golden.outputs(batch)[:30]
    recalls = multiclass_recall(logits, targets[:30], num_classes=3, average="none")
    assert found["class_accuracies"] == {"0": pytest.approx(float(recalls[0])), "1": pytest.approx(float(recalls[1]))}
    micro = multiclass_recall(logits, targets[:30], num_classes=3, average="micro")
    assert found["batch_accuracy"] == pytest.approx(float(micro))
    batch["weights"][:] = 0.0
    found = INSTRUMENTS["accuracy"].before(Look(0, Probe(golden, batch), loss_type="softmax_cross_entropy"))
    assert math.isnan(found["batch_accuracy"])
    assert found["class_accuracies"] == {}
    with pytest.raises(UnmeasurableError, match="does not classify"):
        INSTRUMENTS["accuracy"].before(Look(0, Probe(golden, batch), loss_type="mean_squared_error"))


def test_a_clipped_step_of_sgd_has_a_smaller_learning_rate():
    rows, _ = measured(Golden("conv"), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5), steps=1, gradient_clip=0.1)
    clip = 0.1 / Net("conv").golden["gradient_norm"][0]
    expected = Net("conv").golden["largest"][0] * 0.1 * clip / 3
    assert rows[0]["sharpness_to_limit"] == pytest.approx(expected, rel=1e-3)
