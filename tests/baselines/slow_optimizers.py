"""The optimizers again, slow and readable: one tensor after the other, one line a formula.

Each is a function of parameters, a gradient function and the learning rates of the steps; it returns where the
parameters end. ``gradient(step, index, value)`` is the gradient of parameter ``index`` at ``value``, None where it has
none in that step.
"""

import math

import torch


def each_tensor(one_tensor):
    """Make of a function of one parameter a function of a list of them."""

    def all_tensors(parameters, gradient, rates, **options):
        ends = []
        for index, p in enumerate(parameters):
            ends.append(one_tensor(p.clone(), lambda step, value, i=index: gradient(step, i, value), rates, **options))
        return ends

    return all_tensors


@each_tensor
def lamb(p, gradient, rates, betas, eps, weight_decay):
    (b1, b2), m, v, t = betas, 0, 0, 0
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        u = (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps) + weight_decay * p
        r = p.norm() / u.norm() if p.norm() > 0 and u.norm() > 0 else 1
        p = p - lr * r * u
    return p


@each_tensor
def lion(p, gradient, rates, betas, weight_decay):
    (b1, b2), m = betas, torch.zeros_like(p)
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        p = p * (1 - lr * weight_decay) - lr * torch.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g
    return p


@each_tensor
def ademamix(p, gradient, rates, betas, alpha, ramp_steps, eps, weight_decay):
    (b1, b2, b3), m, n, v, t = betas, 0, 0, 0, 0

    def f(b):
        return math.log(0.5) / math.log(b + 1e-8) - 1

    for step, lr in enumerate(rates):
        g = gradient(step, p)
        share = min(1, (step + 1) / ramp_steps)
        b3_now = 0.5 ** (1 / (f(b1) + share * (f(b3) - f(b1)) + 1))
        if g is None:
            continue
        t += 1
        m = b1 * m + (1 - b1) * g
        n = b3_now * n + (1 - b3_now) * g
        v = b2 * v + (1 - b2) * g**2
        p = p - lr * (
            (m / (1 - b1**t) + alpha * share * n) / (v.sqrt() / math.sqrt(1 - b2**t) + eps) + weight_decay * p
        )
    return p


@each_tensor
def cautious_nadamw(p, gradient, rates, betas, eps, weight_decay):
    (b1, b2), m, v, t = betas, 0, 0, 0
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        t += 1
        p = p * (1 - lr * weight_decay)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        n = (b1 * m + (1 - b1) * g) / (1 - b1**t)
        k = (n * g > 0).to(p.dtype)
        p = p - lr * n * k / max(k.mean().item(), 1e-3) / ((v / (1 - b2**t)).sqrt() + eps)
    return p


def adafactor(parameters, gradient, rates, beta1, beta2, weight_decay, axes):
    """``axes``: the two factored axes of each parameter."""
    ends = []
    for index, p in enumerate(parameters):
        rows, columns, second, m, t = 0, 0, 0, 0, 0
        a, b = axes[index]
        for step, lr in enumerate(rates):
            g = gradient(step, index, p)
            if g is None:
                continue
            t += 1
            keep = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
            q = g**2 + 1e-30
            if p.ndim >= 2:
                rows = keep * rows + (1 - keep) * q.mean(b, keepdim=True)
                columns = keep * columns + (1 - keep) * q.mean(a, keepdim=True)
                second = rows / rows.mean(a, keepdim=True) * columns
            else:
                second = keep * second + (1 - keep) * q
            u = g / second.sqrt()
            u = u / max(1.0, u.square().mean().sqrt().item())
            m = beta1 * m + (1 - beta1) * lr * u
            p = p - lr * weight_decay * p - m
        ends.append(p)
    return ends


def sam(parameters, gradient, rates, rho, betas, eps, weight_decay):
    (b1, b2), count = betas, len(parameters)
    ps, ms, vs, ts = list(parameters), [0] * count, [0] * count, [0] * count
    for step, lr in enumerate(rates):
        first = [gradient(step, i, p) for i, p in enumerate(ps)]
        norm = math.sqrt(sum(g.square().sum().item() for g in first if g is not None))
        for i, p in enumerate(ps):
            if first[i] is None:
                continue
            g = gradient(step, i, p + rho * first[i] / norm)
            ts[i] += 1
            ms[i] = b1 * ms[i] + (1 - b1) * g
            vs[i] = b2 * vs[i] + (1 - b2) * g**2
            p = p * (1 - lr * weight_decay)
            ps[i] = p - lr * ms[i] / (1 - b1 ** ts[i]) / ((vs[i] / (1 - b2 ** ts[i])).sqrt() + eps)
    return ps


