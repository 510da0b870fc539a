"""The benchmark's points and batch sizes, as facts: a wrong digit makes a wrong comparison."""

import json
import math
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from torch import nn

from algoperf_lightning import get_submission
from algoperf_lightning.parameters import parameter_kinds
from algoperf_lightning.roles import parameter_roles

CONFIGS = Path(str(files("algoperf_lightning.configs")))

USUAL = {
    "criteo1tb": 262_144,
    "fastmri": 32,
    "finewebedu_lm": 64,
    "imagenet_resnet": 1024,
    "imagenet_vit": 1024,
    "librispeech_conformer": 256,
    "librispeech_deepspeech": 256,
    "mnist": 16,
    "ogbg": 512,
    "wmt": 128,
}
SMALLER = {"imagenet_resnet_silu": 512, "imagenet_resnet_gelu": 512}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["adamw", "nadamw", "momentum", "nesterov", "muon", "lion", "ademamix"], {**USUAL, **SMALLER}),
        (["cautious_nadamw", "generalized_adam", "nadamw_sequential"], {**USUAL, **SMALLER}),
        (["lamb", "sam", "adafactor"], USUAL),
        (["cyclic_lr", "lawa_queue", "lawa_ema"], {**USUAL, **SMALLER, "imagenet_resnet": 512}),
        (["shampoo"], {**USUAL, **SMALLER, "librispeech_conformer": 200, "librispeech_deepspeech": 224}),
        (
            ["schedule_free_adamw"],
            {**USUAL, **SMALLER, "fastmri": 16, "imagenet_resnet": 768, "librispeech_conformer": 128},
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_batch_sizes(names, expected):
    for name in names:
        assert dict(get_submission(name).batch_sizes) == expected


def rows(name, columns):
    return [tuple(point[column] for column in columns) for point in get_submission(name).search_space]


def test_points_of_shampoo():
    numbers = ["learning_rate", "one_minus_beta1", "one_minus_beta2", "weight_decay", "one_minus_momentum"]
    assert rows("shampoo", numbers) == [
        (0.0017486387539278373, 0.06733926164, 0.00448403102, 0.08121616522670176, 1.0),
        (0.0014381744028656841, 0.025337537053408913, 0.02508024059481679, 0.00019716633625688372, 1.0),
        (4.199449275251465, 1.0, 0.0023701743773090066, 6.404237434173623e-05, 0.03150207249544311),
        (0.0012, 0.016610699316537858, 0.005888216674053163, 0.00040349948255455174, 0.5),
        (0.001308209823469072, 0.02686663061, 0.00187670778, 0.16375311233774334, 1.0),
    ]
    forms = ["inv_root_override", "grafting_type", "use_nadam"]
    others = ["warmup_factor", "label_smoothing", "dropout_rate", "step_hint_factor"]
    assert rows("shampoo", forms + others) == [
        (0, "ADAM", True, 0.02, 0.0, 0.1, 1.0),
        (0, "ADAM", True, 0.05, 0.2, 0.0, 0.6),
        (0, "SGD", False, 0.02, 0.1, 0.0, 1.0),
        (2, "ADAM", True, 0.02, 0.1, 0.1, 1.0),
        (0, "ADAM", True, 0.1, 0.1, 0.0, 1.0),
    ]


def test_points_of_generalized_adam():
    numbers = ["learning_rate", "beta1", "beta2", "weight_decay", "warmup_factor"]
    assert rows("generalized_adam", numbers) == [
        (1.9487942250159782, 0.9721703824185486, 0.0, 0.00024022723093685417, 0.1),
        (0.0023792566965593815, 0.9800966478498105, 0.9632738717172477, 0.3417568278549717, 0.01),
        (0.003705201967500061, 0.9735338788784104, 0.9785557586542197, 0.022670946869370066, 0.1),
        (0.0014271957958295392, 0.9661952124707597, 0.9957304053273589, 0.09153141484048229, 0.01),
        (0.001768509931943289, 0.9414979138541995, 0.9768053375036079, 0.0279513959224539, 0.02),
    ]
    others = ["disable_preconditioning", "dropout_rate", "label_smoothing", "horizon_factor"]
    assert rows("generalized_adam", others) == [
        (True, 0.1, 0.2, 1.0),
        (False, 0.0, 0.0, 0.75),
        (False, 0.1, 0.2, 0.75),
        (False, 0.1, 0.1, 1.0),
        (False, 0.0, 0.2, 1.0),
    ]


PAPER_SPACES = {
    "nadamw": {
        "learning_rate": (1e-4, 1e-2),
        "one_minus_beta1": (0.004, 0.1),
        "beta2": [0.999],
        "warmup_factor": [0.05],
        "weight_decay": (0.005, 1.0),
        "label_smoothing": [0.1, 0.2],
        "dropout_rate": [0.0, 0.1],
    },
    "lamb": {
        "learning_rate": (1e-4, 1e-2),
        "one_minus_beta1": (0.05, 0.3),
        "beta2": [0.999],
        "warmup_factor": [0.05],
        "weight_decay": (0.001, 1.0),
        "label_smoothing": [0.1, 0.2],
        "dropout_rate": [0.0, 0.1],
    },
    "adafactor": {
        "learning_rate": (1e-4, 1e-2),
        "one_minus_beta1": (0.01, 0.45),
        "warmup_factor": [0.05],
        "weight_decay": (0.001, 1.0),
        "label_smoothing": [0.1, 0.2],
        "dropout_rate": [0.0, 0.1],
    },
    "sam": {
        "learning_rate": (1e-4, 1e-2),
        "one_minus_beta1": (0.05, 0.43),
        "beta2": [0.999],
        "warmup_factor": [0.05],
        "weight_decay": (0.01, 0.2),
        "label_smoothing": [0.1, 0.2],
        "dropout_rate": [0.0, 0.1],
        "rho": [0.01, 0.02, 0.05],
    },
}


@pytest.mark.parametrize("name", PAPER_SPACES)
def test_spaces_of_the_paper(name):
    """With their keys in order, which decides the quasi-random sequence that each is drawn from."""
    space = json.loads((CONFIGS / "search_spaces" / f"{name}.json").read_text())
    found = {key: entry.get("feasible_points") or (entry["min"], entry["max"]) for key, entry in space.items()}
    assert list(found.items()) == list(PAPER_SPACES[name].items())
    assert all(entry["scaling"] == "log" for entry in space.values() if "min" in entry)


def test_points_of_schedule_free_adamw():
    columns = ["label_smoothing", "learning_rate", "beta2", "one_minus_beta1", "weight_decay", "warmup_factor"]
    assert rows("schedule_free_adamw", columns) == [
        (0.2, 0.003, 0.9955, 0.1, 0.08, 0.02),
        (0.4, 0.004, 0.9955, 0.1, 0.08, 0.02),
        (0.4, 0.005, 0.62918, 0.1, 0.08, 0.02),
        (0.1, 0.01, 0.99, 0.075, 0.04, 0.02),
        (0.2, 0.002, 0.9955, 0.1, 0.08, 0.02),
    ]


def test_points_of_the_first_schedule_free_adamw():
    points = json.loads((CONFIGS / "search_spaces" / "schedule_free_adamw_v1.json").read_text())
    same = {"one_minus_beta1": 0.1, "weight_decay": 0.08, "warmup_factor": 0.02, "version": "v1"}
    columns = ["dropout_rate", "label_smoothing", "learning_rate", "beta2"]
    assert [point.keys() for point in points] == [{*columns, *same}] * 5
    assert [[point[key] for key in same] for point in points] == [list(same.values())] * 5
    assert [tuple(point[column] for column in columns) for point in points] == [
        (0.1, 0.4, 0.004, 0.9955),
        (0.0, 0.2, 0.003, 0.9955),
        (0.0, 0.2, 0.002, 0.9955),
        (0.0, 0.4, 0.005, 0.62918),
        (0.0, 0.2, 0.001, 0.9955),
    ]
    assert init_args("schedule_free_adamw_v1") == points[0]


def init_args(name):
    return yaml.safe_load((CONFIGS / "submissions" / f"{name}.yaml").read_text())["submission"]["init_args"]


SELF_TUNING = {"beta2": 0.9955159689799007, "weight_decay": 0.08121616522670176, "warmup_factor": 0.02}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "nadamw_self_tuning",
            {"learning_rate": 0.0017486387539278373, "one_minus_beta1": 0.06733926164, "label_smoothing": 0.0}
            | {"dropout_rate": 0.1, **SELF_TUNING},
        ),
        (
            "nadamw_self_tuning_v10",
            {"learning_rate": 0.00190834618600756, "one_minus_beta1": 0.09090652249, "beta2": 0.998898321921855}
            | {"weight_decay": 0.08121616522670176, "warmup_factor": 0.1, "dropout_rate": 0.0, "label_smoothing": 0.0},
        ),
        (
            "nadamw_resnet_self_tuning_v10",
            {"learning_rate": 0.004126541534675243, "one_minus_beta1": 0.00780309833, "beta2": 0.9966054696718922}
            | {"weight_decay": 0.05371805022820654, "warmup_factor": 0.05, "dropout_rate": 0.1, "label_smoothing": 0.0},
        ),
        (
            "schedule_free_adamw_self_tuning",
            {"learning_rate": 0.0025, "one_minus_beta1": 0.1, "label_smoothing": 0.2, "statistics_steps": [0]}
            | SELF_TUNING,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_points_of_self_tuning_configs(name, expected):
    assert init_args(name) == expected


@pytest.mark.parametrize(("version", "steps"), [("v1", 200), ("v2", 150)])
def test_schedule_free_warms_up_three_quarters_as_long_since_its_second_version(version, steps):
    made = configured(get_submission("schedule_free_adamw")(version=version), nn.Linear(2, 2), step_hint=10_000)
    assert (made.defaults["warmup_steps"], made.defaults["eps"]) == (steps, 1e-8)


def test_schedule_free_moves_statistics_in_two_of_three_steps():
    submission = get_submission("schedule_free_adamw")
    assert submission().statistics_steps == (1, 2)  # those that are not divisible by 3
    assert [submission(version=version).statistics_at_y for version in ("v1", "v2")] == [True, False]


def test_points_of_nadamw_sequential():
    columns = ["learning_rate", "one_minus_beta1", "beta2", "weight_decay", "warmup_factor"]
    runs = get_submission("nadamw_sequential").runs
    assert [tuple(getattr(run, column) for column in (*columns, "horizon_factor")) for run in runs] == [
        (0.0014271957958295392, 0.03380478752, 0.9957304053273589, 0.09153141484048229, 0.01, 1.0),
        (0.001768509931943289, 0.05850208614, 0.9768053375036079, 0.0279513959224539, 0.02, 1.0),
        (0.0023792566965593815, 0.01990335215, 0.9632738717172477, 0.3417568278549717, 0.01, 0.75),
    ]


def test_points_of_cyclic_lr_and_lawa_are_nadamws():
    nadamw = get_submission("nadamw").search_space
    cyclic = get_submission("cyclic_lr").search_space
    points = [{key: value for key, value in point.items() if key != "num_cycles"} for point in cyclic]
    assert [nadamw.index(point) + 1 for point in points] == [2, 3, 5, 1, 5]
    assert [point["num_cycles"] for point in cyclic] == [1, 1, 1, 2, 2]
    for name, lawa in (
        ("lawa_queue", {"lawa_start_factor": 0.02, "lawa_interval_factor": 0.002, "lawa_queue_length": 10}),
        ("lawa_ema", {"lawa_start_factor": 0.02, "lawa_interval_factor": 0.005, "lawa_ema_beta": 0.2}),
    ):
        assert get_submission(name).search_space == [{**point, **lawa} for point in nadamw]


@pytest.mark.parametrize("name", ["nadamw", "shampoo", "schedule_free_adamw", "cyclic_lr", "lawa_queue", "lawa_ema"])
def test_the_default_is_the_first_point(name):
    submission = get_submission(name)
    first = submission.search_space[0]
    assert {key: submission().hyperparameters[key] for key in first} == first


def test_the_default_of_generalized_adam_is_its_third_point():
    submission = get_submission("generalized_adam")
    assert len(submission.search_space) == 5
    third = submission.search_space[2]
    assert {key: submission().hyperparameters[key] for key in third} == third


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lion", {"learning_rate": 2e-4, "beta1": 0.95, "beta2": 0.98, "weight_decay": 0.5, "warmup_factor": 0.02}),
        (
            "ademamix",
            {"learning_rate": 2e-3, "beta1": 0.8, "beta2": 0.995, "beta3": 0.9995, "alpha": 8.0, "ramp_steps": 500_000}
            | {"weight_decay": 0.1, "gradient_clip": 0.5, "warmup_factor": 0.02, "epsilon": 1e-8},
        ),
        (
            "cautious_nadamw",
            {"learning_rate": 0.0017486387539278373, "one_minus_beta1": 0.06733926164, "beta2": 0.9955159689799007}
            | {"weight_decay": 0.08121616522670176, "warmup_factor": 0.02, "dropout_rate": 0.1, "epsilon": 1e-8},
        ),
        (
            "muon",
            {"learning_rate": 0.01, "muon_lr_multiplier": 1.0, "muon_beta": 0.9, "muon_nesterov": True}
            | {"one_minus_beta1": 0.1, "beta2": 0.999, "epsilon": 1e-8, "use_nadam": False}
            | {"muon_weight_decay": 0.0, "weight_decay": 0.0, "warmup_factor": 0.05, "dropout_rate": 0.1}
            | {"label_smoothing": 0.1, "newton_schulz_dtype": "float32"},
        ),
    ],
    ids=["lion", "ademamix", "cautious_nadamw", "muon"],
)
def test_defaults_of_self_tuning_entries(name, expected):
    made = get_submission(name)()
    assert {key: made.hyperparameters[key] for key in expected} == expected
    assert made.gradient_clip == expected.get("gradient_clip")
    assert made.label_smoothing == expected.get("label_smoothing", 0.0)


