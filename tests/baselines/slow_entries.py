"""Entries of leaderboards and further methods again, slow and readable; see ``slow_optimizers.py``."""

import math

import torch
from slow_new_methods import adamw
from slow_optimizers import each_tensor, newton_schulz


@each_tensor
def nadamp(p, gradient, rates, betas, eps, weight_decay, power):
    (b1, b2), m, v, t = betas, 0, 0, 0
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        t += 1
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        u = (b1 * m + (1 - b1) * g) / (1 - b1**t)
        p = p * (1 - lr * weight_decay) - lr * u / ((v / (1 - b2**t)) ** (1 / power) + eps)
    return p


def factor_of(size, ndim, longest, scale):
    """A triangular factor is a matrix; a diagonal one is the matrix with its diagonal, and stays one."""
    return torch.eye(size, dtype=torch.float64) * scale, ndim < 2 or size == 1 or size > longest


def psgd_kron(
    parameters,
    gradient,
    rates,
    beta,
    weight_decay,
    precond_lr,
    max_size_triangular,
    update_probability,
    tiny=2.0**-1022,
):
    """With whole matrices, Kronecker products among them; the random numbers are those of seed 0."""
    ps, states, since = list(parameters), {}, 0
    for step, lr in enumerate(rates):
        since += 1
        fits = since >= 1 / update_probability
        since = 0 if fits else since
        generator = torch.Generator().manual_seed(step + 1)
        gs = [gradient(step, i, p) for i, p in enumerate(ps)]
        for i, (p, g) in enumerate(zip(ps, gs, strict=True)):
            if g is None:
                continue
            shape = p.shape if p.ndim < 3 else (len(p), p[0].numel())
            if i not in states:
                sizes = shape or (1,)
                factors = [factor_of(size, len(shape), max_size_triangular, 1.0) for size in sizes]
                states[i] = [torch.zeros(shape, dtype=p.dtype), [f for f, _ in factors], [d for _, d in factors], 0]
            m, qs, diagonal, t = states[i]
            m, t = beta * m + (1 - beta) * g.reshape(shape), t + 1
            u = m / (1 - beta**t)
            if fits:
                v = torch.randn(shape, generator=generator).to(p.dtype)
                single = torch.equal(g, g.float().to(g.dtype))  # the noise is that of the precision of the run
                precision = torch.finfo(torch.float32 if single else p.dtype).eps
                u = u + precision**0.5 * u.abs().mean() * v
                whole = torch.kron(*qs) if len(qs) == 2 else qs[0]
                a, b = (x.reshape([len(q) for q in qs]) for x in (whole @ u.flatten(), whole.T.inverse() @ v.flatten()))
                moved = []
                for axis, (q, only_diagonal) in enumerate(zip(qs, diagonal, strict=True)):
                    aa, bb = (x.movedim(axis, 0).reshape(len(q), -1) for x in (a, b))
                    first, second = aa @ aa.T, bb @ bb.T
                    if only_diagonal:
                        change = torch.diag(first - second).diag()
                        moved.append(q - precond_lr / max((first + second).diag().max().item(), tiny) * change @ q)
                        continue
                    total = first + second
                    column = total[:, total.square().sum(0).argmax()]
                    bound = (total @ (column @ total) / (column @ total).norm()).norm()
                    moved.append(q - precond_lr / bound * torch.triu(first - second) @ q)
                qs = moved
            whole = torch.kron(*qs) if len(qs) == 2 else qs[0]
            d = whole.T @ whole @ u.flatten()
            d = d * min(1.0, 1.1 / (d.square().mean().sqrt().item() + 1e-12))
            ps[i] = p - lr * (d.view(p.shape) + (weight_decay * p if p.ndim > 1 else 0))
            states[i] = [m, qs, diagonal, t]
    return ps


def inverse_root(matrix):
    """By the exact inverse square root, where the method iterates with five polynomials."""
    polynomials = (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    )
    divisor = 1.02 * matrix.norm() + 1e-8
    values, vectors = torch.linalg.eigh(matrix / divisor)
    factor = torch.ones_like(values)
    for a, b, c in polynomials:
        step = a / 1.05 + b / 1.05**3 * values + c / 1.05**5 * values**2
        factor, values = factor * step, values * step**2
    return vectors @ torch.diag(factor) @ vectors.T / divisor.sqrt()


