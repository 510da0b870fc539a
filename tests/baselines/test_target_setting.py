"""The points that set the benchmark's targets, of all workloads and variants, as facts."""

import re
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from torch import nn

from algoperf_lightning import get_workload

CONFIGS = Path(str(files("algoperf_lightning.configs"))) / "submissions"

# Three quarters of the step hint of v0.5 (the language model's: of v1.0, in which it was added), cut to whole steps.
HORIZONS = {
    "criteo1tb": 7_999,
    "fastmri": 27_141,
    "finewebedu_lm": 54_000,
    "imagenet_resnet": 139_999,
    "imagenet_vit": 139_999,
    "librispeech_conformer": 60_000,
    "librispeech_deepspeech": 36_000,
    "ogbg": 60_000,
    "wmt": 99_999,
}

# Learning rate, beta1, beta2, warm-up steps, weight decay. Only the first of these is known to be AdamW's.
VIT = (0.0008445074561975979, 0.8895758153482813, 0.9978504782314613, 6999, 0.08135402759553023)
GELU = (0.000590120167916659, 0.737199286155609, 0.05919391544031072, 9999, 0.14128519778326312)
ADAM = {
    "librispeech_conformer": (0.002106913873888147, 0.8231189937738506, 0.8774571227688758, 1199, 0.27590534177690645),
    "criteo1tb": (0.0033313215673016375, 0.948000082541717, 0.9987934318891598, 159, 0.0035784380304876183),
    "finewebedu_lm": (0.00038418421332238876, 1 - 0.01564758865, 0.992362328914093, 2700, 0.25551270901641954),
    "imagenet_vit": VIT,
    "librispeech_deepspeech": (0.004958460849689891, 0.863744242567442, 0.6291854735396584, 720, 0.1147386261512052),
    "wmt": (0.0017486387539278373, 0.9326607383586145, 0.9955159689799007, 1999, 0.08121616522670176),
    "criteo1tb_embed_init": (0.002517072211464665, 0.9908351643533544, 0.9859568907533993, 799, 0.12274552870237089),
    "criteo1tb_layernorm": (0.05493199486120455, 0.954922991734919, 0.9986188074995163, 799, 0.00011065469792077193),
    "criteo1tb_resnet": (0.001493629901423942, 0.9592129978682067, 0.9824918272399145, 399, 0.00038587516415285595),
    "fastmri_layernorm": (0.008334676559764446, 0.8294338711079317, 0.8551723332825868, 2714, 0.01371235755699044),
    "fastmri_model_size": (0.006173154695175443, 0.8496694604806512, 0.4639437428687345, 1357, 0.1679001017957879),
    "fastmri_tanh": (0.04037951750205473, 0.9932215932637941, 0.9425306939334134, 542, 0.14877061239151607),
    "imagenet_resnet_silu": (0.01897755400372091, 0.9666072782043229, 0.99681600289198, 6999, 0.015653883841116094),
    "imagenet_vit_glu": VIT,
    "imagenet_vit_map": VIT,
    "imagenet_vit_post_ln": (
        0.00026032497966327757,
        0.9709035036599892,
        0.6572080806975734,
        13999,
        0.03077045727617869,
    ),
    "librispeech_conformer_attention_temperature": (
        *(0.0007852999990476642, 0.6994142393023162, 0.9918636824608852, 6000, 0.07286322158086678),
    ),
    "librispeech_conformer_gelu": GELU,
    "librispeech_conformer_layernorm": (
        *(0.0014446807792420305, 0.7427148812902895, 0.8993064520764248, 3000, 0.06875136511682291),
    ),
    "librispeech_deepspeech_no_resnet": (
        *(0.0020162740358935045, 0.9604907112078142, 0.8765457000160508, 3600, 0.0006149579248633481),
    ),
    "librispeech_deepspeech_norm_and_spec_aug": (
        *(0.0014446807792420305, 0.7427148812902895, 0.8993064520764248, 1800, 0.06875136511682291),
    ),
    "librispeech_deepspeech_tanh": (
        *(0.003604759885558324, 0.9931094324430452, 0.9976871843749077, 720, 0.120077307855989),
    ),
    "ogbg_gelu": (0.01897755400372091, 0.9666072782043229, 0.99681600289198, 3000, 0.015653883841116094),
    "ogbg_model_size": (0.001734480757979605, 0.855609542347586, 0.9834185656478605, 3000, 0.019843063335529494),
    "ogbg_silu": (0.00027866530268792414, 0.9919340993463499, 0.9979843253162892, 6000, 0.00032418357325210813),
    "wmt_attention_temp": GELU,
    "wmt_glu_tanh": (0.000872041489644454, 0.45562164405092065, 0.9982167124443476, 4999, 0.01536114562763022),
    "wmt_post_ln": (0.0003477912008450351, 0.9936632117510711, 0.9967873550453692, 9999, 0.04120183162940475),
}

