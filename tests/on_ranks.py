"""Scripts of the tests on several processes of this machine."""

import os
import subprocess
import sys


def run_on_ranks(script, folder, ranks=2):
    """Run a script that leaves what it found in a folder; it must succeed."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, script, folder], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