@each_tensor
def polar_grad(p, gradient, rates, betas, eps, weight_decay, rule, alpha):
    if p.ndim < 2:
        return adamw(p, gradient, rates, betas, eps, weight_decay)
    m, shape = torch.zeros_like(p.flatten(1)), p.shape
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        m = betas[0] * m + (1 - betas[0]) * g.flatten(1)
        u = m
        if rule == "orthogonal":
            u = max(1, math.sqrt(m.shape[0] / m.shape[1])) * newton_schulz(m)
        if rule.startswith("polar"):
            u = m @ inverse_root(m.T @ m + 1e-8 * torch.eye(m.shape[1], dtype=m.dtype))
            u = u * torch.trace(m.T @ u) ** alpha
        if rule == "row_centered":
            u = u - u.mean(0)
        if "row" in rule:
            u = torch.stack([row / (row.norm() + 1e-8) for row in u])
        if rule == "row_centered":
            u = u - u.mean(0)
        if rule == "column":
            u = torch.stack([column / (column.norm() + 1e-8) for column in u.T], 1)
        p = p * (1 - lr * weight_decay) - lr * u.view(shape)
    return p


def rounded(value, low):
    return value.bfloat16().to(value.dtype) if low else value


def schedule_free_prodigy(
    parameters, gradient, rates, beta1, beta2, eps, weight_decay, warmup_steps, d0, low_precision
):
    """The learning rate is the first of the rates: there is no schedule."""
    xs, zs, count, low, d, n, total = list(parameters), list(parameters), len(parameters), low_precision, d0, 0.0, 0.0
    vs, ss = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    starts, b3 = [rounded(p, low) for p in parameters], math.sqrt(beta2)
    for k in range(len(rates)):
        gs = [gradient(k, i, beta1 * xs[i] + (1 - beta1) * zs[i]) for i in range(count)]
        rate, gained, size = rates[0] * min(1, (k + 1) / warmup_steps), 0.0, 0.0
        for i, g in enumerate(gs):
            if g is None:
                continue
            gained += d * d * rate * (g * (starts[i] - zs[i])).sum().item()
            vs[i] = rounded(rounded(beta2 * vs[i], low) + (1 - beta2) * (d * g) ** 2, low)
            ss[i] = rounded(rounded(b3 * ss[i], low) + d * d * rate * g, low)
            size += (ss[i].bfloat16() if low else ss[i]).abs().sum().item()
        n = b3 * n + gained
        new = max(d, n / size)
        total += (k + 1) ** 0.75
        for i, g in enumerate(gs):
            if g is not None:
                root = rounded(rounded(vs[i].sqrt(), low) + new * eps, low)
                zs[i] = zs[i] - d * rate * weight_decay * xs[i] - d * rate * new * g / root
                share = (k + 1) ** 0.75 / total
                xs[i] = (1 - share) * xs[i] + share * zs[i]
        d = new
    return xs


@each_tensor
def amos(p, gradient, rates, betas, eta, l2, style):
    """Of the tensor with 4 rows and 7 columns, each row is a block; vectors have twice the expected scale."""
    eta = 2 * eta if p.ndim == 1 else eta
    (b1, b2), shape = betas, p.shape
    p = p.reshape(4 if shape == (4, 7) else 1, -1)
    m, v, b, t, k = torch.zeros_like(p), torch.zeros_like(p), torch.zeros(len(p), 1, dtype=p.dtype), 0, p.shape[1]
    v = v if style == "adam" else v[:, :1]
    b = b if style == "adam" else b[:1]
    h = math.sqrt(1 - k**-0.5)
    tau = h * math.log(math.sqrt(k) * (1 + h) ** 2)
    big_l = 1 + l2 * ((1 + tau / 2) ** 2 - 1) ** 2
    for step, x in enumerate(rates):
        g = gradient(step, p.view(shape))
        if g is None:
            continue
        g = g.reshape(p.shape)
        if t:
            before = v * (1 - b2) / (1 - b2**t)
            c = torch.maximum(g**2 * (1 - b2) / before, torch.ones_like(g))
            g = g / c.sqrt()
        squares = g**2 if style == "adam" else (g**2).mean(1, keepdim=True)
        t += 1
        v = b2 * v + squares
        now = v * (1 - b2) / (1 - b2**t)
        if style == "adam":
            m = b1 * m + (1 - b1) * g
            u = m / now.sqrt()
            q = (1 + b1) / (1 - b1) * (m**2).mean(1, keepdim=True) / now.mean(1, keepdim=True)
            s = x**2 / torch.maximum(q, (1 + b).sqrt())
        else:
            u, q, s = g / now.sqrt(), squares / now, x**2 / (1 + b).sqrt()
        root, big_b = (1 + b).sqrt(), 1 + l2 * b**2
        a = (2 * root / (1 + (1 + 2 * root / (2 + tau)).sqrt())) ** 2 - 1
        d = eta * x * u + s / 2 * (q * big_l / big_b + l2) * p
        d = d / (1 + eta * root * a * (1 + l2 * b * a) / (1 + l2 * big_b / big_l))
        b = b + s * ((q if style == "adam" else 1) / math.sqrt(k) + b)
        if style == "reduced":
            m = b1 * m + (1 - b1) * d
        p = p - (d if style == "adam" else m)
    return p.view(shape)