# Class, learning rate, momentum, warm-up steps, weight decay, share of the steps in which it falls, last factor.
RESNET = (4.131896390902391, 0.9274758113254791, 6999, 5.6687777311501786e-06, 0.9007765761611038)
SGD = {
    "fastmri": ("Nesterov", 0.028609, 0.981543, 1357, 0.000576, 0.984398, 0.01),
    "ogbg": (
        "Nesterov",
        2.4917728606918423,
        0.9449369031171744,
        3000,
        1.2859640541025928e-07,
        0.861509027839639,
        0.001,
    ),
    "imagenet_resnet": ("Momentum", *RESNET, 0.001),
    "imagenet_resnet_large_bn_init": ("Momentum", *RESNET, 0.01),
    "imagenet_resnet_gelu": (
        *("Momentum", 0.3850582234619253, 0.9845129495436189, 6999, 1.7359160785435053e-05),
        *(0.9504205232618159, 0.001),
    ),
}
LABEL_SMOOTHING = {
    "imagenet_resnet": 0.2,
    "imagenet_resnet_gelu": 0.2,
    "imagenet_resnet_large_bn_init": 0.2,
    "wmt_glu_tanh": 0.1,
}
SMALLER_BATCHES = {"imagenet_resnet_silu": 512, "imagenet_resnet_gelu": 512, "imagenet_vit_glu": 512}


def base_of(name):
    return next(base for base in HORIZONS if name.startswith(base))


def read(name):
    text = (CONFIGS / f"target_setting_{name}.yaml").read_text()
    config = yaml.safe_load(text)["submission"]
    module, _, cls = config["class_path"].rpartition(".")
    return text, config["class_path"], getattr(import_module(module), cls)(**config["init_args"])


def configured(submission):
    """Optimizer and schedule; today's step hint does not matter."""
    model = nn.Linear(2, 2)
    made = submission.configure_optimizers(model, SimpleNamespace(step_hint=10, model=model))
    return made["optimizer"].param_groups[0], made["lr_scheduler"]


def test_all_workloads_and_variants_have_one():
    known = {
        base if v is None else f"{base}_{v}" for base in HORIZONS for v in (None, *get_workload(base).spec.variants)
    }
    there = {path.stem.removeprefix("target_setting_") for path in CONFIGS.glob("target_setting_*.yaml")}
    assert there == known == set(ADAM) | set(SGD)
    assert len(there) == 33


@pytest.mark.parametrize("name", ADAM)
def test_points_of_adam(name):
    rate, beta1, beta2, warmup, decay = ADAM[name]
    _, path, submission = read(name)
    assert path.rpartition(".")[2] == {
        "librispeech_conformer": "AdamW",
        "imagenet_vit_glu": "TargetSettingNadamW",
    }.get(name, "NadamW")
    group, schedule = configured(submission)
    assert (group["initial_lr"], group["weight_decay"], group["eps"]) == (rate, decay, 1e-8)
    assert group["betas"] == pytest.approx((beta1, beta2), rel=1e-14)
    assert_warms_up(schedule.lr_lambdas[0], warmup)
    factor, horizon = schedule.lr_lambdas[0], HORIZONS[base_of(name)]
    assert factor(horizon - 1) > 0 == factor(horizon) == factor(2 * horizon)


@pytest.mark.parametrize("name", SGD)
def test_points_of_momentum(name):
    cls, rate, momentum, warmup, decay, decay_steps_factor, end = SGD[name]
    _, path, submission = read(name)
    assert path == f"algoperf_lightning.baselines.{cls}"
    group, schedule = configured(submission)
    assert (group["initial_lr"], group["weight_decay"]) == (rate, decay)
    assert (group["nesterov"], group["dampening"]) == (cls == "Nesterov", 0)
    assert group["momentum"] == pytest.approx(momentum, rel=1e-14)
    assert_warms_up(schedule.lr_lambdas[0], warmup)
    factor, last = schedule.lr_lambdas[0], warmup + int((HORIZONS[base_of(name)] - warmup) * decay_steps_factor)
    assert factor(last - 1) > end
    assert factor(last) == pytest.approx(end) == factor(2 * last)


def assert_warms_up(factor, steps):
    assert factor(steps) == 1.0
    assert factor(steps - 1) == pytest.approx((steps - 1) / steps)
    assert factor(steps + 1) < 1.0


@pytest.mark.parametrize("name", [*ADAM, *SGD])
def test_what_else_they_have(name):
    text, _, submission = read(name)
    assert submission.dropout is None  # the workload's own
    assert submission.gradient_clip is None
    assert submission.label_smoothing == LABEL_SMOOTHING.get(name, 0.0)
    base = base_of(name)
    variant = name.removeprefix(base).removeprefix("_") or None
    workload = get_workload(base)(submission, variant=variant)
    assert workload.batch_size == SMALLER_BATCHES.get(name, submission.batch_sizes[base])
    usage = re.sub(r" \\\n# +", " ", text)
    chosen = f" --workload.variant {variant}" if variant else ""
    assert f"# algoperf fit --config {base}{chosen} --config submissions/target_setting_{name}\n" in usage
