"""Fetch the wheels that a machine without network lacks for this library.

    python tests/gpu/wheels.py PRESENT.txt --folder wheels [--python 3.12] [--platform manylinux_2_28_x86_64]

``PRESENT.txt`` names the packages that are there, one a line. The requirements of ``setup.cfg`` are followed from
package to package; those that are there are taken as they are. On the other machine::

    pip install --no-index --no-deps wheels/*.whl
"""

from __future__ import annotations

import argparse
import configparser
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def requirements() -> list[Requirement]:
    """What the library itself requires, and pytest."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")] + [Requirement("pytest")]


def download(requirement: Requirement, options: argparse.Namespace) -> Path:
    """Fetch one wheel and return its path."""
    before = set(options.folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", options.python, "--implementation", "cp", "-d", str(options.folder)]
    for platform in options.platform:
        command += ["--platform", platform]
    subprocess.run([*command, f"{requirement.name}{requirement.specifier}"], check=True)
    (wheel,) = set(options.folder.glob("*.whl")) - before
    return wheel


def needs(wheel: Path, extras: set[str], python: str) -> list[Requirement]:
    """The requirements of a wheel that hold on the other machine."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist") or []
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    found = map(Requirement, lines)
    return [
        each
        for each in found
        if each.marker is None or any(each.marker.evaluate({**environment, "extra": extra}) for extra in {"", *extras})
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("present", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("wheels"))
    parser.add_argument("--python", default="3.12")
    parser.add_argument(
        "--platform", nargs="+", default=["manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    here = {canonicalize_name(line) for line in options.present.read_text().split()}
    waiting = requirements()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in here:
            continue
        wheel = download(requirement, options)
        print(wheel.name)
        here.add(name)
        waiting += needs(wheel, requirement.extras, options.python)


if __name__ == "__main__":
    main()
