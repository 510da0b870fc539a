"""Scripts of the tests on several processes of this machine."""

import os
from pathlib import Path

from preloaded import start_ranks, wait_for_ranks


def run_on_ranks(script, folder, ranks=2):
    """Run a script that leaves what it found in a folder; it must succeed."""
    output = Path(folder) / "printed.txt"
    code = wait_for_ranks(start_ranks(ranks, script, [folder], output, {**os.environ, "OMP_NUM_THREADS": "1"}), 600)
    assert code == 0, output.read_text()[-4000:]
