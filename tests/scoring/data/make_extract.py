"""Write ``trials_v05_external.csv.gz`` from the compact table of evaluations: python make_extract.py TABLE.csv.gz

One row a trial: at which evaluation it reached its target, and after how many seconds; -1 and inf if it did not.
"""

import gzip
import math
import sys
from pathlib import Path

from algoperf_lightning.scoring import get_benchmark, read_runs
from algoperf_lightning.scoring.mathematics import time_to_target

COLUMNS = ("submission", "workload", "study", "framework", "trial", "evaluation", "seconds")


def main():
    workloads = {workload.name: workload for workload in get_benchmark("0.5", "external").workloads}
    lines = [",".join(COLUMNS)]
    for trial in read_runs([sys.argv[1]]).trials:
        workload = workloads[trial.workload]
        values = trial.metrics[f"validation/{workload.metric}"]
        index, seconds = time_to_target(values, trial.seconds, workload.validation_target, workload.direction)
        names = (trial.submission, trial.workload, trial.study, trial.framework, trial.number)
        lines.append(",".join([*names, str(-1 if math.isinf(index) else int(index)), f"{seconds:g}"]))
    path = Path(__file__).with_name("trials_v05_external.csv.gz")
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))


if __name__ == "__main__":
    main()
