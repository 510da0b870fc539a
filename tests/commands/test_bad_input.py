"""Whatever a person types, the answer is a message that names what was wrong, and exit code 2; never a traceback."""

import math
import os

import lightning as L
import pytest
from scoring_cases import run_on

from algoperf_lightning.cli import main

FILES = {
    "latin.yaml": "submission: adamw  # café\n".encode("latin-1"),
    "utf16.yaml": "submission: adamw\n".encode("utf-16"),
    "twice.yaml": b"trainer:\n  max_steps: 3\ntrainer:\n  max_steps: 4\n",
    "twice_within.yaml": b"trainer:\n  max_steps: 3\n  max_steps: 4\n",
    "null_group.yaml": b"trainer:\n",
    "list_group.yaml": b"trainer: [1, 2]\n",
    "list.yaml": b"- 1\n- 2\n",
    "text.yaml": b"hello\n",
    "cut.yaml": b"trainer: {max_steps: [3\n",
    "tab.yaml": b"trainer:\n\tmax_steps: 3\n",
    "binary.yaml": b"\x00\x01\x02",
    "itself.yaml": b"a: &a [*a]\n",
    "python.yaml": b"trainer: !!python/object/apply:os.system [ls]\n",
    "null_submission.yaml": b"submission:\n",
    "list_submission.yaml": b"submission: [adamw]\n",
    "number_submission.yaml": b"submission: 3\n",
    "null_class.yaml": b"submission:\n  class_path:\n",
    "list_arguments.yaml": b"submission:\n  class_path: adamw\n  init_args: [1]\n",
    "unknown_name.yaml": b"workload: digist\nsubmission: adamw\n",
    "unknown_class.yaml": b"submission: {class_path: adamx}\n",
    "unknown_argument.yaml": b"submission: {class_path: adamw, init_args: {learning_rat: 0.1}}\n",
    "unknown_key.yaml": b"trainr: {max_steps: 3}\n",
    "unknown_option.yaml": b"trainer: {acelerator: cpu}\n",
    "wrong_type.yaml": b"workload: digits\nsubmission: {class_path: adamw, init_args: {learning_rate: fast}}\n",
    "config_in_config.yaml": b"config: digits\n",
    "a_file": b"x",
    "mine.py": b"""
from algoperf_lightning.baselines import AdamW
x = 3
class Raises(AdamW):
    search_space = None
    def __init__(self, rate: float = 1.0):
        raise RuntimeError("no luck")
class Needs(AdamW):
    search_space = None
    def __init__(self, rate: float):
        pass
""",
    "exits.py": b"import sys\nsys.exit()\n",
    "garbled.py": b"def (:\n",
    "space.json": b"[1",
}

