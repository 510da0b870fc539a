"""Golden numbers of Cockpit 1.0.2, which independent code gives to 1e-13, for three steps of SGD on two nets."""

import math
from itertools import pairwise

import pytest
import torch
from golden_nets import Net

from algoperf_lightning.instruments import curvature, histograms, noise, steps

NETS = pytest.mark.parametrize("name", ["mlp", "conv"])
RATE = 0.1


def near(value):
    """As near as the golden numbers have digits."""
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.fixture(scope="module", params=["mlp", "conv"])
def run(request):
    """The net, and of each of three steps of SGD: parameters, batch, rows."""
    net = Net(request.param)
    vector, found = net.vector, []
    for number in range(3):
        batch = net.batch(number)
        rows = net.rows(vector, batch)
        found.append((vector, batch, rows))
        vector = vector - RATE * rows.mean(dim=0)
    return net, found


@NETS
def test_the_nets_are_those_of_the_numbers(name):
    net = Net(name)
    first = {"mlp": [0.31979187, 0.09767313, -0.4010846, 0.23614704], "conv": [0.26110897, 0.07974978]}
    assert net.vector[: len(first[name])].tolist() == pytest.approx(first[name], abs=5e-9)
    assert net.batch(0)[1].tolist() == [0, 2, 1, 1, 0, 2, 2, 1]
    logits = {"mlp": [-0.13457348, 0.17817322, 0.45627193], "conv": [0.12776644, 0.13113992, 0.39197969]}
    assert net.logits(net.vector, net.batch(0)[0])[0].tolist() == pytest.approx(logits[name], abs=5e-9)


@pytest.mark.parametrize(
    "name", ["norm_test", "inner_product_test", "orthogonality_test", "mean_gsnr", "early_stopping"]
)
def test_measures_of_noise(run, name):
    net, found = run
    values = [getattr(noise, name)(noise.Moments.of(rows)) for _, _, rows in found]
    assert values == near(net.golden[name])


def test_losses_suggested_batch_sizes_and_norms(run):
    net, found = run
    moments = [noise.Moments.of(rows) for _, _, rows in found]
    losses = [float(net.losses(vector, batch).mean()) for vector, batch, _ in found]
    assert losses == near(net.golden["loss"])
    assert [noise.cabs(*each) for each in zip(moments, [RATE] * 3, losses, strict=True)] == near(net.golden["cabs"])
    sizes = [steps.total(steps.norms(net.unflatten(each.gradient))) for each in moments]
    assert sizes == near(net.golden["gradient_norm"])
    start = found[0][0]
    assert [float((vector - start).norm()) for vector, _, _ in found] == near(net.golden["distance"])
    assert [float((after[0] - before[0]).norm()) for before, after in pairwise(found)] == near(
        net.golden["update_size"]
    )


def test_curvature_and_the_information_criterion(run):
    net, found = run
    for number, (vector, batch, rows) in enumerate(found):
        hessian, moments = net.hessian(vector, batch), noise.Moments.of(rows)
        golden = {name: values[number] for name, values in net.golden.items() if len(values) == 3}
        assert float(hessian.trace()) == near(golden["hessian_trace"])
        assert noise.tic_trace(moments, float(hessian.trace())) == near(golden["tic_trace"])
        assert noise.tic_diagonal(moments, hessian.diagonal()) == near(golden["tic_diagonal"])
        spectrum = curvature.lanczos(lambda v, h=hessian: h @ v, torch.ones_like(vector), len(vector))
        assert (spectrum.largest, spectrum.smallest) == near((golden["largest"], golden["smallest"]))
        logits, pull = torch.func.vjp(lambda point, inputs=batch[0]: net.logits(point, inputs), vector)
        root = curvature.softmax_root(logits, torch.full((8,), 1 / 8, dtype=torch.float64))
        squares = sum(
            (pull(torch.zeros_like(logits).index_copy(0, torch.tensor([b]), column[b : b + 1]))[0] ** 2)
            for column in root
            for b in range(8)
        )
        assert float(squares.sum()) == near(golden["ggn_trace"])


