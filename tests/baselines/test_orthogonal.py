"""Orthogonalisation in all dialects: published trajectories, and singular values one by one."""

import golden_algorithms as golden
import pytest
import torch
from torch import nn

from algoperf_lightning.errors import BadInputError
from algoperf_lightning.optim import Muon
from algoperf_lightning.optim.orthogonal import DIALECTS, newton_schulz_cost, orthogonal, orthogonal_each

# The published methods in a few lines each, around our orthogonalisation. Each takes parameter, gradient and state.


def moved(state, g, keep=0.95):
    """The gradient averaged twice with a moving average: Nesterov's form."""
    state["m"] = keep * state.get("m", torch.zeros_like(g)) + (1 - keep) * g
    return (1 - keep) * g + keep * state["m"]


def jordan(p, g, state):
    o = orthogonal(moved(state, g).flatten(1), "classic").view(p.shape)
    return p * (1 - 0.05 * 0.1) - 0.05 * max(1, p.shape[-2] / p.shape[-1]) ** 0.5 * o


def of_torch(p, g, state, scale=lambda m, n: max(1, m / n) ** 0.5):
    return p * (1 - 0.05 * 0.1) - 0.05 * scale(*p.shape) * orthogonal(moved(state, g), "torch")


def moonlight(p, g, state):
    return of_torch(p, g, state, scale=lambda m, n: 0.2 * max(m, n) ** 0.5)


def norm_keeping(p, g, state):
    u, r = orthogonal(moved(state, g), "convergent"), p.norm()
    q = p - 0.05 * r * u / u.norm()
    return q * r / q.norm()


def aurora(p, g, state):
    u = moved(state, g)
    x = u if u.shape[0] > u.shape[1] else u.T
    balance = torch.ones(len(x), 1, dtype=x.dtype)
    if len(x) != x.shape[1]:
        balance = 1 / x.norm(dim=1, keepdim=True)
        rows = orthogonal(balance * x, "convergent").norm(dim=1, keepdim=True)
        balance = balance * (len(x) / x.shape[1] / rows.square()).sqrt()
    o = orthogonal(balance * x, "convergent")
    o = o if u.shape[0] > u.shape[1] else o.T
    return p * (1 - 0.05 * 0.1) - 0.05 * max(1, p.shape[0] / p.shape[1]) ** 0.5 * o


def right_polar(p, g, state, rows=False):
    """The inverse root of a Gram matrix by the coefficients of Polar Express, and so an oracle for these alone."""
    moved(state, g)
    m = state["m"]
    identity = torch.eye(m.shape[1], dtype=m.dtype)
    gram = m.T @ m + 1e-8 * identity
    divisor = 1.02 * gram.norm() + 1e-8
    gram, root = gram / divisor, identity
    for a, b, c in DIALECTS["polar_express"].coefficients[:5]:
        factor = a * identity + b * gram + c * gram @ gram
        root, gram = root @ factor, gram @ factor @ factor
    u = m @ root / divisor.sqrt()
    u = u * (m * u).sum()
    return p * (1 - 0.05 * 0.1) - 0.05 * (u / (u.norm(dim=1, keepdim=True) + 1e-8) if rows else u)


METHODS = {
    "KJ SingleDeviceMuon": jordan,
    "torch.optim.Muon original": of_torch,
    "torch.optim.Muon match_rms_adamw": moonlight,
    "MuonH": norm_keeping,
    "Aurora": aurora,
    "RightPolarGradM": right_polar,
    "HybridPolarGradM row": lambda p, g, state: right_polar(p, g, state, rows=True),
}


@pytest.mark.parametrize("case", METHODS)
def test_published_trajectories(case):
    for name in golden.tensors_of(case):
        p, state = golden.start(name), {}
        for step in range(1, 6):
            p = METHODS[case](p, golden.gradient(name, step, p), state)
            if step in golden.STEPS:
                assert (p - golden.expected(case, step, name)).abs().max() < 1e-9, (name, step)


