"""The two nets of the golden numbers, with parameters, inputs and labels by formulas, in float64."""

import math

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from algoperf_lightning.instruments.instrument import INSTRUMENTS, InstrumentSet
from algoperf_lightning.instruments.look import Following, Look, Made, Step, copies
from algoperf_lightning.instruments.probe import Probe
from algoperf_lightning.instruments.undisturbed import undisturbed
from algoperf_lightning.viewed import Loss

MLP = {
    "loss": [1.090182173, 1.12672161, 1.162366138],
    "alpha": [-0.2314488946, -0.877129947],
    "norm_test": [2.806893188, 1.796285269, 1.258146507],
    "inner_product_test": [1.974283904, 1.235103741, 0.7670522316],
    "orthogonality_test": [1.995207366, 1.30428506, 0.9972780487],
    "mean_gsnr": [0.02164911014, 0.04263824517, 0.07487246741],
    "early_stopping": [0.8483714671, 0.7013814949, 0.4756858197],
    "cabs": [0.1461299247, 0.1434788021, 0.1393096538],
    "tic_diagonal": [84.55682132, 55.12794468, 54.96695711],
    "tic_trace": [1.009743574, 1.062437483, 1.074387276],
    "hessian_trace": [1.606317086, 1.588969384, 1.643193618],
    "ggn_trace": [1.577344054, 1.591287406, 1.612818938],
    "largest": [0.8671996027, 0.8748292328, 0.8868476583],
    "smallest": [-0.05777611729, -0.08033198539, -0.0842088128],
    "gradient_norm": [0.1699590175, 0.2675333051, 0.3822802359],
    "update_size": [0.01699590175, 0.02675333051],
    "distance": [0, 0.01699590175, 0.03379295449],
}
CONV = {
    "loss": [1.118919114, 1.156238437, 1.047239711],
    "alpha": [0.5159581898, 0.2604252211],
    "norm_test": [1.579740108, 1.534894151, 1.176660166],
    "inner_product_test": [0.6551815621, 0.5594764813, 0.2180982327],
    "orthogonality_test": [1.437468584, 1.429295674, 1.156270863],
    "mean_gsnr": [0.1568363392, 0.1450097852, 0.3867225125],
    "early_stopping": [-0.09852193534, -0.01521708818, -1.707399687],
    "cabs": [0.4350615558, 0.3782521252, 0.3139730916],
    "tic_diagonal": [48.9363591, 55.15551728, 43.40361225],
    "tic_trace": [1.038927015, 1.167931653, 0.9114561448],
    "hessian_trace": [4.953813134, 3.971719194, 3.979692608],
    "ggn_trace": [4.953813134, 3.971719194, 3.979692608],
    "largest": [2.726541288, 1.937508252, 1.903317169],
    "smallest": [-0.814960066, -0.905202774, -0.9702825946],
    "gradient_norm": [0.5278858686, 0.5149759394, 0.5824641421],
    "update_size": [0.05278858686, 0.05149759394],
    "distance": [0, 0.05278858686, 0.05984549512],
}


class Net:
    """A net, its three batches, and its parameters as one vector."""

    def __init__(self, name):
        layers = {
            "mlp": (nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3)),
            "conv": (nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)),
        }
        self.name = name
        self.model = nn.Sequential(*layers[name]).double()
        for number, parameter in enumerate(self.model.parameters(), start=1):
            i = torch.arange(parameter.numel(), dtype=torch.float64)
            scale = 1 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.1
            values = scale * torch.sin(1.7 * i + 0.9 * number + 0.3 * (i % 7))
            parameter.data.copy_(values.view_as(parameter))
        self.golden = {"mlp": MLP, "conv": CONV}[name]
        self.shapes = {key: value.shape for key, value in self.model.named_parameters()}

    def batch(self, number):
        shape = (8, 6) if self.name == "mlp" else (8, 1, 6, 6)
        i = torch.arange(math.prod(shape), dtype=torch.float64)
        inputs = torch.sin(0.7 * i + 1.3 * number) + 0.5 * torch.cos(0.31 * i)
        b = torch.arange(8)
        return inputs.view(shape), (2 * b + b // 3 + number) % 3

    @property
    def vector(self):
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.model.parameters()])

    @staticmethod
    def flatten(pieces):
        return torch.cat([piece.reshape(-1) for piece in pieces.values()])

    def unflatten(self, vector):
        pieces = vector.split([shape.numel() for shape in self.shapes.values()])
        return {key: piece.view(shape) for (key, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def logits(self, vector, inputs):
        return functional_call(self.model, self.unflatten(vector), (inputs,))

    def losses(self, vector, batch):
        return nn.functional.cross_entropy(self.logits(vector, batch[0]), batch[1], reduction="none")

    def rows(self, vector, batch):
        """The gradient of each example, shape (8, D)."""

        def one(point, inputs, label):
            return self.losses(point, (inputs[None], label[None]))[0]

        return vmap(grad(one), (None, 0, 0))(vector, *batch)

    def hessian(self, vector, batch):
        return torch.autograd.functional.hessian(lambda point: self.losses(point, batch).mean(), vector)


class Golden:
    """One of the nets, as a probe sees a workload."""

    def __init__(self, name):
        self.net = Net(name)
        self.model = self.net.model

    def outputs(self, batch, *, parameters=None, **options):
        return functional_call(self.model, parameters or {}, (batch["inputs"],))

    def loss_of(self, outputs, batch, **options):
        return Loss(nn.functional.cross_entropy(outputs, batch["targets"], reduction="none"))

    def loss(self, batch, **options):
        return self.loss_of(self.outputs(batch, **options), batch)

    def batch(self, number):
        return dict(zip(("inputs", "targets"), self.net.batch(number), strict=True))


def measured(golden, make, steps=3, gradient_clip=None, names=tuple(INSTRUMENTS), label_smoothing=0.0):
    """What instruments measure of some steps, as the callback does it, and the parameters before each step."""
    rows, made, weights, first = [], None, [], {}
    optimizer, instruments = make(golden.model.parameters()), InstrumentSet(names, robust=False)
    for number in range(steps):
        batch = golden.batch(number)
        with undisturbed(0):
            probe = Probe(golden, batch, label_smoothing=label_smoothing)
            first = first or copies(probe)
            following = made and Following(made, probe)
            if following:
                rows[-1] |= instruments.measure("following", following)
            look = Look(number, probe, [optimizer], gradient_clip, "softmax_cross_entropy", first)
            rows.append(instruments.measure("before", look))
            look.keep_weights()
            taken = probe.gradient, probe.loss, probe.rows, probe.group_losses
            probe.release()
        weights.append(golden.net.vector)
        optimizer.zero_grad()
        golden.loss(batch).per_example.mean().backward()
        if gradient_clip:
            nn.utils.clip_grad_norm_(golden.model.parameters(), gradient_clip)
        optimizer.step()
        with undisturbed(0):
            if following:
                following.update = probe.flatten(copies(probe)) - following.start
                rows[-2] |= instruments.measure("following_step", following)
            again = Probe(golden, batch)
            step = Step(look, *taken, again, lambda look=look, batch=batch: Probe(golden, batch, at=look.weights))
            rows[-1] |= instruments.measure("after", step)
            made = Made.of(step)
    return rows, [*weights, golden.net.vector]