def test_the_step_length_of_two_batches(run):
    net, found = run
    values = []
    for (vector, batch, rows), (after, next_batch, next_rows) in pairwise(found):
        update = after - vector
        direction, distance = update / update.norm(), float(update.norm())
        start = steps.Slope.of(net.losses(vector, batch), rows @ direction)
        end = steps.Slope.of(net.losses(after, next_batch), next_rows @ direction)
        values.append(steps.step_length(start, end, distance))
    assert values == near(net.golden["alpha"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mlp", (-0.920433908, -0.00277378728, 0.794981774)), ("conv", (-0.833889046, -0.0261044162, 1.26455947))],
)
def test_the_step_length_on_one_batch_and_what_was_predicted(name, expected):
    net = Net(name)
    vector, batch = net.vector, net.batch(0)
    gradient = net.rows(vector, batch).mean(dim=0)
    update = -RATE * gradient
    product = net.hessian(vector, batch) @ update
    after = net.rows(vector + update, batch).mean(dim=0)
    found = (
        steps.same_batch_step_length(gradient, after, update),
        steps.predicted_decrease(gradient, product, update),
        steps.directional_sharpness(product, update),
    )
    assert found == pytest.approx(expected, rel=1e-8)
    real = float(net.losses(vector + update, batch).mean() - net.losses(vector, batch).mean())
    assert real == pytest.approx({"mlp": -0.00277372068, "conv": -0.0258766856}[name], rel=1e-8)


@pytest.mark.parametrize(
    ("name", "optimizer", "expected"),
    [
        ("mlp", "adam", [1.864196436, 0.105869047]),
        ("conv", "adam", [1.535888865, 0.6594789336]),
        ("mlp", "momentum", [-0.2314488946, -1.0]),
        ("conv", "momentum", [0.5159581898, 1.015841361]),
    ],
)
def test_the_step_length_of_other_optimizers(name, optimizer, expected):
    net = Net(name)
    point = net.vector.requires_grad_()
    made = {
        "adam": lambda: torch.optim.Adam([point], lr=0.1),
        "momentum": lambda: torch.optim.SGD([point], lr=0.1, momentum=0.9),
    }[optimizer]()
    values, before = [], None
    for number in range(3):
        batch, vector = net.batch(number), point.detach().clone()
        rows, losses = net.rows(vector, batch), net.losses(vector, batch)
        if before is not None:
            start, old_rows, old_losses = before
            update = vector - start
            direction = update / update.norm()
            values.append(
                steps.step_length(
                    steps.Slope.of(old_losses, old_rows @ direction),
                    steps.Slope.of(losses, rows @ direction),
                    float(update.norm()),
                )
            )
        before = vector, rows, losses
        point.grad = rows.mean(dim=0)
        made.step()
    assert values == near(expected)


def test_groups_of_examples_estimate_the_same_numbers():
    for name, expected in (
        ("mlp", (2.81467543, 2.02469344, 1.95525299)),
        ("conv", (1.34613524, 0.41275623, 1.28129325)),
    ):
        net = Net(name)
        rows = net.rows(net.vector, net.batch(0)).view(4, 2, -1).mean(dim=1)
        moments = noise.Moments.of(rows, group_size=2)
        found = (noise.norm_test(moments), noise.inner_product_test(moments), noise.orthogonality_test(moments))
        assert found == pytest.approx(expected, rel=1e-8)


def test_the_noise_scale_and_its_relation_to_the_norm_test():
    net = Net("mlp")
    moments = noise.Moments.of(net.rows(net.vector, net.batch(0)))
    variance, squared = noise.noise_scale(moments)
    assert (variance, squared) == pytest.approx((1.82066559, -0.198697131), rel=1e-8)
    assert variance / moments.squared_norm == pytest.approx(8 * noise.norm_test(moments) ** 2)


ONE_AXIS = {
    "mlp": "30:1 31:2 32:1 33:1 35:1 36:1 37:1 38:3 39:2 40:6 41:9 42:8 43:6 44:6 45:1 46:5 47:21 48:40 49:70 50:64 "
    "51:49 52:35 53:40 54:16 55:13 56:11 57:4 58:2 60:2 61:2 62:1",
    "conv": "29:1 30:2 31:1 32:6 33:12 34:5 35:7 36:12 37:5 38:5 39:3 40:5 41:5 42:11 43:3 44:11 45:8 46:8 47:11 48:13 "
    "49:8 50:40 51:19 52:16 53:21 54:21 55:11 56:29 57:30 58:21 59:9 60:2 61:3 62:1 63:1 64:2 65:4 66:1 67:1 70:2",
}
TEN = {"mlp": [0, 5, 8, 35, 137, 204, 30, 5, 0, 0], "conv": [1, 26, 32, 35, 48, 117, 100, 9, 6, 2]}
TWENTY = {
    "mlp": [8, 5, 8, 13, 7, 7, 2, 11, 39, 85, 84, 46, 52, 22, 18, 9, 3, 0, 2, 3],
    "conv": [55, 4, 6, 12, 4, 13, 11, 10, 18, 9, 41, 25, 20, 31, 17, 38, 35, 10, 4, 13],
}
TWO_AXES = {
    "mlp": [[7, 9, 11, 6, 15], [31, 21, 43, 17, 25], [50, 25, 50, 41, 38], [0, 9, 16, 0, 10]],
    "conv": [[8, 18, 27, 28, 13], [9, 9, 13, 6, 11], [19, 33, 26, 21, 18], [12, 20, 30, 41, 14]],
}


@NETS
def test_histograms(name):
    net = Net(name)
    rows = net.rows(net.vector, net.batch(0))
    found = histograms.counts(rows)
    assert " ".join(f"{place}:{count}" for place, count in enumerate(found.tolist()) if count) == ONE_AXIS[name]
    assert histograms.counts(rows, 10, (-1.0, 1.0)).tolist() == TEN[name]
    assert histograms.counts(rows, 20, (-0.5, 0.5)).tolist() == TWENTY[name]
    joint = histograms.joint_counts(rows, net.vector, (4, 5), ((-0.4, 0.4), (-0.5, 0.5)))
    assert joint.tolist() == TWO_AXES[name]
    filled, largest, place = {"mlp": (109, 23, (19, 26)), "conv": (165, 14, (20, 20))}[name]
    joint = histograms.joint_counts(rows, net.vector)
    assert (int((joint > 0).sum()), int(joint.max()), int(joint[place])) == (filled, largest, largest)


START = {"mlp": [(5, 0.867198605, -0.0428339843), (8, 0.867199603, -0.0552878931)]}
START["conv"] = [(5, 2.71905945, -0.638317012), (8, 2.72654107, -0.707506601), (12, 2.72654129, -0.814785841)]
PROBES = {
    "mlp": [0.78921606, 1.04562752, 2.14593719, 1.61667958, 1.58975523],
    "conv": [-0.825625891, 3.24737023, 4.37881939, 4.82648278, 5.00039001],
}


def signs(size, number):
    """A probe of signs by a hash."""
    found = []
    for i in range(size):
        h = (i + 1 + 1000003 * number) % 2**32
        h = h * 2654435761 % 2**32
        h = (h ^ h >> 16) * 2246822519 % 2**32
        h = (h ^ h >> 13) * 3266489917 % 2**32
        h ^= h >> 16
        found.append(1.0 if h % 2 else -1.0)
    return torch.tensor(found, dtype=torch.float64)


@NETS
def test_estimates_of_curvature_from_given_starts(name):
    net = Net(name)
    hessian = net.hessian(net.vector, net.batch(0))
    start = 1 + 0.5 * torch.sin(1.1 * torch.arange(len(hessian), dtype=torch.float64))
    for count, largest, smallest in START[name]:
        spectrum = curvature.lanczos(lambda v: hessian @ v, start, count)
        assert (spectrum.largest, spectrum.smallest) == pytest.approx((largest, smallest), rel=1e-8)
        assert abs(spectrum.largest - net.golden["largest"][0]) <= spectrum.largest_error + 1e-9
        assert spectrum.products == count
    value, _, products = curvature.power_iteration(lambda v: hessian @ v, start)
    assert (value, products) == (pytest.approx({"mlp": 0.866474542, "conv": 2.72588771}[name], rel=1e-8), products)
    assert products == {"mlp": 8, "conv": 10}[name]
    for count, expected in zip((1, 4, 16, 64, 256), PROBES[name], strict=True):
        probes = [signs(len(hessian), number) for number in range(count)]
        trace, error = curvature.hutchinson(lambda v: hessian @ v, probes)
        assert trace == pytest.approx(expected, rel=1e-8)
        assert math.isnan(error) == (count == 1)
    assert abs(trace - net.golden["hessian_trace"][0]) < 3 * error
