"""Products with Hessian and Gauss-Newton matrices, made in independent ways; and small workloads to make them on."""

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from algoperf_lightning import get_workload
from algoperf_lightning.testing.runs import small_batches, training_batch, with_tiny_data

SEED = 3


def started(name, folder, *, variant=None, double=False, dropout=None):
    """A workload at tiny size with a batch of 8, off the starting point, where some layers are 0."""
    kind = get_workload(name)
    submission = small_batches(kind)
    submission.dropout = dropout
    workload = kind(submission, variant=variant, **with_tiny_data(kind, folder))
    workload.configure_model()
    workload._trainer = type("Trainer", (), {"world_size": 1})()
    batch = training_batch(workload)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in workload.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    if double:
        workload.double()
        workload.network.register_forward_pre_hook(lambda _, arguments: tree_map(_widened, arguments))
    return workload, batch


def _widened(value):
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def direction(workload, seed=1):
    """A random direction of length 1, by the names of parameters."""
    generator = torch.Generator().manual_seed(seed)
    random = {name: torch.randn(p.shape, generator=generator) for name, p in workload.network.named_parameters()}
    length = torch.cat([part.flatten() for part in random.values()]).norm()
    return {name: (part / length).to(workload.network.get_parameter(name)) for name, part in random.items()}


def point(workload):
    return {name: parameter.detach().clone() for name, parameter in workload.network.named_parameters()}


def loss_at(view, batch, parameters=None):
    """The mean loss; the same dropout and masks in every pass."""
    torch.manual_seed(SEED)
    return view.mean(view.loss(batch, update_batch_norm=False, parameters=parameters))


def joined(tensors):
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])


def data_loss_at(view, batch):
    """The same without the workload's own term."""
    torch.manual_seed(SEED)
    return view.mean(view.loss_of(view.outputs(batch, update_batch_norm=False), batch))


def hessian_product(view, batch, vector, loss=loss_at):
    """H v by differentiating twice in reverse mode."""
    parameters = list(view.model.parameters())
    with view.second_order():
        gradients = torch.autograd.grad(loss(view, batch), parameters, create_graph=True)
        along = sum((g * v).sum() for g, v in zip(gradients, vector.values(), strict=True))
        return torch.autograd.grad(along, parameters, allow_unused=True, materialize_grads=True)


def hessian_product_differences(workload, batch, vector, step):
    """H v by central differences of gradients, without anything that second derivatives need."""

    parameters, steps = list(workload.network.parameters()), list(vector.values())

    def gradient(distance):
        with torch.no_grad():
            torch._foreach_add_(parameters, steps, alpha=distance)
        found = joined(torch.autograd.grad(loss_at(workload.view, batch), parameters))
        with torch.no_grad():
            torch._foreach_add_(parameters, steps, alpha=-distance)
        return found

    return (gradient(step) - gradient(-step)) / (2 * step)


def hessian_product_forward(view, batch, vector, start):
    """H v by forward mode over reverse mode."""
    with view.second_order():
        gradient = torch.func.grad(lambda parameters: loss_at(view, batch, parameters))
        return tuple(torch.func.jvp(gradient, (start,), (vector,))[1].values())


def gauss_newton_product(view, batch, vector):
    """G v in reverse mode, of one forward pass: J v is what is linear in u in the derivative of J^T u."""
    parameters = list(view.model.parameters())
    with view.second_order():
        torch.manual_seed(SEED)
        outputs = view.outputs(batch, update_batch_norm=False)
        outer = [part for part in tree_leaves(outputs) if part.requires_grad]
        dummy = [torch.zeros_like(part, requires_grad=True) for part in outer]
        pulled = torch.autograd.grad(outer, parameters, dummy, create_graph=True)
        pushed = torch.autograd.grad(pulled, dummy, list(vector.values()), retain_graph=True)
        inner = tree_map(lambda part: part.detach().requires_grad_(part.requires_grad), outputs)
        leaves = [part for part in tree_leaves(inner) if part.requires_grad]
        slopes = torch.autograd.grad(view.mean(view.loss_of(inner, batch)), leaves, create_graph=True)
        if not any(slope.requires_grad for slope in slopes):  # a linear loss
            return [torch.zeros_like(parameter) for parameter in parameters]
        curved = torch.autograd.grad(slopes, leaves, pushed, allow_unused=True, materialize_grads=True)
        return torch.autograd.grad(outer, parameters, curved)


def gauss_newton_product_forward(view, batch, vector, start):
    """G v by forward mode for J v, forward over reverse mode for the loss, and reverse mode for J^T."""

    shape = []

    def outputs(parameters):
        torch.manual_seed(SEED)
        leaves, tree = tree_flatten(view.outputs(batch, update_batch_norm=False, parameters=parameters))
        shape[:] = [(tree, [leaf.is_floating_point() for leaf in leaves])]
        return tuple(leaf for leaf in leaves if leaf.is_floating_point()), [
            leaf for leaf in leaves if not leaf.is_floating_point()
        ]

    def loss(*made):
        (tree, floating), moving, still = shape[0], iter(made), iter(rest)
        leaves = [next(moving) if each else next(still) for each in floating]
        return view.mean(view.loss_of(tree_unflatten(leaves, tree), batch))

    with view.second_order():
        made, pull, rest = torch.func.vjp(outputs, start, has_aux=True)
        _, pushed, _ = torch.func.jvp(outputs, (start,), (vector,), has_aux=True)
        _, curved = torch.func.jvp(torch.func.grad(loss, tuple(range(len(made)))), made, pushed)
        return tuple(pull(curved)[0].values())