@each_tensor
def caspr(p, gradient, rates, betas, eps, weight_decay, matrix_eps, frequency, start, block_size, inputs_first):
    (b1, b2), shape, m, v, t, state = betas, p.shape, torch.zeros_like(p), torch.zeros_like(p), 0, {}

    def matrix(x):
        if inputs_first or x.ndim < 2:
            return x.flatten(1) if x.ndim > 1 else x
        return x.permute(*range(2, x.ndim), 1, 0).reshape(-1, len(x))

    def back(x):
        if inputs_first:
            return x.reshape(shape)
        return x.reshape(*shape[2:], shape[1], shape[0]).permute(-1, -2, *range(len(shape) - 2))

    def damped(x):
        return x + matrix_eps * torch.linalg.eigvalsh(x).max() * torch.eye(len(x), dtype=x.dtype)

    def root(x):
        values, vectors = torch.linalg.eigh(damped(x))
        return vectors @ torch.diag(values**-0.5) @ vectors.T

    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        whole = matrix(g)
        cuts = [range(0, size, block_size) for size in whole.shape] if p.ndim > 1 else [[], []]
        for i in cuts[0]:
            for j in cuts[1]:
                part = whole[i : i + block_size, j : j + block_size]
                rows, columns = part.shape
                if (i, j) not in state:
                    eye, other = torch.eye(rows, dtype=p.dtype), torch.eye(columns, dtype=p.dtype)
                    state[i, j] = [matrix_eps * eye, matrix_eps * eye, other, eye, other]
                left, last, right, pl, pr = state[i, j]
                c = 1.0
                if t and t % frequency == 0:
                    c, last = max(torch.trace(pl @ damped(last) @ pl).item(), 0) / rows, left
                left = b2 * left + (1 - b2) * part @ part.T
                right = b2 * c * right + (1 - b2) * part.T @ pl @ pl @ part / rows
                if (t + 1) % frequency == 0:
                    pl, pr = root(left), root(right)
                state[i, j] = [left, last, right, pl, pr]
        t += 1
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        u = (b1 * m + (1 - b1) * g) / (1 - b1**t)
        d = u / ((v / (1 - b2**t)).sqrt() + eps)
        if t > start and p.ndim > 1:
            turned = torch.zeros_like(matrix(u))
            for (i, j), (_, _, _, pl, pr) in state.items():
                place = slice(i, i + block_size), slice(j, j + block_size)
                turned[place] = pl @ matrix(u)[place] @ pr
            d = back(turned) * d.norm() / turned.norm()
        p = p - lr * (d + weight_decay * p)
    return p


@each_tensor
def muon_split(p, gradient, rates, split, weight_decay):
    """Muon on blocks of rows."""
    m = torch.zeros_like(p)
    for step, lr in enumerate(rates):
        g = gradient(step, p)
        if g is None:
            continue
        m = 0.9 * m + 0.1 * g
        u, first = 0.9 * m + 0.1 * g, 0
        blocks = []
        for rows in split:
            block = u[first : first + rows]
            blocks.append(max(1, rows / block.shape[1]) ** 0.5 * newton_schulz(block))
            first += rows
        p = p - lr * (torch.cat(blocks) + weight_decay * p)
    return p
