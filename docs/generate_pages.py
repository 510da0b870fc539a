"""Write docs/baselines/*.md, a page for each baseline, and docs/trainer.md, from code and configs.

    python docs/generate_pages.py

A test compares the pages with what this would write, so they cannot go stale.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml

from algoperf_lightning.callbacks.trainer_decisions import CALLBACKS, TRAINER_OPTIONS, Decision, Verdict
from algoperf_lightning.hyperparameters import numeric_hyperparameters
from algoperf_lightning.plugins import find_submission, get_submission
from algoperf_lightning.registry import SUBMISSIONS, plugins
from algoperf_lightning.submission import Submission
from algoperf_lightning.tuning.search_space import SearchSpace

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "baselines"
TRAINER_PAGE = ROOT / "docs" / "trainer.md"
CONFIGS = ROOT / "configs"
OURS = "algoperf_lightning.baselines."

_SECTION = re.compile(r"(Args|Raises|Returns|Example|Reference): ?\n?(.*)", re.DOTALL)
_CONFIG = re.compile(r"`((?:submissions|search_spaces)/\w+(?:\.json)?)`")


def names() -> list[str]:
    """Return the names of our own submissions; others may be installed beside them."""
    return [name for name, entry in plugins(SUBMISSIONS).items() if entry.module.startswith(OURS)]


def page(name: str) -> str:
    """Return the page of one baseline."""
    submission = get_submission(name)
    body, arguments, references = read_docstring(submission)
    summary, *paragraphs = body
    deviations = [text for text in paragraphs if re.match(r"Deviations?: ", text)]
    file = submission.__module__.removeprefix("algoperf_lightning.").replace(".", "/") + ".py"
    parts = [
        f"# `{name}`",
        markdown(summary),
        f"The class is `{submission.__name__}` in [`{file}`](../../{file}).\n"
        "[Comparison of all baselines](../baselines.md).",
        *(markdown(text) for text in paragraphs if text not in deviations),
    ]
    if deviations:
        text = " ".join(re.sub(r"Deviations?: ", "", text) for text in deviations)
        parts += ["## Deviations", markdown(text[:1].upper() + text[1:])]
    parts += ["## Hyperparameters", *hyperparameters(submission, arguments)]
    parts += ["## Search space", *search_space(name, submission)]
    parts += ["## Batch sizes", *batch_sizes(submission)]
    parts += ["## Configs", *configs(submission)]
    ruleset = "" if submission.search_space is not None else " --ruleset self-tuning"
    fit, tune = f"algoperf fit --config digits --submission {name}", f"algoperf tune digits --submission {name}"
    parts += ["## Run it", f"```bash\n{fit}\n{tune}{ruleset} --output runs\n```"]
    if references:
        parts += ["## References", "\n".join(f"- {link(text[0].upper() + text[1:])}" for text in references)]
    note = "<!-- Written by `python docs/generate_pages.py` from the class and the configs. Change those, not this. -->"
    return "\n\n".join([note, *parts]) + "\n"


def read_docstring(submission: type[Submission]) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the paragraphs, what is said of each argument, and the references.

    What a class leaves out is taken from the class it derives from.

    Raises:
        ValueError: If an argument is not described anywhere.
    """
    body: list[str] = []
    arguments: dict[str, str] = {}
    references: list[str] = []
    for number, cls in enumerate(submission.__mro__):
        if cls is Submission:
            break
        for block in re.split(r"\n\s*\n", inspect.cleandoc(cls.__doc__ or "")):
            section = _SECTION.match(block)
            if section is None and number == 0:
                body.append(block)
            elif section is not None and section[1] == "Args":
                described = re.findall(r"^(\w+): (.*(?:\n .*)*)", textwrap.dedent(section[2]), re.MULTILINE)
                arguments = {**{key: " ".join(text.split()) for key, text in described}, **arguments}
            elif section is not None and section[1] == "Reference" and not references:
                references = " ".join(section[2].rstrip().removesuffix(".").split()).split("; ")
    if missing := submission().hyperparameters.keys() - arguments.keys():
        raise ValueError(f"{submission.__name__}: its docstring does not describe {', '.join(sorted(missing))}.")
    return body, arguments, references


