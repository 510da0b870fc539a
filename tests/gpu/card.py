"""What this device is, and the two ceilings of a step: products a second, and bytes a second. See ``run_gpu.py``."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import statistics
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "torchaudio", "lightning", "pytorch-lightning", "torchmetrics", "torch-geometric")


def describe(device: torch.device) -> dict[str, Any]:
    """Name of the card, its driver, and the versions of what runs on it."""
    about: dict[str, Any] = {"date": str(datetime.date.today()), "python": platform.python_version()}
    about["packages"] = {}
    for name in PACKAGES:
        try:
            about["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {"card": properties.name, "memory_gib": properties.total_memory / 2**30, "cuda": torch.version.cuda}
        about["cudnn"] = torch.backends.cudnn.version()
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            about["driver"] = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    else:
        about |= {"card": "CPU", "threads": torch.get_num_threads()}
    return about


def seconds_of(call: Any, device: torch.device, rounds: int = 10) -> float:
    times = []
    for _ in range(rounds + 2):
        begin = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:])


def ceilings(device: torch.device, small: bool) -> dict[str, float]:
    """FLOP/s of a large product of random matrices in each precision, and bytes a second of a large copy."""
    side, length = (256, 2**20) if small else (8192, 2**30)
    found = {}
    for name, dtype, precision in (
        ("fp32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bf16", torch.bfloat16, "high"),
    ):
        torch.set_float32_matmul_precision(precision)
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        found[name] = 2 * side**3 / seconds_of(lambda left=left, right=right: left @ right, device)
    source = torch.randn(length, device=device)
    target = torch.empty_like(source)
    found["bytes"] = 2 * 4 * length / seconds_of(lambda: target.copy_(source), device)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    result = {**describe(options.device), "ceilings": ceilings(options.device, options.small)}
    options.output.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
