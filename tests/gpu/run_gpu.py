"""All that needs a GPU, in one command: tests, overhead of the callbacks, and figures of the workloads' steps.

    python tests/gpu/run_gpu.py [--device cuda] [--small] [--parts card tests overhead steps] [--limit 480]

Each part runs in processes of its own with a limit of its own; one that fails is reported, and the next one runs. The
compiled steps of the workloads are compiled at the same time as the tests run, and measured one at a time afterwards.
Writes ``gpu.json`` and ``gpu.md`` to the output folder after each part. It needs no network: see ``wheels.py`` for
packages that the machine lacks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import figure_tables

HERE = Path(__file__).parent
PARTS = ("card", "tests", "overhead", "steps")
WORKLOADS = (
    "imagenet_resnet",
    "wmt",
    "imagenet_vit",
    "fastmri",
    "ogbg",
    "criteo1tb",
    "finewebedu_lm",
    "librispeech_conformer",
    "librispeech_deepspeech",
)
LIMITS = {"card": 60, "tests": 120, "overhead": 90, "compile": 240, "measure": 60}
"""Seconds: of the card's figures, each file of tests, the overhead, and of compiling and measuring each workload."""
PATIENCE = 6
"""Factor on the limit of tests on a CPU, which importing and compiling take longer on."""
FILES_AT_ONCE = 4
"""Files of tests that run at the same time: starting Python and Lightning takes most of their time."""
AT_ONCE = 4
"""Workloads that compile at the same time: their largest steps fit into 80 GB together."""
SMALL = {"workloads": ("mnist", "ogbg"), "compiled": ("mnist",)}
"""Without a GPU this shows only that everything runs; compiling takes a minute and more for each workload there."""


class Clock:
    """Seconds until the limit of the whole run."""

    def __init__(self, limit: float) -> None:
        self.begin, self.limit = time.monotonic(), limit

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def left(self, at_most: float) -> float:
        return max(0.0, min(at_most, self.limit - self.seconds))


