"""Shampoo and SOAP again, slow and readable; see ``slow_optimizers.py``."""

import math

import torch
from slow_optimizers import each_tensor, newton_schulz


def matricised(tensor, axis):
    """The tensor as a matrix, one row for each place along the axis."""
    return tensor.movedim(axis, 0).reshape(tensor.shape[axis], -1)


def times(tensor, matrix, axis):
    """The tensor with an axis multiplied by a matrix from the left."""
    moved = tensor.movedim(axis, 0)
    return (matrix @ moved.reshape(len(moved), -1)).view(matrix.shape[0], *moved.shape[1:]).movedim(0, axis)


@each_tensor
def soap(p, gradient, rates, betas, eps, weight_decay, precondition_frequency, max_preconditioner_dim):
    b1, b2 = betas
    axes = [axis for axis, size in enumerate(p.shape) if p.ndim >= 2 and size <= max_preconditioner_dim]
    factors, bases, m, v, t = {}, {}, torch.zeros_like(p), torch.zeros_like(p), None
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        if t is None:
            t = 0
            for axis in axes:
                factors[axis] = (1 - b2) * matricised(g, axis) @ matricised(g, axis).T
                bases[axis] = torch.linalg.eigh(factors[axis])[1].flip(1)
            continue
        t += 1

        def turn(x, transposed=True):
            for axis in axes:
                x = times(x, bases[axis].T if transposed else bases[axis], axis)
            return x

        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * turn(g) ** 2
        size = lr * math.sqrt(1 - b2**t) / (1 - b1**t)
        p = p - size * turn(turn(m) / (v.sqrt() + eps), transposed=False)
        p = p * (1 - lr * weight_decay)
        for axis in axes:
            factors[axis] = b2 * factors[axis] + (1 - b2) * matricised(g, axis) @ matricised(g, axis).T
            if t % precondition_frequency == 0:
                guess = torch.diag(bases[axis].T @ factors[axis] @ bases[axis])
                order = guess.argsort(descending=True)
                v = v.index_select(axis, order)
                bases[axis] = torch.linalg.qr((factors[axis] @ bases[axis])[:, order])[0]
    return p


def merge(shape, limit):
    merged = []
    for size in shape:
        if size == 1:
            continue
        if merged and merged[-1] * size <= limit:
            merged[-1] = merged[-1] * size
        else:
            merged.append(size)
    return merged or [1]


def places_of_blocks(shape, limit):
    """The slices of all blocks, along every axis."""
    places = [()]
    for size in shape:
        cuts = [slice(start, start + limit) for start in range(0, size, limit)]
        places = [(*place, cut) for place in places for cut in cuts]
    return places


def damped(matrix, kept, order, eps, foam):
    """Eigenvalues, eigenvectors and damping; those kept where foam, largest damping and tolerance, lets them be."""
    if foam and kept:
        largest, tolerance = foam
        values, vectors, damping = kept
        s, error = values + damping, 0.0
        off = vectors.T @ matrix @ vectors - torch.diag(values)
        for i in range(len(s)):
            for j in range(len(s)):
                error += (off[i, j] ** 2 / (s[i] * s[j])).item()
        powers = s ** (-1 / order)
        worst = max(eps, damping * math.sqrt(error) * (powers.max() / powers.norm()).item() / order / tolerance)
        if worst <= largest:
            return values, vectors, worst
    values, vectors = torch.linalg.eigh(matrix)
    return values - min(values.min().item(), 0), vectors, eps


