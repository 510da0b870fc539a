"""The benchmark's points, batch sizes and targets' points, as facts: a wrong digit makes a wrong comparison."""

from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from torch import nn

from algoperf_lightning import baselines, get_submission
from algoperf_lightning.parameters import parameter_kinds

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
    found = {
        key: entry.get("feasible_points") or (entry["min"], entry["max"])
        for key, entry in get_submission(name).search_space.items()
    }
    assert list(found.items()) == list(PAPER_SPACES[name].items())
    assert all(e["scaling"] == "log" for e in get_submission(name).search_space.values() if "min" in e)


def test_points_of_schedule_free_adamw():
    columns = ["label_smoothing", "learning_rate", "beta2", "one_minus_beta1", "weight_decay", "warmup_factor"]
    assert rows("schedule_free_adamw", columns) == [
        (0.2, 0.003, 0.9955, 0.1, 0.08, 0.02),
        (0.4, 0.004, 0.9955, 0.1, 0.08, 0.02),
        (0.4, 0.005, 0.62918, 0.1, 0.08, 0.02),
        (0.1, 0.01, 0.99, 0.075, 0.04, 0.02),
        (0.2, 0.002, 0.9955, 0.1, 0.08, 0.02),
    ]


def test_points_of_cyclic_lr_and_lawa_are_nadamws():
    nadamw = get_submission("nadamw").search_space
    cyclic = get_submission("cyclic_lr").search_space
    assert [nadamw.index({k: v for k, v in point.items() if k != "num_cycles"}) + 1 for point in cyclic] == [
        2,
        3,
        5,
        1,
        5,
    ]
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
            | {"weight_decay": 0.08121616522670176, "warmup_factor": 0.02, "dropout_rate": 0.1},
        ),
    ],
    ids=["lion", "ademamix", "cautious_nadamw"],
)
def test_defaults_of_self_tuning_entries(name, expected):
    made = get_submission(name)()
    assert {key: made.hyperparameters[key] for key in expected} == expected
    assert made.gradient_clip == expected.get("gradient_clip")
    assert made.label_smoothing == 0.0


def configured(submission, model, step_hint):
    view = SimpleNamespace(step_hint=step_hint, model=model, parameter_kinds=parameter_kinds(model))
    return submission.configure_optimizers(model, view)


def test_muon_splits_matrices_from_the_rest():
    model = nn.ModuleDict(
        {"words": nn.Embedding(5, 4), "conv": nn.Conv2d(2, 6, 3), "norm": nn.LayerNorm(4), "linear": nn.Linear(4, 3)}
    )
    muon, nadamw = configured(get_submission("muon")(), model, 100)["optimizer"].param_groups
    assert [tuple(p.shape) for p in muon["params"]] == [(6, 2, 3, 3), (3, 4)]
    assert {tuple(p.shape) for p in nadamw["params"]} == {(5, 4), (6,), (4,), (3,)}
    assert muon["lr"] == pytest.approx(0.0001357495179 * 28.61130298)  # 0.003884
    assert nadamw["lr"] == 0.0001357495179
    assert (muon["weight_decay"], nadamw["weight_decay"]) == (0.02397563985, 0.01275028385)
    assert muon["betas"][0] == 0.9560745273
    assert nadamw["betas"] == pytest.approx((0.96586744, 0.8629173173))


def test_shampoo_has_no_matrices_for_very_long_axes():
    from algoperf_lightning.baselines.shampoo_optimizer import ShampooOptimizer, blocks_of

    optimizer = ShampooOptimizer([nn.Parameter(nn.Linear(2, 2).weight)])
    assert optimizer.defaults["max_axis"] == 1_000_000
    sizes = [tuple(block.shape) for block in blocks_of(nn.Linear(1500, 1030).weight.detach(), 1024)]
    assert sizes == [(1024, 1024), (1024, 476), (6, 1024), (6, 476)]


# Workload: class, peak learning rate, warm-up steps, horizon of then, learning rate far past it as a share of the peak.
TARGET_SETTING = {
    "criteo1tb": ("NadamW", 0.0033313215673016375, 159, 7_999, 0.0),
    "fastmri": ("Nesterov", 0.028609, 1357, 27_141, 0.01),
    "imagenet_resnet": ("Momentum", 4.131896390902391, 6999, 139_999, 0.001),
    "imagenet_vit": ("NadamW", 0.0008445074561975979, 6999, 139_999, 0.0),
    "librispeech_conformer": ("AdamW", 0.002106913873888147, 1199, 60_000, 0.0),
    "librispeech_deepspeech": ("NadamW", 0.004958460849689891, 720, 36_000, 0.0),
    "ogbg": ("Nesterov", 2.4917728606918423, 3000, 60_000, 0.001),
    "wmt": ("NadamW", 0.0017486387539278373, 1999, 99_999, 0.0),
}


@pytest.mark.parametrize("workload", TARGET_SETTING)
def test_points_that_set_the_targets(workload):
    name, peak, warmup, horizon, end = TARGET_SETTING[workload]
    path = Path(str(files("algoperf_lightning.configs"))) / "submissions" / f"target_setting_{workload}.yaml"
    config = yaml.safe_load(path.read_text())["submission"]
    assert config["class_path"] == f"algoperf_lightning.baselines.{name}"
    submission = getattr(baselines, name)(**config["init_args"])
    assert submission.dropout is None
    assert submission.label_smoothing == (0.2 if workload == "imagenet_resnet" else 0.0)
    made = configured(submission, nn.Linear(2, 2), step_hint=10)  # today's step hint does not matter
    assert made["optimizer"].defaults["lr"] == peak
    factor = made["lr_scheduler"].lr_lambdas[0]
    assert factor(warmup) == 1.0
    assert factor(warmup - 1) == pytest.approx((warmup - 1) / warmup)
    assert factor(warmup + 1) < 1.0
    assert factor(horizon) == pytest.approx(end, abs=1e-12)
    if end:
        decay = {"fastmri": 0.984398, "imagenet_resnet": 0.9007765761611038, "ogbg": 0.861509027839639}[workload]
        last = warmup + int((horizon - warmup) * decay)
        assert factor(last) == pytest.approx(end)
        assert factor(last - 1) > end
    else:
        assert factor(horizon - 1) > 0
