"""Suites, and budgets scaled for a slower machine."""

import json
import math

import pytest
import yaml

from algoperf_lightning.cli import main
from algoperf_lightning.commands.calibrate import report as report_calibration
from algoperf_lightning.errors import BadInputError
from algoperf_lightning.registry import find_workload
from algoperf_lightning.tuning.calibration import Calibration, add_calibration, read_scales, reference_of
from algoperf_lightning.tuning.studies import find_studies
from algoperf_lightning.tuning.suites import get_suite, with_variant

NINE = {
    "criteo1tb", "fastmri", "finewebedu_lm", "imagenet_resnet", "imagenet_vit", "librispeech_conformer",
    "librispeech_deepspeech", "ogbg", "wmt",
}  # fmt: skip
# Milliseconds per step on the scored machines, 4 A100, in the logs of 8 PyTorch submissions: median, lowest, highest.
MEASURED = {
    "criteo1tb": (869, 825, 1_571), "fastmri": (47, 33, 129), "imagenet_resnet": (642, 616, 745),
    "imagenet_vit": (793, 758, 825), "librispeech_conformer": (697, 594, 714),
    "librispeech_deepspeech": (755, 421, 761), "finewebedu_lm": (393, 385, 426), "ogbg": (221, 208, 232),
    "wmt": (146, 135, 176),
}  # fmt: skip
# The same of 9 JAX submissions; the two whose input PyTorch waits for.
MEASURED_JAX = {"imagenet_resnet": (251, 250, 371), "imagenet_vit": (454, 433, 478)}


def test_the_tiny_suite_is_the_nine_at_tiny_size_and_digits_in_steps():
    suite = get_suite("tiny", "1.0")
    assert set(suite.choose([])) == {f"{name}_tiny" for name in NINE} | {"digits"}
    assert suite.choose(["wmt", "digits", "ogbg_tiny"]) == ["wmt_tiny", "digits", "ogbg_tiny"]
    assert suite.unit == "steps"
    for name in suite.choose([]):
        assert find_workload(name).full_name == name
    with pytest.raises(BadInputError, match=r"Unknown workload of the suite 'tiny' 'wnt'. Did you mean 'wmt'"):
        suite.choose(["wnt"])


@pytest.mark.parametrize(("version", "count"), [("0.5", 8), ("0.6", 8), ("1.0", 9)])
def test_the_algoperf_suite_is_that_of_the_version(version, count):
    suite = get_suite("algoperf", version)
    assert (len(suite.choose([])), suite.unit) == (count, "seconds")
    assert set(suite.choose([])) <= NINE


def test_the_crowded_valley_suite_is_the_eight_problems_in_epochs():
    suite = get_suite("crowded-valley", "1.0")
    names = suite.choose([])
    assert (len(names), suite.unit) == (8, "epochs")
    assert [find_workload(name).epochs for name in names] == [100, 50, 100, 100, 100, 350, 160, 200]
    assert suite.choose(["mnist_vae_tiny"]) == ["mnist_vae_tiny"]
    assert len(suite.more) == len({find_workload(name).full_name for name in suite.more}) == 4 * 7 + 6
    assert {f"quadratic_deep_faithful_{instance}" for instance in (2, 3, 10, 12)} <= set(suite.more)
    faithful = with_variant([*names, "svhn_wrn164_tiny", "digits"], "faithful", "1.0")
    assert faithful[:8] == [f"{name}_faithful" for name in names]
    assert faithful[8:] == ["svhn_wrn164_faithful_tiny", "digits"]  # digits has no such variant
    assert with_variant(faithful, "faithful", "1.0") == faithful


def test_an_unknown_suite_and_no_workload_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["tune", "--suite", "tinny", "--submission", "adamw", "--output", str(tmp_path)])
    assert "Did you mean 'tiny'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["tune", "--submission", "adamw", "--output", str(tmp_path)])
    assert "--suite tiny" in capsys.readouterr().err


# Calibration


def calibration(workload="fastmri", version="1.0", seconds=0.8, reference=0.376, jax=None):
    return Calibration(workload, version, "adamw", seconds, reference, "measured", jax, {"cpu": "one"}, "2026-01-01")


@pytest.mark.parametrize("name", sorted(NINE))
def test_the_benchmarks_step_times(name):
    reference = reference_of(find_workload(name))
    assert reference.source == "measured"
    if name != "finewebedu_lm":  # older budgets were the time of the step hint on 8 V100
        old = find_workload(name, "0.6")
        assert reference_of(old).seconds == pytest.approx(old.budget / old.step_hint)
        assert (reference_of(old).source, reference_of(old).jax_seconds) == ("budget", None)
    with pytest.raises(BadInputError, match=f"{name}_tiny cannot be calibrated.*unit steps"):
        reference_of(find_workload(f"{name}_tiny"))


