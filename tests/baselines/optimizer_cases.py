"""Tensors of all kinds, gradients for them, and every optimizer of ours with its slow twin."""

import pytest
import slow_entries
import slow_matrices
import slow_new_methods
import slow_optimizers
import torch
from torch import nn

from algoperf_lightning.baselines.adafactor import AdafactorOptimizer
from algoperf_lightning.baselines.ademamix import AdEMAMixOptimizer
from algoperf_lightning.baselines.cautious_nadamw import CautiousNadamWOptimizer
from algoperf_lightning.baselines.generalized_adam import DecoupledNesterov
from algoperf_lightning.baselines.lamb import LambOptimizer
from algoperf_lightning.baselines.lion import LionOptimizer
from algoperf_lightning.baselines.muon import MuonOptimizer
from algoperf_lightning.baselines.prodigy import ProdigyOptimizer
from algoperf_lightning.baselines.sam import SamOptimizer
from algoperf_lightning.baselines.schedule_free import ScheduleFreeOptimizer
from algoperf_lightning.baselines.schedule_free_adamw import ScheduleFreeAdamWOptimizer
from algoperf_lightning.baselines.schedule_free_sgd import ScheduleFreeSGDOptimizer
from algoperf_lightning.baselines.shampoo import ShampooOptimizer
from algoperf_lightning.baselines.soap import SoapOptimizer
from algoperf_lightning.optim import (
    AdaptiveCaspr,
    Amos,
    Amuse,
    KLShampoo,
    KLSoap,
    LionMuon,
    NadamP,
    NadamW,
    NorMuon,
    PolarGrad,
    PSGDKron,
    ScheduleFreeProdigy,
    Scion,
)

SHAPES = {
    "scalar": (),
    "one": (1,),
    "vector": (5,),
    "wide": (4, 7),
    "tall": (9, 3),
    "convolution": (4, 3, 2, 2),
    "late": (3, 2),
}
MATRICES = {name: shape for name, shape in SHAPES.items() if len(shape) >= 2}
# SOAP's first bases are eigenvectors: with less rank than size, rounding decides which.
FULL_RANK = {"scalar": (), "vector": (5,), "wide": (3, 7), "convolution": (4, 3, 2, 2), "late": (3, 3)}
# A polar factor is that of all columns: with fewer rows, rounding decides about the rest.
FULL_COLUMNS = {"scalar": (), "vector": (5,), "tall": (9, 3), "convolution": (8, 1, 2, 2), "late": (3, 2)}
STEPS = 20
RATES = [0.05 * (1 + step % 7) / 7 for step in range(STEPS)]  # never 0, and never the same twice in a row