FIT = [
    # YAML files
    ("--config latin.yaml", "latin.yaml, line 1: the text is not UTF-8"),
    ("--config utf16.yaml", "utf16.yaml, line 1: the text is not UTF-8"),
    ("--config twice.yaml", "twice.yaml, line 3: 'trainer' is given twice"),
    ("--config twice_within.yaml", "twice_within.yaml, line 3: 'max_steps' is given twice"),
    ("--config null_group.yaml", "null_group.yaml: trainer must be a mapping of options to values"),
    ("--config list_group.yaml", "trainer must be a mapping of options to values or a file with one, but is [1, 2]"),
    ("--config list.yaml", "list.yaml must map options to values"),
    ("--config text.yaml", "but contains 'hello'"),
    ("--config cut.yaml", "cut.yaml, line 2"),
    ("--config tab.yaml", "tab.yaml, line 2"),
    ("--config binary.yaml", "binary.yaml"),
    ("--config itself.yaml", "itself.yaml refers to itself"),
    ("--config python.yaml", "python.yaml, line 1"),
    (
        "--config null_submission.yaml",
        "submission must be a name, a mapping of options to values or a file with one, but is empty",
    ),
    ("--config list_submission.yaml", "['adamw']"),
    ("--config number_submission.yaml", "but is 3"),
    ("--config null_class.yaml", "submission.class_path must be a name or an import path, but is empty"),
    ("--config list_arguments.yaml", "submission.init_args must map arguments to values, but is [1]"),
    ("--config unknown_name.yaml", "Unknown workload 'digist'. Did you mean 'digits'?"),
    ("--config unknown_class.yaml", "Unknown submission 'adamx'. Did you mean 'adamw'?"),
    ("--config unknown_argument.yaml", "submission.learning_rat. Did you mean submission.learning_rate? AdamW takes: "),
    ("--config unknown_key.yaml", "unknown_key.yaml: trainr. Did you mean trainer"),
    ("--config unknown_option.yaml", "trainer.acelerator. Did you mean trainer.accelerator?"),
    ("--config wrong_type.yaml", "wrong_type.yaml: submission.learning_rate must be a number, but is 'fast'"),
    ("--config config_in_config.yaml", "a config cannot include another one"),
    ("--config a_folder.yaml", "a_folder.yaml cannot be read: Is a directory"),
    ("--config gone.yaml", "gone.yaml cannot be read: No such file"),
    ("--config digist", "Unknown config 'digist'. Did you mean 'digits'?"),
    ("--config", "--config needs a value"),
    # Options that do not exist
    ("--seed 3", "Unknown option --seed. Did you mean --workload.seed?"),
    ("--max_steps 10", "Did you mean --trainer.max_steps?"),
    ("--max-steps 10", "Did you mean --trainer.max_steps?"),
    ("--lr 0.1", "Did you mean --submission.learning_rate?"),
    ("--wd 0.1", "Did you mean --submission.weight_decay?"),
    ("--devices 2", "Did you mean --trainer.devices?"),
    ("--precision 16", "Did you mean --trainer.precision?"),
    ("--budget 3", "Did you mean --time_budget.budget?"),
    ("--folder x", "Did you mean --recorder.folder?"),
    ("--data-dir x", "Did you mean --workload.data_dir?"),
    ("--trainer.seed 3", "Did you mean --workload.seed?"),
    ("--trainer.max_step 3", "Did you mean --trainer.max_steps?"),
    ("--submission.lr 0.1", "Did you mean --submission.learning_rate? AdamW takes: learning_rate, "),
    ("--submission.learning_rat 0.1", "Did you mean --submission.learning_rate?"),
    ("--submission.init_args.lr 3", "Did you mean --submission.learning_rate?"),
    ("--workload.sed 3", "Did you mean --workload.seed? Digits takes: "),
    ("--workload.data-dir x", "Did you mean --workload.data_dir?"),
    ("--recorder.chekpoint 3", "Did you mean --recorder.checkpoint? TrialRecorder takes: folder, checkpoint"),
    ("--recoder.folder x", "Did you mean --recorder.folder?"),
    ("--time_budgt.budget 3", "Did you mean --time_budget.budget?"),
    ("--ckpt_pat x", "Did you mean --ckpt_path?"),
    ("--progress_bar.x 1", "Unknown option --progress_bar.x"),
    ("--unknown 3", "Unknown option --unknown"),
    ("-x 3", "Unknown option -x"),
    ("digits", "takes options only, but got 'digits'. Did you mean --config digits?"),
    ("adamw", "Did you mean --submission adamw?"),
    ("stray", "'stray'"),
    ("--submission.learning_rate", "--submission.learning_rate needs a value"),
    # Values
    ("--submission.learning_rate abc", "--submission.learning_rate must be a number, but is 'abc'"),
    ("--workload.seed abc", "--workload.seed must be an integer, but is 'abc'"),
    ("--workload.tiny maybe", "--workload.tiny must be true or false, but is 'maybe'"),
    ("--workload.compile fastest", "Unknown compile mode 'fastest'"),
    ("--workload.compile max-autotun", "Did you mean 'max-autotune'?"),
    ("--trainer.accelerator quantum", "--trainer.accelerator 'quantum'"),
    ("--trainer.devices 0", "--trainer.devices '0'"),
    ("--trainer.devices abc", "--trainer.devices 'abc'"),
    ("--trainer.devices [5]", "--trainer.devices '[5]'"),
    ("--trainer.num_nodes 0", "but got 0"),
    ("--trainer.strategy quick", "strategy='quick'"),
    ("--trainer.precision half", "--trainer.precision must be one of 64, 32, 16, "),
    ("--trainer.max_steps -5", "-5"),
    ("--trainer.max_steps abc", "--trainer.max_steps must be an integer, but is 'abc'"),
    ("--trainer.max_epochs -7", "-7"),
    ("--trainer.max_time soon", "--trainer.max_time 'soon'"),
    ("--trainer.logger quick", "'quick'"),
    ("--trainer.callbacks foo", "'foo'"),
    ("--trainer.callbacks+=EarlyStopping", "required: monitor"),
    ("--trainer.profiler fast", "--trainer.profiler 'fast'"),
    ("--trainer.plugins foo", "'foo'"),
    ("--trainer.gradient_clip_algorithm foo", "foo"),
    ("--trainer.limit_train_batches 2.5", "2.5"),
    ("--trainer.overfit_batches 2.5", "2.5"),
    ("--trainer.val_check_interval abc", "'abc'"),
    ("--trainer.fast_dev_run -1", "-1"),
    ("--trainer.deterministic maybe", "'maybe'"),
    ("--trainer.barebones true", "--trainer.barebones 'true'"),
    ("--trainer.reload_dataloaders_every_n_epochs -1", "-1"),
    ("--trainer foo", "--trainer must be a mapping of options to values or a file with one, but is 'foo'"),
    ("--trainer null", "'null'"),
    ("--trainer gone.yaml", "gone.yaml cannot be read"),
    ("--recorder null", "--recorder must be a mapping"),
    ("--time_budget.budget nan", "'nan'"),
    ("--time_budget.budget 0", "budget must be a positive number"),
    ("--time_budget.unit hours", "--time_budget.unit must be one of seconds, steps, epochs, but is 'hours'"),
    ("--time_budget.ruleset extern", "Did you mean 'external'?"),
    ("--ckpt_path gone", "gone: no such file"),
    ("--ckpt_path a_folder.yaml", "a_folder.yaml"),
    ("--print_config=foo", "foo"),
    # Classes
    ("--workload digits_tiny", "digits has no tiny form, because it is already small."),
    ("--workload digits_tiny", "--workload digits."),
    ("--workload mnist_tiny", "For one trial of it: --workload mnist --workload.tiny true."),
    ("--workload imagenet_vit_glu", "For one trial of it: --workload imagenet_vit --workload.variant glu."),
    ("--workload ogbg_gelu_tiny", "--workload ogbg --workload.variant gelu --workload.tiny true."),
    ("--workload imagenet_vit_gl", "Did you mean 'glu'?"),
    ("--submission adam", "Unknown submission 'adam'. Did you mean 'adamw'?"),
    ("--submission AdamX", "Unknown submission 'AdamX'. Did you mean 'AdamW'?"),
    ("--submission.help adam", "Did you mean 'adamw'?"),
    ("--workload.help digist", "Did you mean 'digits'?"),
    ("--submission gone.X", "there is no module 'gone', neither installed nor in the current folder"),
    ("--submission mine.Raise", "'Raise'. Did you mean 'Raises'?"),
    ("--submission mine.x", "'mine.x' must be a subclass of Submission, but is 3"),
    ("--submission mine.Raises", "RuntimeError: no luck (mine.py, line 7)"),
    ("--submission mine.Needs", "mine.Needs: the following arguments are required: rate"),
    ("--submission exits.X", "'exits.X' cannot be imported: SystemExit (exits.py, line 2)"),
    ("--submission garbled.X", "garbled.py, line 1"),
    ("--submission json.JSONDecoder", "must be a subclass of Submission"),
    ("--submission algoperf_lightning.workloads.Digits", "must be a subclass of Submission"),
    ("--workload algoperf_lightning.baselines.AdamW", "must be a subclass of Workload"),
    ("--submission .", "'.'"),
    ("--submission 3", "'3'"),
    ("--submission", "--submission needs a value"),
    ('--submission={"class_path":"adamw","init_args":{"lr":3}}', "Did you mean --submission.learning_rate?"),
    ("--submission={", "--submission, line 1"),
    # What the run itself finds when it begins
    ("--recorder.folder a_file", "a_file cannot be a folder: a_file is a file"),
    ("--recorder.folder a_file/x", "a_file is a file"),
    ("--recorder.folder /proc/nobody/x", "/proc/nobody/x cannot be created"),
    ("--trainer.default_root_dir a_file/x", "a_file is a file"),
    ("--trainer.accumulate_grad_batches 0", "accumulate_grad_batches=0"),
    ("--trainer.fast_dev_run true", "fast_dev_run"),
]