def markdown(text: str) -> str:
    """Turn a paragraph of a docstring into Markdown, configs that it names into links."""
    text = re.sub(r":\w+:`~?([^`]*)`", lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    text = text.replace("``", "`")
    # Between pieces of code, "<" would begin a tag.
    text = "".join(part if part[:1] == "`" else part.replace("<", "&lt;") for part in re.split(r"(`[^`]*`)", text))

    return _CONFIG.sub(lambda config: to_config(config[1]), text)


def to_config(name: str) -> str:
    """Return a config or search space as a link to its file, or as it is if it is none."""
    path = CONFIGS / (name if name.endswith(".json") else f"{name}.yaml")
    return f"[`{name}`](../../{path.relative_to(ROOT).as_posix()})" if path.is_file() else f"`{name}`"


def hyperparameters(submission: type[Submission], arguments: dict[str, str]) -> Iterator[str]:
    """Yield the table of arguments."""
    defaults, numbers = submission().hyperparameters, numeric_hyperparameters(submission)
    yield table(
        ("name", "default", "range", "what it is"),
        (
            (f"`{key}`", shown(defaults[key]), f"`{numbers[key].interval}`" if key in numbers else "", markdown(text))
            for key, text in ((key, arguments[key]) for key in defaults)
        ),
    )


def search_space(name: str, submission: type[Submission]) -> Iterator[str]:
    """Yield what `algoperf list` shows of a search space, and the files that hold it or another."""
    space = SearchSpace.of(submission)
    if space is None:
        yield "None: the submission tunes itself."
    elif space.points:
        heads = [f"point {number}" for number in range(1, len(space.points) + 1)]
        rows = ((f"`{key}`", *(shown(point[key]) for point in space.points)) for key in space.points[0])
        yield table(("name", *heads), rows)
    else:
        yield table(("name", "values"), ((f"`{key}`", text) for key, text in space.describe().items()))
    same: list[str] = []
    others: list[str] = []
    for path in sorted((CONFIGS / "search_spaces").glob("*.json")):
        if owner(path.stem) == name:
            (same if SearchSpace.load(path) == space else others).append(to_config(f"search_spaces/{path.name}"))
    if same:
        yield f"Also as a file: {', '.join(same)}."
    if others:
        yield f"Other search spaces, for `algoperf tune --search-space`: {', '.join(others)}."


def owner(stem: str) -> str | None:
    """Return the baseline that a search space's file is for: the longest name that it begins with."""
    known = [name for name in names() if stem == name or stem.startswith(f"{name}_")]
    return max(known, key=len, default=None)


def batch_sizes(submission: type[Submission]) -> Iterator[str]:
    """Yield the global training batch sizes."""
    rows = ((f"`{workload}`", f"{size:,}") for workload, size in sorted(submission.batch_sizes.items()))
    yield "Global training batch sizes. Workloads that are not in the table use their default."
    yield table(("workload", "batch size"), rows)


def configs(submission: type[Submission]) -> Iterator[str]:
    """Yield the packaged configs that are of this class, and the points of it that set the benchmark's targets."""
    rows: list[tuple[str, str]] = []
    targets: list[str] = []
    for path, (text, cls) in packaged_configs().items():
        if cls is not submission:
            continue
        if path.stem.startswith("target_setting_"):
            workload = path.stem.removeprefix("target_setting_")
            targets.append(to_config(f"submissions/{path.stem}").replace(f"`submissions/{path.stem}`", f"`{workload}`"))
            continue
        comment = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
        about = comment.partition("algoperf fit")[0].strip() or "The default point."
        rows.append((to_config(f"submissions/{path.stem}"), markdown(about)))
    yield table(("config", "what it is"), rows)
    if targets:
        yield (
            "`submissions/target_setting_...`, the points that set "
            f"[targets of the benchmark](../baselines.md#the-points-that-set-the-targets):\n{', '.join(targets)}."
        )


@cache
def packaged_configs() -> dict[Path, tuple[str, type[Submission]]]:
    """Return the text of every packaged config of a submission, and the registered class that it is of."""
    found = {}
    for path in sorted((CONFIGS / "submissions").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        found[path] = text, registered(yaml.safe_load(text)["submission"]["class_path"])
    return found


def registered(class_path: str) -> type[Submission]:
    """Return the class of a config, or the registered one that it derives from."""
    classes = {get_submission(name) for name in names()}
    return next(cls for cls in find_submission(class_path).__mro__ if cls in classes)


def trainer_page() -> str:
    """Return the page of Trainer options and callbacks."""
    verdicts = {
        Verdict.REFUSED: "`Trainer.fit` ends with an error before anything runs",
        Verdict.IGNORED: "set to what a timed run needs, with a warning",
        Verdict.ALLOWED: "your choice",
        Verdict.IRRELEVANT: "no effect in `Trainer.fit` on a workload",
    }
    parts = [
        "<!-- Written by `python docs/generate_pages.py` from callbacks/trainer_decisions.py. Change it there. -->",
        "# The Trainer of a timed run",
        "With `TimeBudget`, you choose devices, precision, loggers, profilers and checkpoints. Options that would\n"
        "change the training algorithm, the data or the measurement are refused, and the error says what to do "
        "instead.",
        table(("", "meaning"), ((verdict, text) for verdict, text in verdicts.items())),
        "The workload provides the data: `Trainer.fit(workload)` accepts no other data.",
        "## Options",
        decisions(TRAINER_OPTIONS),
        "## Callbacks",
        "A subclass is treated as its base class. The order of callbacks does not matter. [Loggers and\n"
        "callbacks](loggers_and_callbacks.md) says which hooks are on the clock.",
        decisions(CALLBACKS),
    ]
    return "\n\n".join(parts) + "\n"


def decisions(rows: Mapping[str, Decision]) -> str:
    """Return a table of decisions on options or callbacks."""
    return table(
        ("name", "", "why"),
        (
            (f"`{name}`", f"{row.verdict}{f', except for {row.but_for}' if row.but_for else ''}", sentence(row.text))
            for name, row in rows.items()
        ),
    )


def sentence(text: str) -> str:
    """Return a text as a sentence of its own."""
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."


def shown(value: object) -> str:
    """Return a value as `algoperf list` shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def link(reference: str) -> str:
    """Return a reference whose address is a link."""
    text = re.sub(r"https://arxiv\.org/abs/([\d.]+\d)", r"[arXiv \1](\g<0>)", reference)
    return re.sub(r"(?<!\()https://(\S+\w)", r"[\1](\g<0>)", text)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    heads = list(heads)
    lines = [heads, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], "|---" * len(heads) + "|", *text[1:]])


def write() -> None:
    """Write all pages, and remove those of baselines that are no more."""
    wanted = {PAGES / f"{name}.md": page(name) for name in names()}
    for path in set(PAGES.glob("*.md")) - set(wanted):
        path.unlink()
    for path, text in {**wanted, TRAINER_PAGE: trainer_page()}.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