def random_tensor(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def starts(shapes):
    return [random_tensor(shape, seed=1000 + i) for i, shape in enumerate(shapes.values())]


def gradient_of(shapes):
    """A gradient that depends on where it is taken. The last parameter has none in the first and some later steps."""

    def gradient(step, index, value):
        if index == len(shapes) - 1 and step % 5 in (0, 3):
            return None
        return random_tensor(value.shape, seed=step * 100 + index) + 0.3 * value

    return gradient


def run(make, shapes, steps=STEPS, first=0, parameters=None, optimizer=None, missing=True):
    """Train parameters with an optimizer; returns where they end, themselves, and the optimizer."""
    gradient = gradient_of(shapes)
    parameters = [nn.Parameter(p) for p in starts(shapes)] if parameters is None else parameters
    optimizer = make(parameters) if optimizer is None else optimizer

    def closure():
        for index, p in enumerate(parameters):
            p.grad = gradient(step, index, p.detach())
            if p.grad is None and not missing:
                p.grad = random_tensor(p.shape, seed=step) + 0.3 * p.detach()
        return torch.tensor(0.0)

    for step in range(first, steps):
        if not isinstance(optimizer, ScheduleFreeOptimizer):
            for group in optimizer.param_groups:
                group["lr"] = RATES[step]
        else:
            optimizer.go_to_y()
        optimizer.step(closure)
    return [p.detach().clone() for p in parameters], parameters, optimizer


def largest_difference(ones, others):
    return max((one - other).abs().max().item() for one, other in zip(ones, others, strict=True))


def case(name, make, twin, options, shapes=SHAPES, **twin_options):
    """An optimizer, made with options, and its twin, which may call some otherwise."""
    return pytest.param(make, twin, options, shapes, {**options, **twin_options}, id=name)


def without(options, *names):
    return {name: value for name, value in options.items() if name not in names}


ADAM = {"betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.3}
FREE = {"beta1": 0.8, "weight_decay": 0.3, "warmup_steps": 6}
FREE_ADAM = {**FREE, "beta2": 0.97, "eps": 1e-6}
SHAMPOO = {**ADAM, "eps": 1e-4, "momentum": 0.0, "nadam": True, "grafting_type": "ADAM", "inv_root_override": 0}


def shampoo_case(name, foam=None, **changes):
    options = {**SHAMPOO, **changes}
    ours = {"precondition_frequency": 5, "max_preconditioner_dim": 6}

    if foam:
        ours |= {"precondition_frequency": 2, "refresh": "foam", "max_damping": foam[0], "foam_tolerance": foam[1]}

    def make(params, **given):
        return ShampooOptimizer(params, **given, **ours)

    twin = {"frequency": ours["precondition_frequency"], "limit": 6, "foam": foam}
    return case(name, make, slow_matrices.shampoo, options, **twin)


def make_adafactor(params, **options):
    kernels = [p for p in params if p.ndim == 4]
    others = [p for p in params if p.ndim != 4]
    return AdafactorOptimizer([{"params": others}, {"params": kernels, "factored_axes": (0, 1)}], **options)


def make_amos(params, **options):
    rows = [p for p in params if p.shape == (4, 7)]
    vectors = [p for p in params if p.ndim == 1]
    others = [p for p in params if p.shape != (4, 7) and p.ndim != 1]
    groups = [{"params": others}, {"params": vectors, "eta": 2 * options["eta"]}, {"params": rows, "blocks": 4}]
    return Amos(groups, **options)


def make_caspr(params, frequency, **options):
    return AdaptiveCaspr(params, precondition_frequency=frequency, **options)


AXES = [(0, 1) if len(shape) == 4 else (-2, -1) for shape in SHAPES.values()]
PLAIN_MATRICES = {name: shape for name, shape in SHAPES.items() if len(shape) == 2}
SCION = {"beta": 0.8, "scale": 2.0, "constrained": True}
KL = {**ADAM, "factor_beta": None, "precondition_frequency": 3, "max_preconditioner_dim": 4}
MUON = {"nesterov": False, "weight_decay": 0.3}
KRON = {"beta": 0.8, "weight_decay": 0.3, "precond_lr": 0.1, "max_size_triangular": 100, "update_probability": 1.0}
PRODIGY = {**FREE_ADAM, "d0": 0.05, "low_precision": False}
AMOS = {"betas": (0.9, 0.98), "eta": 0.7, "l2": 0.4, "style": "adam"}
CASPR = {**ADAM, "matrix_eps": 1e-3, "frequency": 3, "start": 4, "block_size": 5, "inputs_first": False}
POLAR = {**ADAM, "rule": "row", "alpha": 1.0}


CASES = [
    case("nadamw", NadamW, slow_entries.nadamp, ADAM, power=2.0),
    case("nadamp", NadamP, slow_entries.nadamp, {**ADAM, "power": 1.5}),
    case("psgd-kron", PSGDKron, slow_entries.psgd_kron, KRON),
    case("psgd-kron-diagonal", PSGDKron, slow_entries.psgd_kron, {**KRON, "max_size_triangular": 4}),
    case("psgd-kron-rarely", PSGDKron, slow_entries.psgd_kron, {**KRON, "update_probability": 0.3}),
    case("schedule-free-prodigy", ScheduleFreeProdigy, slow_entries.schedule_free_prodigy, PRODIGY),
    case(
        "schedule-free-prodigy-bfloat16",
        ScheduleFreeProdigy,
        slow_entries.schedule_free_prodigy,
        {**PRODIGY, "low_precision": True},
    ),
    case("amos", make_amos, slow_entries.amos, AMOS),
    case("amos-without-l2", make_amos, slow_entries.amos, {**AMOS, "l2": 0.0}),
    case("amos-reduced", make_amos, slow_entries.amos, {**AMOS, "style": "reduced"}),
    case("caspr", make_caspr, slow_entries.caspr, CASPR),
    case("caspr-inputs-first", make_caspr, slow_entries.caspr, {**CASPR, "inputs_first": True}),
    *(
        case(f"polar-grad-{rule}", PolarGrad, slow_entries.polar_grad, {**POLAR, "rule": rule}, shapes)
        for rule, shapes in (
            ("orthogonal", SHAPES),
            ("row", SHAPES),
            ("row_centered", SHAPES),
            ("column", SHAPES),
            ("polar", FULL_COLUMNS),
            ("polar_row", FULL_COLUMNS),
        )
    ),
    case(
        "muon-split",
        lambda p, **o: MuonOptimizer(p, betas=(0.9, 0.0), **o),
        slow_entries.muon_split,
        {"split": (3, 1, 2), "weight_decay": 0.3},
        {"fused": (6, 4), "late": (6, 2)},
    ),
    case("lamb", LambOptimizer, slow_optimizers.lamb, ADAM),
    case("lamb-without-decay", LambOptimizer, slow_optimizers.lamb, {**ADAM, "weight_decay": 0.0}),
    case("lion", LionOptimizer, slow_optimizers.lion, without(ADAM, "eps")),
    case(
        "ademamix",
        AdEMAMixOptimizer,
        slow_optimizers.ademamix,
        {**ADAM, "betas": (0.8, 0.98, 0.999), "alpha": 4.0, "ramp_steps": 13},
    ),
    case("cautious-nadamw", CautiousNadamWOptimizer, slow_optimizers.cautious_nadamw, ADAM),
    case(
        "adafactor",
        make_adafactor,
        slow_optimizers.adafactor,
        {"beta1": 0.8, "beta2": 0.97, "weight_decay": 0.3},
        axes=AXES,
    ),
    case("sam", SamOptimizer, slow_optimizers.sam, {**ADAM, "rho": 0.4}),
    case("sam-fused", lambda p, **o: SamOptimizer(p, **o, fused=True), slow_optimizers.sam, {**ADAM, "rho": 0.4}),
    case(
        "generalized-adam-momentum",
        DecoupledNesterov,
        slow_optimizers.decoupled_nesterov,
        {"momentum": 0.8, "decoupled_decay": 0.3},
    ),
    *(
        case(
            f"schedule-free-adamw-{version}",
            ScheduleFreeAdamWOptimizer,
            slow_optimizers.schedule_free_adamw,
            {**FREE_ADAM, "version": version},
        )
        for version in ("v1", "v2")
    ),
    case("schedule-free-sgd", ScheduleFreeSGDOptimizer, slow_optimizers.schedule_free_sgd, FREE),
    case("prodigy", ProdigyOptimizer, slow_optimizers.prodigy, {**ADAM, "d0": 0.05}),
    case("muon", lambda p, beta, **o: MuonOptimizer(p, betas=(beta, 0.0), **o), slow_optimizers.muon,
         {**MUON, "beta": 0.9}, MATRICES),
    case("muon-nesterov", lambda p, beta, **o: MuonOptimizer(p, betas=(beta, 0.0), **o), slow_optimizers.muon,
         {**MUON, "beta": 0.9, "nesterov": True}, MATRICES),
    case("normuon", NorMuon, slow_matrices.normuon, {**MUON, "betas": (0.9, 0.8), "nesterov": True}, MATRICES),
    case("normuon-plain", NorMuon, slow_matrices.normuon, {**MUON, "betas": (0.9, 0.8)}, MATRICES),
    case("scion", Scion, slow_matrices.scion, {**SCION, "norm": "auto"}),
    case("scion-without-average", Scion, slow_matrices.scion, {**SCION, "beta": 0.0, "norm": "auto"}),
    *(
        case(f"scion-{norm}", Scion, slow_matrices.scion, {**SCION, "norm": norm, "constrained": False}, PLAIN_MATRICES)
        for norm in ("spectral", "spectral_max", "sign", "row", "column", "token", "rms")
    ),
    case(
        "soap",
        SoapOptimizer,
        slow_matrices.soap,
        {**ADAM, "precondition_frequency": 3, "max_preconditioner_dim": 4},
        FULL_RANK,
    ),
    *(
        case(name, make, slow_new_methods.kl, {**KL, **more}, FULL_RANK, adam=make is KLSoap)
        for name, make, more in (
            ("kl-shampoo", KLShampoo, {}),
            ("kl-shampoo-factor-beta", KLShampoo, {"factor_beta": 0.9, "precondition_frequency": 1}),
            ("kl-soap", KLSoap, {}),
            ("kl-soap-factor-beta", KLSoap, {"factor_beta": 0.9, "precondition_frequency": 1}),
        )
    ),
    *(
        case(f"lion-muon-{period}", LionMuon, slow_new_methods.lion_muon, {**ADAM, "lion_ratio": 0.3, "period": period})
        for period in (1, 2, 5)
    ),
    *(
        case(name, lambda p, **o: MuonOptimizer(p, betas=(0.9, 0.0), **o), slow_new_methods.muon_with_options,
             {"scale": scale, "keep_norm": keep, "weight_decay": 0.3}, MATRICES)
        for name, scale, keep in (
            ("muon-match-rms", "match_rms_adamw", False), ("muon-keep-norm", "original", True)
        )
    ),
    case("amuse", Amuse, slow_new_methods.amuse, {**FREE, "betas": (0.9, 0.97), "rho": 0.8, "eps": 1e-6}),
    shampoo_case("shampoo"),
    shampoo_case("shampoo-without-nadam", nadam=False),
    shampoo_case("shampoo-foam", foam=(0.05, 0.5), eps=1e-3),
    shampoo_case("shampoo-foam-square-root", foam=(0.01, 0.75), eps=1e-3, inv_root_override=2),
    shampoo_case("shampoo-momentum", momentum=0.5),
    shampoo_case("shampoo-sgd-graft", grafting_type="SGD", betas=(0.0, 0.99), momentum=0.9, nadam=False),
    shampoo_case("shampoo-square-root", inv_root_override=2),
    shampoo_case("shampoo-long-axis", max_axis=7),
    shampoo_case("shampoo-long-axis-sgd-graft", max_axis=7, grafting_type="SGD", betas=(0.0, 0.99), nadam=False),
]  # fmt: skip

BAD_OPTIONS_OF_MATRIX_METHODS = [
    (NadamP, "power", 0.0, "be positive"),
    (PSGDKron, "beta", 1.0, r"be in \[0, 1\)"),
    (PSGDKron, "precond_lr", -0.1, "not be negative"),
    (PSGDKron, "precond_init_scale", 0.0, "be positive"),
    (PSGDKron, "max_size_triangular", -1, "not be negative"),
    (PolarGrad, "rule", "rows", "be one of orthogonal, polar, polar_row, row, row_centered, column"),
    (PolarGrad, "alpha", -1.0, "not be negative"),
    (ScheduleFreeProdigy, "d0", 0.0, "be positive"),
    (Amos, "eta", 0.0, "be positive"),
    (Amos, "l2", -0.1, "not be negative"),
    (Amos, "blocks", 0, "be 1 or more"),
    (Amos, "style", "adamw", "be one of adam, reduced"),
    (AdaptiveCaspr, "matrix_eps", 0.0, "be positive"),
    (AdaptiveCaspr, "block_size", 0, "be 1 or more"),
    (AdaptiveCaspr, "start", -1, "not be negative"),
    (ShampooOptimizer, "refresh", "never", "be one of fixed, foam"),
    (ShampooOptimizer, "foam_tolerance", 0.0, "be positive"),
    (ShampooOptimizer, "damping", -1.0, "not be negative"),
    (MuonOptimizer, "scale", "none", "be one of original, match_rms_adamw"),
    (KLSoap, "precondition_frequency", 0, "be 1 or more"),
    (KLSoap, "factor_beta", 1.0, r"be in \[0, 1\) or None"),
    (KLShampoo, "max_preconditioner_dim", 0, "be 1 or more"),
    (Amuse, "rho", -0.5, "not be negative"),
    (Amuse, "warmup_steps", 1, "be 2 or more"),
    (Amuse, "newton_schulz_dtype", "float16", "be one of float32, bfloat16"),
    (LionMuon, "lion_ratio", -0.5, "not be negative"),
    (LionMuon, "period", 0, "be 1 or more"),
    (LionMuon, "newton_schulz_steps", 0, "be 1 or more"),
    (LionMuon, "newton_schulz_dtype", "float16", "be one of float32, bfloat16"),
]