def configured(submission, model, step_hint):
    kinds, roles = parameter_kinds(model), parameter_roles(model)
    view = SimpleNamespace(step_hint=step_hint, model=model, parameter_kinds=kinds, parameter_roles=roles)
    return submission.configure_optimizers(model, view)


def test_muon_at_the_point_of_jax_splits_matrices_from_the_rest():
    model = nn.ModuleDict(
        {"words": nn.Embedding(5, 4), "conv": nn.Conv2d(2, 6, 3), "norm": nn.LayerNorm(4), "linear": nn.Linear(4, 3)}
    )
    config = yaml.safe_load((files("algoperf_lightning.configs") / "submissions" / "muon_jax.yaml").read_text())
    submission = get_submission("muon")(**config["submission"]["init_args"])
    muon, nadamw = configured(submission, model, 100)["optimizer"].param_groups
    assert [tuple(p.shape) for p in muon["params"]] == [(6, 2, 3, 3), (3, 4)]
    assert {tuple(p.shape) for p in nadamw["params"]} == {(5, 4), (6,), (4,), (3,)}
    assert muon["lr"] == pytest.approx(0.0001357495179 * 28.61130298)  # 0.003884
    assert (nadamw["lr"], nadamw["nadam"]) == (0.0001357495179, True)
    assert (muon["weight_decay"], nadamw["weight_decay"]) == (0.02397563985, 0.01275028385)
    assert muon["betas"][0] == 0.9560745273
    assert nadamw["betas"] == pytest.approx((0.96586744, 0.8629173173))


