"""Executes the notebooks of the gallery and keeps their outputs in them: ``make gallery``.

    python docs/execute_gallery.py                  # all of them
    python docs/execute_gallery.py quickstart

The outputs are part of the repository, so that the site is built without training. What programs write to standard
error (Lightning's log of devices, with paths of the machine) is left out, and so are the names of temporary folders.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

import nbclient
import nbformat

GALLERY = Path(__file__).parent / "gallery"


def execute(path: Path) -> None:
    """Execute a notebook in an empty folder and write it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook, timeout=600, record_timing=False, resources={"metadata": {"path": folder}}
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    temporary = re.escape(tempfile.gettempdir()) + r"/tmp\w+"
    path.write_text(re.sub(temporary, "runs", nbformat.writes(notebook)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks; all without any")
    for name in parser.parse_args().names or sorted(path.stem for path in GALLERY.glob("*.ipynb")):
        execute(GALLERY / f"{name}.ipynb")
