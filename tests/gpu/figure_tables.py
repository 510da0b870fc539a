"""The Markdown tables of ``run_gpu.py``'s figures."""

from __future__ import annotations

from typing import Any

MODES = ("fp32", "tf32", "bf16", "tf32-compiled", "bf16-compiled")


def failures(result: dict[str, Any]) -> list[str]:
    """What failed, one line each."""
    found = [f"{part}: {result[part]['error']}" for part in ("card", "overhead") if "error" in result.get(part, {})]
    for file, tests in result.get("tests", {}).items():
        for name, test in tests.items():
            if test["outcome"] == "failed":
                found.append(f"{file}::{name}: {test['message']}")
    for name, figures in result.get("steps", {}).items():
        if "error" in figures:
            found.append(f"{name}: {figures['error']}")
        for kind in ("modes", "optimizers"):
            for key, value in figures.get(kind, {}).items():
                if "error" in value:
                    found.append(f"{name}, {key}: {value['error']}")
    return found


def write(result: dict[str, Any]) -> str:
    """All tables."""
    parts = [heading(result)]
    if "tests" in result:
        parts.append(outcome_table(result["tests"]))
    if result.get("overhead", {}).get("cases"):
        parts.append(overhead_table(result["overhead"]["cases"]))
    if "steps" in result:
        parts += [step_table(result), optimizer_table(result["steps"])]
    failed = failures(result)
    if failed:
        parts.append("Failed:\n\n" + "\n".join(f"- {line}" for line in failed))
    return "\n\n".join(parts) + "\n"


def heading(result: dict[str, Any]) -> str:
    card = result.get("card", {})
    packages = ", ".join(f"{name} {version}" for name, version in card.get("packages", {}).items())
    lines = [f"{card.get('card', result['device'])}, driver {card.get('driver', '-')}, {packages}, {card.get('date')}"]
    if "ceilings" in card:
        rates = {name: f"{value / 1e12:.3g}" for name, value in card["ceilings"].items()}
        lines.append(
            f"Measured ceilings: {rates['fp32']} TFLOP/s in float32, {rates['tf32']} with TF32, {rates['bf16']} in "
            f"bfloat16; {rates['bytes']} TB/s in a copy."
        )
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in result["seconds"].items())
    return "\n\n".join([*lines, f"Time of each part: {seconds}."])


def outcome_table(files: dict[str, Any]) -> str:
    rows = ["| tests | passed | failed | skipped | seconds |", "|---|---|---|---|---|"]
    for name, tests in files.items():
        counts = [sum(t["outcome"] == kind for t in tests.values()) for kind in ("passed", "failed", "skipped")]
        seconds = sum(test.get("seconds", 0.0) for test in tests.values())
        rows.append(f"| {name} | {' | '.join(map(str, counts))} | {seconds:.0f} |")
    return "\n".join(rows)


def overhead_table(cases: dict[str, Any]) -> str:
    rows = ["| case | bare loop | Lightning / bare | ours / bare | ours / Lightning |", "|---|---|---|---|---|"]
    for name, case in cases.items():
        bare, lightning, ours = (case[side] for side in ("bare", "lightning", "ours"))
        rows.append(
            f"| {name} | {1e3 * bare:.2f} ms | {lightning / bare:.2f} | {ours / bare:.2f} | {ours / lightning:.2f} |"
        )
    return "\n".join(rows)


def step_table(result: dict[str, Any]) -> str:
    """Milliseconds of each mode; of what the card can do, the share that the fastest float32 mode reaches."""
    ceilings = result.get("card", {}).get("ceilings")
    rows = [
        f"| workload | batch | {' | '.join(f'{mode} ms' for mode in MODES)} | GiB | first compiled step | graph breaks "
        "| TFLOP | share of the TF32 ceiling | share of the copy's rate |",
        "|---|---|" + "---|" * (len(MODES) + 6),
    ]
    for name, figures in result["steps"].items():
        modes = figures.get("modes", {})
        times = [f"{modes[m]['milliseconds']:.1f}" if "milliseconds" in modes.get(m, {}) else "-" for m in MODES]
        compiled = modes.get("tf32-compiled", {})
        first = f"{compiled['first_step_seconds']:.0f} s" if "first_step_seconds" in compiled else "-"
        memory = f"{modes['tf32']['peak_gib']:.1f}" if "peak_gib" in modes.get("tf32", {}) else "-"
        shares = ["-", "-"]
        if ceilings and "flops" in figures and "milliseconds" in modes.get("tf32", {}):
            flops, moved = figures["flops"], figures["bytes"]
            best = min(m["milliseconds"] for key, m in modes.items() if "tf32" in key and "milliseconds" in m) / 1e3
            shares[0] = f"{flops / best / ceilings['tf32']:.2f}"
            shares[1] = f"{moved / (modes['tf32']['milliseconds'] / 1e3) / ceilings['bytes']:.2f}"
        rows.append(
            f"| {name} | {figures.get('batch', '-')} | {' | '.join(times)} | {memory} | {first} | "
            f"{compiled.get('graph_breaks', '-')} | {figures.get('flops', 0) / 1e12:.2f} | {shares[0]} | {shares[1]} |"
        )
    return "\n".join(rows)


def optimizer_table(steps: dict[str, Any]) -> str:
    """Milliseconds of optimizer steps, rare work shared out over them, and their share of a step with the fastest TF32
    pass."""
    names = sorted({name for figures in steps.values() for name in figures.get("optimizers", {})})
    rows = [f"| workload | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for workload, figures in steps.items():
        modes = figures.get("modes", {})
        passes = [m["milliseconds"] for key, m in modes.items() if "tf32" in key and "milliseconds" in m]
        cells = []
        for name in names:
            found = figures.get("optimizers", {}).get(name, {})
            if "milliseconds" not in found or not passes:
                cells.append("-")
                continue
            usual = found["milliseconds"]
            cells.append(f"{usual:.1f} ms, {usual / (usual + min(passes)):.0%}")
        rows.append(f"| {workload} | {' | '.join(cells)} |")
    return "\n".join(rows)
