"""Every command and every piece of Python of the documentation runs.

The bash and Python blocks of a page run in order in a folder of their own, and the page is one test. Python blocks are
the cells of one notebook. What cannot run here as it is written has a rule below; what has none runs as it stands.
"""

import ast
import csv
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import pytest
from pages import GENERATED, ROOT, Block, blocks, commands, inline_code, pages, words
from PIL import Image

from algoperf_lightning.cli import main
from algoperf_lightning.plugins import get_workload
from algoperf_lightning.registry import WORKLOADS, plugins
from algoperf_lightning.tuning.state import look
from algoperf_lightning.tuning.studies import find_studies, in_order
from algoperf_lightning.utilities.discovery import discover


@dataclass(frozen=True)
class Rule:
    """What runs in place of commands that a pattern is found in; `$ROOT`, `$DATA`, `$SITE` are set in the shell."""

    pattern: str
    instead: str
    reason: str


_HAS_EXTRA = (
    'python -c "from importlib.metadata import metadata; '
    r'''assert '\1' in metadata('algoperf-lightning').get_all('Provides-Extra')"'''
)
_FULL_SIZE = "fastmri|imagenet_vit|ogbg"

RULES = (
    # Environments
    Rule(r"^(?:\w+=\S+ )?make (.+)$", r'make -n -C "$ROOT" \1', "would install, or run these very tests"),
    Rule(r"^python3 -m venv \.venv && ", "python -m venv --without-pip .venv && ", "pip is not needed, see below"),
    Rule(
        r"(?:\.venv/bin/)?pip install (?:-c \S+ )?(?:-e )?'(?:\.|algoperf-lightning)\[(\w+)\]'$",
        _HAS_EXTRA,
        "fetches gigabytes",
    ),
    Rule(r"^\.venv/bin/", "", "the environment of the tests stands for the reader's"),
    Rule(r"^python -m pytest -m 'not slow'$", "python -m pytest --version", "would run these very tests"),
    Rule(r"^pre-commit install$", 'pre-commit validate-config "$ROOT/.pre-commit-config.yaml"', "would change .git"),
    Rule(r"^pip install torch .*$", "python -m pip --version", "fetches gigabytes"),
    Rule(
        r"^pip install -e \.(?=$| )",
        '! [ -e pyproject.toml ] || python -m pip install --quiet --no-deps --no-build-isolation --target "$SITE" .',
        "this package is installed; of another, made by the page, $SITE is on the PYTHONPATH",
    ),
    Rule(r"^ray start --head$", "ray start --help", "would leave a cluster running"),
    # Machines that are not here
    # That launchers of several processes make one run is tested in tests/processes/test_ways_in.py.
    Rule(r"^torchrun --nproc-per-node=8 (.+)$", r"torchrun --standalone \1 --print_config", "8 GPUs"),
    Rule(
        r"^fabric run --accelerator=gpu --devices=8 (.+)$",
        r"fabric run --accelerator=cpu --devices=1 \1 --print_config",
        "8 GPUs",
    ),
    Rule(r"^torchrun --nnodes=2 .* (examples/.+)$", r"torchrun --standalone \1 --print_config", "two nodes"),
    Rule(r"^srun (?:--\S+ )+", "", "two nodes"),
    Rule(r"^(algoperf fit .*hardware/[48]gpu.*)$", r"\1 --print_config", "several GPUs"),
    Rule(r"^(algoperf tune .*?(?:slurm|ray|devices=8).*?)( -- .*)?$", r"\1 --dry-run\2", "no cluster, no 8 GPUs"),
    # Data and models that are too large
    Rule(r"(?<= )/data\b", '"$DATA"', "tiny data sets in the real formats"),
    Rule(rf"^(algoperf fit .*--config (?:{_FULL_SIZE})\b(?!.*--print_config).*)$", r"\1 --print_config", "full size"),
    Rule(rf"^(algoperf tune (?:{_FULL_SIZE})\b(?!.*(?:--dry-run|--suite tiny)).*)$", r"\1 --dry-run", "full size"),
    Rule(
        r"^algoperf tune --suite algoperf\b(.*?)( -- .*)?$",
        r"algoperf tune ogbg --suite algoperf\1 --dry-run\2",
        "the whole benchmark",
    ),
    # Placeholders
    Rule(r"^(algoperf agreement) RUNS\b", r'\1 "$ROOT"/configs/boards/v1.0-self-tuning.tar.xz', "stands for any runs"),
    Rule(r"\bRUNS\.\.\.", '"$DATA"/runs', "stands for any runs"),
    # Time
    Rule(r"^(algoperf score --board \S+) --output \S+$", r"\1", "draws dozens of pictures"),
    Rule(r"^(algoperf fit (?!.*--print_config).*)$", r"\1 --trainer.max_steps 2", "two steps"),
    Rule(
        r"^(algoperf tune --suite crowded-valley (?!.*--dry-run).*?) --budget \w+ (.*)$",
        r"\1 --budget one-shot \2 -- --trainer.max_steps 2",
        "the default points with two steps for each seed",
    ),
    Rule(
        r"^(algoperf tune (?!.*(?:--dry-run|--trainer.max_steps)).*)$",
        r"\1 --studies 1 --trials 1 -- --trainer.max_steps 2",
        "one trial of two steps for each workload and submission",
    ),
    Rule(r"^algoperf data tiny --all\b", "algoperf data tiny ogbg mnist cifar10", "those the commands below run"),
    Rule(r"^algoperf data small --all\b", "algoperf data small finewebedu_lm", "one workload of nine"),
    Rule(r"^algoperf tune --suite small\b", "algoperf tune finewebedu_lm --suite small", "one workload of nine"),
    Rule(r"^(algoperf tune criteo1tb_tiny) imagenet_resnet_tiny ogbg_tiny", r"\1", "one workload of three"),
    Rule(r"^algoperf tune --suite tiny\b", "algoperf tune ogbg --suite tiny", "one workload of ten"),
    Rule(r"^(algoperf calibrate .*)$", r"\1 --steps 1 --warmup 1", "one step of the full size"),
    Rule(
        r"^(?:\w+=\S+ )*python (tests/benchmarks/\w+\.py)(.*)$",
        r'help=$(python \1 --help); for word in \2; do [[ $word != --* ]] || grep -q -e "$word" <<< "$help"; done',
        "measures for minutes or hours: its options are looked up",
    ),
)

