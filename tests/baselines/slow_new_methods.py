"""Newer matrix methods again, slow and readable; see ``slow_optimizers.py``."""

import torch
from slow_optimizers import each_tensor, newton_schulz


def adamw(p, gradient, rates, betas, eps, weight_decay):
    (b1, b2), m, v, t = betas, 0, 0, 0
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        p = p * (1 - lr * weight_decay) - lr * m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + eps)
    return p


def basis_of(factor):
    """Eigenvectors, those of the largest eigenvalues first."""
    return torch.linalg.eigh(factor)[1].flip(1)


@each_tensor
def kl(p, gradient, rates, betas, eps, weight_decay, factor_beta, precondition_frequency, max_preconditioner_dim, adam):
    """KL-SOAP with adam, otherwise KL-Shampoo."""
    if p.ndim < 2:
        return adamw(p, gradient, rates, betas, eps, weight_decay)
    (b1, b2), shape, p, k = betas, p.shape, p.flatten(1), None
    (rows, columns), bs = p.shape, b2 if factor_beta is None else factor_beta
    m, v, eye = torch.zeros_like(p), torch.zeros_like(p), {n: torch.eye(n, dtype=p.dtype) for n in p.shape}
    for step, lr in enumerate(rates):
        g = gradient(step, p.view(shape))
        if g is None:
            continue
        g = g.flatten(1)
        if k is None:
            k = 0
            left, right = (1 - bs) * g @ g.T / columns, (1 - bs) * g.T @ g / rows
            ql = basis_of(left) if rows <= max_preconditioner_dim else eye[rows]
            qr = basis_of(right) if columns <= max_preconditioner_dim else eye[columns]
            rl, rr = (torch.full((n,), 0.1**-0.5, dtype=p.dtype) for n in (rows, columns))
            continue
        k += 1
        d = ql.T @ g @ qr
        if adam:
            m, v = b1 * m + (1 - b1) * d, b2 * v + (1 - b2) * d**2
            u = ql @ (m / (v.sqrt() + eps)) @ qr.T
        else:
            m = b1 * m + (1 - b1) * g
            e = rl[:, None] * rr[None, :]
            u = ql @ (ql.T @ m @ qr * e / (1 + eps * e)) @ qr.T
        p = (p - lr * u) * (1 - lr * weight_decay)
        if adam and k % precondition_frequency == 0:
            m = ql @ m @ qr.T
        h, j = torch.diag(rr) @ qr.T @ g.T, torch.diag(rl) @ ql.T @ g
        left = bs * left + (1 - bs) * h.T @ h / columns
        right = bs * right + (1 - bs) * j.T @ j / rows
        ll, lr_ = (d @ torch.diag(rr)).square().mean(1), (torch.diag(rl) @ d).square().mean(0)
        rl = (bs / rl**2 + (1 - bs) * ll).pow(-0.5).clamp(max=max(10, min(rows, 4000)))
        rr = (bs / rr**2 + (1 - bs) * lr_).pow(-0.5).clamp(max=max(10, min(columns, 4000)))
        if k % precondition_frequency == 0:
            ql = torch.linalg.qr(left @ ql)[0] if rows <= max_preconditioner_dim else ql
            qr = torch.linalg.qr(right @ qr)[0] if columns <= max_preconditioner_dim else qr
            m = ql.T @ m @ qr if adam else m
    return p.view(shape)


@each_tensor
def lion_muon(p, gradient, rates, betas, eps, weight_decay, lion_ratio, period):
    if p.ndim < 2:
        return adamw(p, gradient, rates, betas, eps, weight_decay)
    (b1, b2), shape, p, k = betas, p.shape, p.flatten(1), 0
    m = torch.zeros_like(p)
    for step, lr in enumerate(rates):
        g = gradient(step, p.view(shape))
        if g is None:
            continue
        g = g.flatten(1)
        u, m = b1 * m + (1 - b1) * g, b2 * m + (1 - b2) * g
        if k % period:
            rate, d = lr * lion_ratio, u.sign()
        else:
            rate, d = lr, 0.2 * max(p.shape) ** 0.5 * newton_schulz(u)
        p = p * (1 - rate * weight_decay) - rate * d
        k += 1
    return p.view(shape)


@each_tensor
def amuse(p, gradient, rates, beta1, betas, rho, eps, weight_decay, warmup_steps):
    """The learning rate is the first of the rates: there is no schedule."""
    (b, b2), x, z, total, ahead = betas, p, p, 0.0, beta1
    m, v = torch.zeros_like(p), torch.zeros_like(p)
    for k in range(1, len(rates) + 1):
        y = ahead * x + (1 - ahead) * z
        g = gradient(k - 1, y)
        rate = rates[0] * min(1, k / warmup_steps)
        total += rate**2
        c = rate**2 / total
        if k == warmup_steps:
            c_warm = c
        ahead = 1 - ((c * (1 - c_warm)) / (c_warm * (1 - c))) ** rho * (1 - beta1) if k > warmup_steps else beta1
        if g is None:
            continue
        if p.ndim >= 2:
            m = b * m + (1 - b) * g
            u = newton_schulz((b * m + (1 - b) * g).flatten(1))
            u = 0.2 * max(u.shape) ** 0.5 * u.view(p.shape)
        else:
            v = b2 * v + (1 - b2) * g**2
            u = g / ((v / (1 - b2**k)).sqrt() + eps)
        z = z * (1 - rate * weight_decay) - rate * u
        x = (1 - c) * x + c * z
    return x


@each_tensor
def muon_with_options(p, gradient, rates, scale, keep_norm, weight_decay):
    m = torch.zeros_like(p)
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        m = 0.9 * m + 0.1 * g
        u = newton_schulz((0.9 * m + 0.1 * g).flatten(1))
        factor = 0.2 * max(u.shape) ** 0.5 if scale == "match_rms_adamw" else max(1, p.shape[0] / p.shape[1]) ** 0.5
        u = factor * u.view(p.shape)
        if keep_norm:
            moved = p - lr * p.norm() / u.norm() * u
            p = moved / moved.norm() * p.norm()
        else:
            p = p - lr * (u + weight_decay * p)
    return p