def test_the_horizon_of_shampoo_is_not_rounded():
    """0.6 of fastMRI's step hint of v0.6 is 10856.4: the entry's cosine is half-way at half of the unrounded rest."""
    submission = get_submission("shampoo")
    second = submission(**submission.search_space[1])
    (rate,) = configured(second, nn.Linear(2, 2), step_hint=18_094)["lr_scheduler"].lr_lambdas
    warmup = 542  # int(0.05 * 10856.4)
    assert rate(warmup - 1) < rate(warmup) == 1.0
    assert rate(5_699) == pytest.approx(
        0.5 * (1 + math.cos(math.pi * (5_699 - warmup) / (10_856.4 - warmup))), abs=1e-12
    )
    assert rate(10_856) > 0 == rate(10_857)


def test_what_no_point_names():
    shampoo = configured(get_submission("shampoo")(), nn.Linear(2, 2), step_hint=10)["optimizer"].defaults
    assert (shampoo["precondition_frequency"], shampoo["max_preconditioner_dim"], shampoo["eps"]) == (100, 1024, 1e-8)
    assert (
        configured(get_submission("adafactor")(), nn.Linear(2, 2), step_hint=10)["optimizer"].defaults["betas"][1]
        == 0.99
    )
    for name in ("nadamw", "adamw", "lamb", "sam", "generalized_adam", "cyclic_lr", "lawa_queue", "nadamw_sequential"):
        assert configured(get_submission(name)(), nn.Linear(2, 2), step_hint=10)["optimizer"].defaults["eps"] == 1e-8