@pytest.mark.parametrize(
    ("case", "dialect"), [("torch.optim.Muon original", "torch"), ("KJ SingleDeviceMuon", "classic")]
)
def test_our_muon_goes_where_the_published_ones_do(case, dialect):
    names = golden.tensors_of(case)
    parameters = [nn.Parameter(golden.start(name)) for name in names]
    optimizer = Muon(parameters, lr=0.05, weight_decay=0.1, newton_schulz=dialect)
    for step in range(1, 6):
        for name, p in zip(names, parameters, strict=True):
            p.grad = golden.gradient(name, step, p.detach())
        optimizer.step()
        if step in golden.STEPS:
            for name, p in zip(names, parameters, strict=True):
                assert (p.detach() - golden.expected(case, step, name)).abs().max() < 1e-9, (name, step)


# Facts of the methods, as their papers and codes have them.
ITERATIONS = {"classic": 5, "torch": 5, "convergent": 12, "polar_express": 5, "modula": 6}
ENDS = {
    "classic": (0.67, 1.21),
    "torch": (0.67, 1.21),
    "convergent": (1 - 1e-6, 1 + 1e-6),
    "polar_express": (0.8, 1.2),
    "modula": (0.9, 1.1),
}
"""Where singular values end that begin between 0.1 and 1 times the largest."""


def by_singular_values(matrix, dialect, steps):
    """The slow form: each singular value passes through the polynomials."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    chosen = DIALECTS[dialect]
    values = values / chosen.divisor(values.square().sum().sqrt())
    for step in range(steps):
        a, b, c = chosen.coefficients[min(step, len(chosen.coefficients) - 1)]
        values = a * values + b * values**3 + c * values**5
    return left @ values.diag() @ right


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (11, 3), (1, 6), (6, 1), (1, 1)], ids=str)
def test_each_singular_value_passes_through_the_polynomials(dialect, shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    for steps in (None, 1, 8):
        slow = [by_singular_values(matrix, dialect, steps or ITERATIONS[dialect]) for matrix in matrices]
        torch.testing.assert_close(orthogonal(matrices, dialect, steps), torch.stack(slow), rtol=0, atol=1e-12)
    in_float = orthogonal(matrices.float(), dialect)
    torch.testing.assert_close(in_float.double(), orthogonal(matrices, dialect), rtol=0, atol=2e-5)
    assert torch.equal(orthogonal(matrices[0], dialect), orthogonal(matrices[:1], dialect)[0])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_where_singular_values_end(dialect):
    square = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    left, right = torch.linalg.qr(square)[0]
    matrix = left @ torch.linspace(0.1, 1, 12, dtype=torch.float64).diag() @ right
    values = torch.linalg.svdvals(orthogonal(3 * matrix, dialect))
    low, high = ENDS[dialect]
    assert low < values.min()
    assert values.max() < high


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_matrix_of_zeros_stays_one(dialect, dtype):
    assert torch.equal(orthogonal(torch.zeros(2, 3, 4, dtype=dtype), dialect), torch.zeros(2, 3, 4, dtype=dtype))


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16], ids=str)
def test_tensors_of_all_shapes_are_treated_as_if_alone(dtype):
    generator = torch.Generator().manual_seed(1)
    shapes = [(4, 6), (6, 4), (4, 3, 2, 1), (4, 6), (4, 2, 3), (5, 1)]
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    for tensor, result in zip(tensors, orthogonal_each(tensors, dtype=dtype), strict=True):
        alone = orthogonal(tensor.flatten(1).to(dtype or torch.float32)).float().view(tensor.shape)
        assert result.dtype is torch.float32
        torch.testing.assert_close(result, alone, rtol=0, atol=0.03 if dtype is torch.bfloat16 else 1e-6)
    (exact,) = orthogonal_each([tensors[0].double()], dtype=torch.bfloat16)
    assert torch.equal(exact, orthogonal(tensors[0].double()))


def test_the_cost_is_that_of_the_three_products():
    assert newton_schulz_cost(3, 5) == newton_schulz_cost(5, 3) == 3 * 5 * 3 + 3 * 3 * 3 + 3 * 3 * 5


def test_an_unknown_dialect_is_refused():
    with pytest.raises(BadInputError, match=r"Unknown dialect 'quintic'.*classic, torch, convergent"):
        orthogonal(torch.ones(2, 2), "quintic")