@each_tensor
def decoupled_nesterov(p, gradient, rates, momentum, decoupled_decay):
    b = 0
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is not None:
            b = g + momentum * b
            p = p - lr * (g + momentum * b + decoupled_decay * p)
    return p


def rounded(value, version):
    """v1 computes second moments in bfloat16, one operation after the other."""
    return value.bfloat16().to(value.dtype) if version == "v1" else value


@each_tensor
def schedule_free_adamw(p, gradient, rates, beta1, beta2, eps, weight_decay, warmup_steps, version):
    """The learning rate is the first of the rates: there is no schedule."""
    x, z, v, total, largest = p, p, torch.zeros_like(p), 0.0, 0.0
    for k in range(len(rates)):
        y = x + (1 - beta1) * (z - x)
        g = gradient(k, y)
        rate = max(rates[0] * min(1, (k + 1) / warmup_steps), eps)
        largest = max(largest, rate)
        weight = rate**2 if version == "v2" else (k + 1) ** 0.75 * largest**2
        total += weight
        if g is None:
            continue
        v = rounded(rounded(beta2 * v, version) + (1 - beta2) * g**2, version)
        root = rounded(rounded(v.sqrt(), version) + eps, version)
        s = rate * math.sqrt(1 - beta2 ** (k + 1))
        z = z - s * g / root - s * weight_decay * (y if version == "v2" else x)
        x = (1 - weight / total) * x + weight / total * z
    return x


@each_tensor
def schedule_free_sgd(p, gradient, rates, beta1, weight_decay, warmup_steps):
    x, z, total = p, p, 0.0
    for k in range(len(rates)):
        y = x + (1 - beta1) * (z - x)
        g = gradient(k, y)
        rate = rates[0] * min(1, (k + 1) / warmup_steps)
        total += rate**2
        if g is None:
            continue
        z = z - rate * (g + weight_decay * y)
        x = (1 - rate**2 / total) * x + rate**2 / total * z
    return x


def prodigy(parameters, gradient, rates, betas, eps, weight_decay, d0):
    (b1, b2), b3, d, r = betas, math.sqrt(betas[1]), d0, 0.0
    ps, count = list(parameters), len(parameters)
    ms, vs, sums = ([torch.zeros_like(p) for p in ps] for _ in range(3))
    starts = [None] * count
    for step, lr in enumerate(rates):
        gs = [gradient(step, i, p) for i, p in enumerate(ps)]
        gained, size = 0.0, 0.0
        for i, g in enumerate(gs):
            if g is None:
                continue
            starts[i] = ps[i] if starts[i] is None else starts[i]
            gained += d / d0 * d * lr * (g * (starts[i] - ps[i])).sum().item()
            ms[i] = b1 * ms[i] + (1 - b1) * d * g
            vs[i] = b2 * vs[i] + (1 - b2) * d**2 * g**2
            sums[i] = b3 * sums[i] + d / d0 * d * lr * g
            size += sums[i].abs().sum().item()
        r = b3 * r + gained
        new = max(d, r / size)
        for i, g in enumerate(gs):
            if g is not None:
                ps[i] = ps[i] - d * lr * weight_decay * ps[i] - d * lr * ms[i] / (vs[i].sqrt() + new * eps)
        d = new
    return ps


def newton_schulz(u):
    x = u / (u.norm() + 1e-7)
    x = x.T if len(u) > len(u.T) else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if len(u) > len(u.T) else x


@each_tensor
def muon(p, gradient, rates, beta, nesterov, weight_decay):
    m = torch.zeros_like(p)
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        m = beta * m + (1 - beta) * g
        u = (1 - beta) * g + beta * m if nesterov else m
        scale = max(1, math.sqrt(p.shape[0] / p.shape[1]))
        p = p - lr * (scale * newton_schulz(u.flatten(1)).view(p.shape) + weight_decay * p)
    return p