OTHERS = [
    ("fot", "Unknown command 'fot'. Did you mean 'fit'?"),
    ("fit", "No workload and no submission was given"),
    ("fit --workload digits", "No submission was given"),
    ("fit --submission adamw", "No workload was given"),
    ("list --versoin 0.5", "Unknown option --versoin. Did you mean --version?"),
    ("list --version 7", "'7'"),
    ("list digist", "Did you mean 'digits'?"),
    ("list --data-dir", "--data-dir"),
    ("data", "ACTION"),
    ("data prepar mnist", "Did you mean prepare?"),
    ("data tiny", "algoperf data tiny --all"),
    ("data tiny mnits", "Did you mean 'mnist'?"),
    ("data tiny mnist --data-dri x", "Did you mean --data-dir?"),
    ("data tiny mnist --data-dir a_file", "a_file is a file"),
    ("data tiny fastmri --data-dir a_file/x", "a_file is a file"),
    ("data tiny librispeech_conformer --data-dir a_file/x", "a_file is a file"),
    ("data check mnist --data-dir a_file", "a_file/MNIST"),
    ("data check ogbg --data-dir gone", "gone/ogbg"),
    ("score", "RUNS"),
    ("score gone", "gone does not exist"),
    ("score a_file", "a_file is neither a folder of runs, nor a table"),
    ("score a_folder.yaml", "a_folder.yaml contains no runs"),
    ("score runs --mode publishd", "Did you mean published?"),
    ("score runs --draws x", "'x'"),
    ("score runs --verson 1.0", "Did you mean --version?"),
    ("score runs --version 3", "'3'"),
    ("score runs --ruleset extern", "'extern'"),
    ("score runs --output a_file", "a_file is a file"),
    ("score runs --output a_file/x", "a_file is a file"),
    ("score runs --export a_file/x", "a_file is a file"),
    ("score runs --benchmark gone.yaml", "gone.yaml"),
    ("score runs --benchmark latin.yaml", "latin.yaml"),
    ("score runs --benchmark list.yaml", "list.yaml"),
    ("score runs --benchmark a_folder.yaml", "a_folder.yaml"),
    ("score runs --baseline nobody", "nobody"),
    ("score runs --draws -5", "-5"),
    ("score runs --seed -1", "-1"),
    ("status", "RUNS"),
    ("status gone", "gone"),
    ("status a_file", "a_file"),
    ("status --foo", "Unknown option --foo"),
    ("tune", "--submission, --output"),
    ("tune digits --submision adamw --output r", "Did you mean --submission?"),
    ("tune digits --submission adamw", "--output"),
    ("tune digits --submission adamw --output a_file", "a_file is a file"),
    ("tune digits --submission adamw --output a_file/x", "a_file is a file"),
    ("tune digits --submission adam --output r", "Did you mean 'adamw'?"),
    ("tune digist --submission adamw --output r", "Did you mean 'digits'?"),
    ("tune digits --submission adamw --output r --studies 0", "studies must be a positive integer, but got 0"),
    ("tune digits --submission adamw --output r --studies x", "'x'"),
    ("tune digits --submission adamw --output r --seed -1", "-1"),
    ("tune digits --submission adamw --output r --unit minutes", "'minutes'"),
    ("tune digits --submission adamw --output r --version 9", "'9'"),
    ("tune digits --submission adamw --output r --ruleset externl", "Did you mean 'external'?"),
    ("tune digits --submission adamw --output r --method sobol", "'sobol'"),
    ("tune digits --submission adamw --output r --launcher slrum", "Did you mean 'slurm'?"),
    ("tune digits --submission adamw --output r --option job=3", "Did you mean 'jobs'?"),
    ("tune digits --submission adamw --output r --option jobs=x", "jobs=x"),
    ("tune digits --submission adamw --output r --search-space gone.json", "gone.json"),
    ("tune digits --submission adamw --output r --search-space space.json", "space.json"),
    ("tune digits --submission adamw --output r --calibration gone.json", "gone.json"),
    ("tune digits --submission adamw --output r --calibration a_file", "a_file"),
    ("tune digits --submission adamw --output r --suite tny", "Did you mean 'tiny'?"),
    ("tune digits --submission adamw --output r --max_steps 3", "-- --trainer.max_steps"),
    ("tune digits --submission adamw --output r --trainer.max_steps 3", "-- --trainer.max_steps"),
    ("tune digits --submission mine.x --output r", "'mine.x' must be a subclass of Submission"),
    ("tune digits --submission mine.Raises --output r --ruleset self-tuning", "no luck"),
    ("tune digits --submission mine.Needs --output r --ruleset self-tuning", "rate"),
    ("tune digits --submission exits.X --output r", "exits.X"),
    ("tune digits --submission gone.X --output r", "'gone'"),
    ("tune digits --submission adamw --output r -- --trainer.max_step 3", "Did you mean --trainer.max_steps?"),
    ("tune digits --submission adamw --output r -- --config nope", "Unknown config 'nope'"),
    ("tune digits --submission adamw --output r -- --config twice.yaml", "'trainer' is given twice"),
    ("tune digits --submission adamw --output r -- --time_budget.budget x", "'x'"),
    ("tune digits --submission adamw --output r -- stray", "'stray'"),
    ("calibrate", "WORKLOAD"),
    ("calibrate obgg", "Did you mean 'ogbg'?"),
    ("calibrate digits", "digits cannot be calibrated"),
    ("calibrate ogbg --steps 0", "--steps must be a positive integer, but got 0"),
    ("calibrate ogbg --submission adam", "Did you mean 'adamw'?"),
    ("calibrate ogbg --output a_file/x", "a_file/x"),
    ("calibrate ogbg --output a_folder.yaml", "a_folder.yaml"),
    ("calibrate ogbg --versoin 0.5", "Did you mean --version?"),
    ("calibrate ogbg --data-dir gone", "gone/ogbg"),
    ("calibrate ogbg -- --trainer.max_step 3", "Did you mean --trainer.max_steps?"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of bad files, and a run that can be scored."""
    made = tmp_path_factory.mktemp("bad_input")
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    (made / "a_folder.yaml").mkdir()
    run_on(made / "runs" / "study_1" / "digits" / "trial_1", "digits", math.inf)
    return made


def said(arguments, folder, monkeypatch, capsys):
    """What is printed as the error; the command must end with exit code 2."""
    monkeypatch.chdir(folder)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("trial.json")}
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2, error
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("algoperf: ")]
    assert lines, error
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("trial.json")} == before
    return error


@pytest.mark.parametrize(("arguments", "expected"), FIT, ids=[arguments for arguments, _ in FIT])
def test_fit(arguments, expected, folder, monkeypatch, capsys):
    given = ["fit", "--config", "digits", *arguments.split(" ")]
    error = said(given, folder, monkeypatch, capsys)
    assert expected in error
    if "recorder" not in arguments and "trainer" not in arguments:
        assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(("arguments", "expected"), OTHERS, ids=[arguments for arguments, _ in OTHERS])
def test_other_commands(arguments, expected, folder, monkeypatch, capsys):
    assert expected in said(arguments.split(" "), folder, monkeypatch, capsys)


def test_what_only_looks_bad_runs(folder, monkeypatch, capsys, tmp_path):
    """The counterpart: configs that are unusual and right."""
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr(L.Trainer, "fit", lambda self, model, **_: started.append(model) or os._exit)
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    (tmp_path / "null.yaml").write_text("ckpt_path:\n")
    (tmp_path / "merged.yaml").write_text(
        "workload: &w\n  class_path: digits\n  init_args: &a\n    seed: 1\nsubmission: adamw\n"
        "trainer:\n  <<: {max_steps: 3}\n  max_steps: 4\n"
    )
    for config in ("empty", "null", "merged"):
        with pytest.raises(RuntimeError, match="No run was measured"):  # as fit does nothing here
            main(["fit", "--config", "digits", "--config", f"{config}.yaml"])
    assert len(started) == 3
    assert started[-1].seed == 1