def run(command: list[str], log: Path, limit: float) -> str | None:
    """Run a Python script or module and return its error, or None. All that it prints goes to the log."""
    if limit < 1:
        return "not run: the time limit of the whole run was reached"
    with log.open("w") as file:
        try:
            code = subprocess.run(
                [sys.executable, *command], stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
    return None if code == 0 else f"exit code {code}, see {log.name}"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def card(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    output = options.output / "card.json"
    error = run(
        [str(HERE / "card.py"), "--output", str(output), *device_arguments(options)],
        options.output / "card.log",
        clock.left(LIMITS["card"]),
    )
    return read(output) | ({"error": error} if error else {})


def device_arguments(options: argparse.Namespace) -> list[str]:
    return ["--device", options.device, *(["--small"] if options.small else [])]


def tests(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """The outcome of each test, file by file."""

    def outcomes(file: Path) -> dict[str, Any]:
        report = options.output / f"{file.stem}.xml"
        command = ["-m", "pytest", str(file), "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        log = options.output / f"{file.stem}.log"
        error = run(
            [*command, *device_arguments(options)],
            log,
            clock.left(LIMITS["tests"] * (PATIENCE if options.device == "cpu" else 1)),
        )
        found = outcomes_of(report)
        if error is not None and not any(test["outcome"] == "failed" for test in found.values()):
            found[file.stem] = {"outcome": "failed", "message": error}
        return found

    files = [
        file
        for file in sorted(HERE.glob("test_*.py"))
        if not options.tests or any(name in file.name for name in options.tests)
    ]
    with ThreadPoolExecutor(1 if options.small else FILES_AT_ONCE) as pool:
        return dict(zip([file.name for file in files], pool.map(outcomes, files), strict=True))


def outcomes_of(report: Path) -> dict[str, Any]:
    """Each test's outcome, seconds and message, as pytest wrote them."""
    outcomes = {}
    for case in ET.parse(report).iter("testcase") if report.exists() else ():
        kinds = {child.tag: child for child in case}
        kind = next((tag for tag in ("failure", "error", "skipped") if tag in kinds), None)
        outcomes[case.attrib["name"]] = {
            "outcome": {None: "passed", "skipped": "skipped"}.get(kind, "failed"),
            "seconds": float(case.attrib["time"]),
            **({} if kind is None else {"message": kinds[kind].attrib.get("message", "")[:500]}),
        }
    return outcomes


def overhead(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    output = options.output / "overhead.json"
    command = [str(HERE.parent / "benchmarks" / "step_overhead.py"), "--device", options.device, "--json", str(output)]
    command += ["--cases", "digits-64", *([] if options.small else ["mnist-16", "mnist-1024"])]
    command += ["--rounds", "1", "--steps", "50"] if options.small else ["--rounds", "3", "--steps", "600"]
    error = run(command, options.output / "overhead.log", clock.left(LIMITS["overhead"]))
    return read(output) | ({"error": error} if error else {})


class StepProcesses:
    """Processes that measure workloads: they compile some at a time, and then wait to be measured one by one."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.names = list(options.workloads or (SMALL["workloads"] if options.small else WORKLOADS))
        self.meeting = options.output / "meeting"
        self.meeting.mkdir(parents=True, exist_ok=True)
        for file in self.meeting.iterdir():
            file.unlink()
        self.running: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
        self.waiting = list(self.names)
        self.compiled: list[str] = []
        self.errors: dict[str, str] = {}
        self.thread: threading.Thread | None = None

    def start(self, name: str, modes: list[str]) -> None:
        output = self.options.output
        command = [sys.executable, str(HERE / "steps.py"), name, "--output", str(output / f"{name}.json")]
        command += [*device_arguments(self.options), "--meeting", str(self.meeting), "--modes", *modes]
        with (output / f"{name}.log").open("a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.running[name] = (process, time.monotonic())

    def modes(self, name: str, compiled: bool) -> list[str]:
        compiled = compiled and (not self.options.small or name in SMALL["compiled"])
        return [mode for mode in self.options.modes if compiled or "compiled" not in mode]

    def look(self) -> None:
        """Start what may be started; a process that compiles for too long starts again without compiled modes."""
        for name in [name for name in self.running if name not in self.compiled]:
            process, since = self.running[name]
            if (self.meeting / f"{name}.ready").exists():
                self.compiled.append(name)
            elif process.poll() is not None:
                self.errors.setdefault(name, f"exit code {process.returncode}, see {name}.log")
                self.compiled.append(name)
            elif time.monotonic() - since > LIMITS["compile"] and name not in self.errors:
                process.kill()
                process.wait()
                self.errors[name] = f"compiling was stopped after {LIMITS['compile']} s"
                self.start(name, self.modes(name, compiled=False))
        while self.waiting and len(self.running) - len(self.compiled) < AT_ONCE:
            name = self.waiting.pop(0)
            self.start(name, self.modes(name, compiled=True))

    def begin(self) -> None:
        """Compile in the background."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._compile, daemon=True)
            self.thread.start()

    def _compile(self) -> None:
        while len(self.compiled) < len(self.names):
            self.look()
            time.sleep(0.1)

    def wait_until_compiled(self, clock: Clock) -> None:
        """Wait for all workloads, so that what is measured next has the machine for itself."""
        self.begin()
        assert self.thread is not None
        self.thread.join(clock.left(1e9))

    def measure(self, clock: Clock) -> dict[str, Any]:
        """Let each workload measure alone, when all have compiled. Return all figures."""
        for name in self.names:
            if name not in self.running:
                self.errors.setdefault(name, "not run: the time limit of the whole run was reached")
                continue
            (self.meeting / f"{name}.go").touch()
            process, _ = self.running[name]
            try:
                if process.wait(timeout=max(0.1, clock.left(LIMITS["measure"]))):
                    self.errors.setdefault(name, f"exit code {process.returncode}, see {name}.log")
            except subprocess.TimeoutExpired:
                self.errors.setdefault(name, "measuring was stopped at its time limit")
                process.kill()
                process.wait()
        return {name: self.figures(name) for name in self.names}

    def figures(self, name: str) -> dict[str, Any]:
        figures = read(self.options.output / f"{name}.json")
        return figures | ({"error": self.errors[name]} if name in self.errors else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="tiny workloads, to try the script itself")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--tests", nargs="+", help="only files of tests whose names contain one of these")
    parser.add_argument("--workloads", nargs="+", help="of the part steps; default: all nine")
    parser.add_argument("--modes", nargs="+", default=["fp32", "tf32", "bf16", "tf32-compiled", "bf16-compiled"])
    parser.add_argument("--limit", type=float, default=480.0, help="seconds for everything")
    parser.add_argument("--output", type=Path, default=Path("gpu"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    clock, result = Clock(options.limit), {"small": options.small, "device": options.device, "seconds": {}}
    processes = StepProcesses(options) if "steps" in options.parts else None
    calls: dict[str, Callable[[], dict[str, Any]]] = {
        "card": lambda: card(options, clock),
        "tests": lambda: tests(options, clock),
        "overhead": lambda: overhead(options, clock),
        "steps": lambda: processes.measure(clock) if processes else {},
    }
    for name in (name for name in PARTS if name in options.parts):
        print(f"{name} ...", flush=True)
        if processes is not None and name == "tests":
            processes.begin()
        elif processes is not None and name in ("overhead", "steps"):
            processes.wait_until_compiled(clock)
        begin = clock.seconds
        result[name] = calls[name]()
        result["seconds"][name] = clock.seconds - begin
        (options.output / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.output / "gpu.md").write_text(figure_tables.write(result))
    print((options.output / "gpu.md").read_text())
    raise SystemExit(1 if figure_tables.failures(result) else 0)


if __name__ == "__main__":
    main()