@each_tensor
def shampoo(
    p,
    gradient,
    rates,
    betas,
    eps,
    weight_decay,
    momentum,
    nadam,
    grafting_type,
    inv_root_override,
    frequency,
    limit,
    max_axis=math.inf,
    foam=None,
):
    (b1, b2), shape = betas, p.shape
    p = p.reshape(merge(shape, limit))
    places = places_of_blocks(p.shape, limit)
    plain = max(shape, default=1) >= max_axis
    factors, roots, kept = {}, {}, {}
    m, v, buffer, t = torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p), 0
    for step, lr in enumerate(rates):
        g = gradient(step, p.reshape(shape))
        if g is None:
            continue
        g = g.reshape(p.shape)
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        u = ((b1 * m + (1 - b1) * g) if nadam else m) / (1 - b1**t)
        a = u / ((v / (1 - b2**t)).sqrt() + eps) if grafting_type == "ADAM" or plain else u
        d = a.clone()
        for number, place in enumerate([] if plain else places):
            block = g[place]
            for axis in range(block.ndim):
                square = matricised(block, axis) @ matricised(block, axis).T
                factors[number, axis] = b2 * factors.get((number, axis), 0) + (1 - b2) * square
                if t % frequency == 0:
                    corrected, order = factors[number, axis] / (1 - b2**t), inv_root_override or 2 * block.ndim
                    values, vectors, damping = damped(corrected, kept.get((number, axis)), order, eps, foam)
                    kept[number, axis] = values, vectors, damping
                    roots[number, axis] = vectors @ torch.diag((values + damping) ** (-1 / order)) @ vectors.T
            if t >= frequency:
                turned = u[place]
                for axis in range(block.ndim):
                    turned = times(turned, roots[number, axis], axis)
                d[place] = turned * a[place].norm() / (turned.norm() + 1e-16)
        d = d + weight_decay * p
        if momentum:
            buffer = momentum * buffer + (1 - momentum) * d
            d = (1 - momentum) * d + momentum * buffer
        p = p - lr * d
    return p.reshape(shape)


@each_tensor
def normuon(p, gradient, rates, betas, nesterov, weight_decay):
    (b1, b2), m, shape = betas, torch.zeros_like(p), p.shape
    v = torch.zeros(len(p), dtype=p.dtype)
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        m = b1 * m + (1 - b1) * g
        o = newton_schulz(((1 - b1) * g + b1 * m if nesterov else m).flatten(1))
        v = b2 * v + (1 - b2) * torch.stack([row.square().mean() for row in o])
        h = torch.stack([row / (square.sqrt() + 1e-10) for row, square in zip(o, v, strict=True)])
        h = h * o.norm() / (h.norm() + 1e-10) * max(1, math.sqrt(o.shape[0] / o.shape[1]))
        p = p - lr * (h.view(shape) + weight_decay * p)
    return p


def minimiser(d, norm):
    inputs = math.prod(d.shape[1:])
    if norm == "auto":
        norm = ("rms", "rms", "spectral")[d.ndim] if d.ndim < 3 else "convolution"
    if norm == "sign":
        return torch.sign(d) / inputs
    if norm == "rms":
        along = d.reshape(d.shape[0], -1) if d.ndim else d.view(1, 1)
        return torch.stack([c / (c.square().mean().sqrt() + 1e-8) for c in along.T], 1).view(d.shape)
    if norm == "column":
        return torch.stack([c / (c.square().mean().sqrt() + 1e-8) for c in d.T], 1)
    if norm == "token":
        return minimiser(d.T, "column").T
    if norm == "row":
        return torch.stack([row / (row.norm() * math.sqrt(len(row)) + 1e-8) for row in d])
    ratio = math.sqrt(len(d) / (d.shape[1] if norm == "convolution" else inputs))
    ratio = ratio / math.prod([d.shape[2]] * (d.ndim - 2)) if norm == "convolution" else ratio
    return (max(1, ratio) if norm == "spectral_max" else ratio) * newton_schulz(d.flatten(1)).view(d.shape)


@each_tensor
def scion(p, gradient, rates, beta, scale, norm, constrained):
    d = torch.zeros_like(p)
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        d = beta * d + (1 - beta) * g
        p = (1 - lr) * p if constrained else p
        p = p - lr * scale * minimiser(d, norm)
    return p