REPRESENTATIVE = "docs/baselines/adamw.md"
"""Of the generated pages, whose commands are of one form."""

TEXTS = {
    name: path.read_text(encoding="utf-8")
    for name, path in pages().items()
    if name != "CHANGELOG.md" and (path.parent != GENERATED or name == REPRESENTATIVE)
}
BLOCKS = {name: blocks(text) for name, text in TEXTS.items()}
WITH_CODE = [name for name, found in BLOCKS.items() if any(block.language in ("bash", "python") for block in found)]
COMMANDS = [
    line for found in BLOCKS.values() for block in found if block.language == "bash" for line in commands(block)
]


def stand_in(command: str) -> str:
    """What is run for a command."""
    for rule in RULES:
        command = re.sub(rule.pattern, rule.instead, command)
    return command


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Tiny data of the workloads that are named, and a run."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("mnist", "cifar10", "imagenet_vit", "ogbg"):
        workload = get_workload(name)
        workload.data_class(workload.spec, folder).write_tiny()
    record = ["--recorder.folder", str(folder / "runs" / "trial_1"), "--trainer.max_steps", "2"]
    main(["fit", "--config", "digits", *record, "--trainer.enable_progress_bar", "false"])
    return folder


@pytest.fixture
def folder(tmp_path, data_dir, monkeypatch):
    """Where a page runs: beside it lie what scripts a page may name, and room for the pictures they draw."""
    for name in ("examples", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "site")
    settings = {
        "ROOT": ROOT,
        "DATA": data_dir,
        "SITE": tmp_path / "site",
        "PYTHONPATH": tmp_path / "site",
        "ALGOPERF_DATA_DIR": data_dir,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "COLUMNS": "160",
        "HOST": "localhost",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    yield tmp_path
    discover.cache_clear()  # a page may have installed some


def run_command(command: str, capsys) -> None:
    """Run a command, or rather what stands in for it, and let it succeed.

    A command of `algoperf` alone needs no process of its own, which would import torch anew. Others have one: what is
    more than a call, or names the program otherwise; and two ranks, as Lightning starts the second by the command that
    started the first.
    """
    instead = stand_in(command)
    if instead in _UNDERSTOOD:
        return
    if re.match(r"algoperf [^&|;<>`()]+$", command) and "hardware/2cpu" not in command:
        discover.cache_clear()
        code = call_main(words(os.path.expandvars(instead))[1:])
        printed = "".join(capsys.readouterr())
    else:
        shell = ["bash", "-euo", "pipefail", "-c", instead]
        done = subprocess.run(shell, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
        code, printed = done.returncode, done.stdout + done.stderr
    assert not code, f"$ {command}\n(run as: {instead})\n{printed[-4000:]}"
    if instead.endswith("--print_config"):
        _UNDERSTOOD.add(instead)


_UNDERSTOOD: set[str] = set()
"""Commands that have only shown what they would do; once is enough for all pages."""


def call_main(arguments: list[str]) -> int:
    """Run `algoperf` in this process; return the exit code."""
    try:
        main(arguments)
    except SystemExit as end:
        return end.code or 0
    return 0


def run_cell(page: Path, block: Block, notebook: ModuleType) -> None:
    """Run a block as a cell, with digits for half a second; the line numbers are the page's."""
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
    digits = get_workload("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "spec", replace(digits.spec, budget=0.5, eval_period=0.1))
        exec(code, vars(notebook))


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_page(name, folder, monkeypatch, capsys):
    notebook = ModuleType(f"page_{Path(name).stem}")
    notebook.__file__ = str(ROOT / name)
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    for block in BLOCKS[name]:
        if block.path:
            (folder / block.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.path).write_text(block.text)
        elif block.language == "python":
            run_cell(ROOT / name, block, notebook)
        elif block.language == "bash":
            for command in commands(block):
                run_command(command, capsys)
    if name in AFTERWARDS:
        AFTERWARDS[name](folder)


def check_tiny_suite(folder: Path) -> None:
    check_trials(folder / "runs" / "tiny", {"ogbg_tiny"}, {"adamw", "nesterov"})


def check_comparison(folder: Path) -> None:
    """The comparison has made all trials by its plan, and a leaderboard."""
    workloads, submissions = {"digits", "mnist_tiny", "cifar10_tiny"}, {"adamw", "nadamw", "momentum"}
    check_trials(folder / "runs" / "three", workloads, submissions)
    with (folder / "report" / "scores.csv").open() as file:
        assert submissions <= {row["submission"] for row in csv.DictReader(file)}
    with (folder / "report" / "times.csv").open() as file:
        assert workloads <= set(next(csv.reader(file)))
    assert list((folder / "report").glob("*.png")) or list((folder / "report").glob("*.svg"))


def check_trials(runs: Path, workloads: set[str], submissions: set[str]) -> None:
    found = [look(trial) for trial in in_order(find_studies([runs]))]
    assert {state.trial.study.workload for state in found} == workloads
    assert len(found) == len(workloads) * len(submissions)
    for state in found:
        assert state.state.over
        record = json.loads((state.trial.folder / "trial.json").read_text())
        assert record["seed"] == state.trial.seed
        assert {name: record["hyperparameters"][name] for name in state.trial.point} == state.trial.point
        assert record["warnings"] == []


AFTERWARDS = {"docs/command_line.md": check_comparison, "docs/tiny_suite.md": check_tiny_suite}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_every_rule_is_needed(rule):
    before = RULES[: RULES.index(rule)]
    for command in COMMANDS:
        for earlier in before:
            command = re.sub(earlier.pattern, earlier.instead, command)
        if re.search(rule.pattern, command):
            return
    pytest.fail(f"no command of the documentation matches {rule.pattern!r} any more: remove the rule")


@pytest.mark.parametrize("name", TEXTS)
def test_blocks_are_of_languages_that_are_run(name):
    known = {"", "bash", "python", "toml", "yaml"}
    assert not (others := [block for block in BLOCKS[name] if block.language not in known]), others
    for block in BLOCKS[name]:
        if block.language == "python":
            ast.parse(block.text)


# Commands in the text and in tables are not run: they must be understood.

INLINE = {
    name: sorted({code for code in inline_code(text) if re.match(r"(algoperf|python) \S+ \S", code)})
    for name, text in TEXTS.items()
}
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|<\w+>|\.\.\.")


@pytest.mark.parametrize("name", [name for name, found in INLINE.items() if found])
def test_commands_in_the_text_are_understood(name, folder, capsys):
    for text in INLINE[name]:
        program, command, *arguments = words(text)
        if program == "python":
            continue  # below
        if command == "data":
            named = takewhile(lambda argument: not argument.startswith("-"), arguments[1:])
            assert {name.removesuffix("_small").removesuffix("_tiny") for name in named} <= {
                *plugins(WORKLOADS),
                "NAME",
                "WORKLOAD",
            }, text
        elif command in LOOK_ONLY and not PLACEHOLDER.search(text):
            code = call_main([command, *LOOK_ONLY[command], *arguments])
            assert not code, capsys.readouterr().err
            capsys.readouterr()


LOOK_ONLY = {"fit": ["--print_config"], "list": [], "tune": ["--dry-run"]}
"""Commands, and how to let them only look at what they are given."""


SCRIPTS = sorted({code for found in INLINE.values() for code in found if code.startswith("python ")})
PICTURES = [command for command in SCRIPTS if "examples/" in command]


def run_script(path: str, *arguments: str) -> int:
    """Run a script of the project in this process; return the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [path, *arguments])
        patch.syspath_prepend(str(Path(path).parent))
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            return end.code or 0
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("command", SCRIPTS)
def test_scripts_of_the_text_have_the_options(command, capsys):
    _, path, *arguments = words(command)
    assert run_script(str(ROOT / path), "--help") == 0
    shown = capsys.readouterr().out
    for option in arguments:
        assert not option.startswith("--") or option in shown, f"{command}: there is no {option}"


@pytest.mark.slow
@pytest.mark.parametrize("command", PICTURES)
def test_pictures_are_drawn(command, folder, capsys):
    _, path, *arguments = words(command)
    run_script(path, "--help")
    trains = "--steps" in capsys.readouterr().out
    assert run_script(path, *arguments, *(["--steps", "2"] if trains else [])) == 0
    (picture,) = (path for path in folder.rglob("*.png") if "examples" not in path.parts)
    with Image.open(picture) as image:
        assert min(image.size) > 100