@pytest.mark.parametrize("name", sorted(NINE))
def test_the_benchmarks_own_machine_is_calibrated_to_about_one(name):
    reference, (median, lowest, highest) = reference_of(find_workload(name)), MEASURED[name]
    scales = [
        calibration(name, seconds=each / 1e3, reference=reference.seconds).scale for each in (lowest, median, highest)
    ]
    assert scales[1] == pytest.approx(1, abs=0.05)
    assert scales[0] <= 1 <= scales[2]
    assert (reference.jax_seconds is not None) == (name in MEASURED_JAX)
    if reference.jax_seconds is not None:
        jax, lowest, highest = MEASURED_JAX[name]
        found = calibration(name, seconds=jax / 1e3, reference=reference.seconds, jax=reference.jax_seconds)
        assert found.jax_scale == pytest.approx(1, abs=0.05)
        assert lowest / 1e3 <= reference.jax_seconds <= highest / 1e3


def test_files_of_the_older_step_times_are_refused(tmp_path):
    path = tmp_path / "calibration.json"
    add_calibration(path, calibration())
    rows = json.loads(path.read_text())
    assert rows["fastmri"].pop("reference_source") == "measured"
    path.write_text(json.dumps(rows))
    with pytest.raises(BadInputError, match=r"fastmri was calibrated against step times .* corrected.*calibrate again"):
        read_scales(path, "1.0")


@pytest.mark.parametrize(("jax", "shown"), [(None, False), (0.251, True)])
def test_the_report_names_its_yardstick_and_what_is_input_bound(jax, shown, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    found = calibration("imagenet_resnet", seconds=0.502, reference=0.642, jax=jax)
    report_calibration(found, find_workload("imagenet_resnet"), [0.5, 0.502, 0.51], tmp_path / "calibration.json")
    out = capsys.readouterr().out
    assert "0.642 s on 4 x A100 40 GB" in out
    assert "measured in the logs of AlgoPerf's PyTorch submissions" in out
    assert ("input-bound" in out) == shown
    assert ("JAX code takes 0.251 s. If your input keeps up, the scale is nearer to 2." in out) == shown


def test_calibrations_of_several_workloads_share_a_file(tmp_path):
    path = tmp_path / "new" / "calibration.json"
    add_calibration(path, calibration())
    add_calibration(path, calibration("wmt", seconds=0.155, reference=0.155))
    add_calibration(path, calibration(seconds=0.752))
    assert read_scales(path, "1.0") == {"fastmri": 2.0, "wmt": 1.0}
    assert json.loads(path.read_text())["fastmri"]["scale"] == 2.0
    with pytest.raises(BadInputError, match=r"was calibrated for AlgoPerf 1\.0, not 0\.6"):
        read_scales(path, "0.6")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}x", '{"fastmri": {}}', '{"fastmri": 2}', json.dumps({"fastmri": vars(calibration(seconds=-1))})],
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match=r"calibration\.json"):
        read_scales(path, "1.0")


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(BadInputError, match="Create it with `algoperf calibrate WORKLOAD --output"):
        read_scales(tmp_path / "none.json", "1.0")


class HandsOver:
    """A launcher that runs nothing itself."""

    def slots(self):
        return None

    def run(self, launch):
        return False


def test_tune_scales_every_trial_or_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("algoperf_lightning.commands.tune_run.make_launcher", lambda name, options: HandsOver())
    path, data, runs = tmp_path / "calibration.json", str(tmp_path / "data"), tmp_path / "runs"
    main(["data", "tiny", "mnist", "fastmri", "--data-dir", data])
    add_calibration(path, calibration(seconds=0.94))
    tune = ["tune", "fastmri", "--submission", "adamw", "--calibration", str(path), "--data-dir", data]
    with pytest.raises(SystemExit):
        main([*tune, "mnist", "--output", str(runs), "--dry-run"])
    assert "mnist was not calibrated" in capsys.readouterr().err
    main([*tune, "--output", str(runs), "--studies", "1", "--trials", "1"])
    (study,) = find_studies([runs])
    assert (study.scale, study.budget) == (2.5, 2.5 * 2_745)
    assert yaml.safe_load(study.trials[0].config())["time_budget"]["scale"] == 2.5


@pytest.mark.slow  # steps of the full-size model
def test_calibrate_measures_steps_and_proposes_a_budget(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    data, path = str(tmp_path / "data"), tmp_path / "calibration.json"
    main(["data", "tiny", "ogbg", "--data-dir", data])
    capsys.readouterr()
    arguments = ["--steps", "3", "--warmup", "1", "--data-dir", data, "--output", str(path)]
    main(["calibrate", "ogbg", *arguments, "--", "--workload.compile", "false"])
    found = json.loads(path.read_text())["ogbg"]
    assert 0.05 < found["step_seconds"] < 600
    assert math.isclose(found["scale"], found["step_seconds"] / 0.221, rel_tol=0.005)
    assert (found["reference_step_seconds"], found["reference_source"]) == (0.221, "measured")
    shown = capsys.readouterr().out
    assert f"{11_303 * found['scale']:,.0f} s instead of 11,303 s" in shown
    assert f"--time_budget.scale {found['scale']:g}" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits"], "digits cannot be calibrated"),
        (["fastmri_tiny"], "fastmri_tiny cannot be calibrated"),
        (["fastmri", "--steps", "0"], "--steps must be a positive integer, but got 0"),
    ],
)
def test_what_cannot_be_calibrated_is_told(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["calibrate", *arguments])
    assert message in capsys.readouterr().err
