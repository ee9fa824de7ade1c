"""What is made of the benches' figures on GPUs: results/REPORT_CUDA.md, and README's table once there are any.

The figures are results/cuda/*.json: one file per bench as `--json` writes it, or several benches in one file as
on_gpu.sh brings them back. Figures of different cards are different sections.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from report import fill, geometric_mean, show, table

Row = dict[str, Any]
FOLDER = pathlib.Path(__file__).resolve().parent

# The benches in their order: name of the figures -> script, its arguments, and its part of the time there is.
BENCHES = {
    "gemm": ("gemm", ["--peers", "cupy,torch", "--precision", "highest,high,medium"], 0.22),
    "gemm_ffma": ("gemm", ["--peers", "cupy,torch", "--kernel", "ffma"], 0.05),
    "step": ("step", ["--peers", "torch,jax", "--precision", "highest,high,medium"], 0.34),
    "online": ("online", ["--peers", "torch,jax"], 0.10),
    "tiny": ("tiny", ["--peers", "torch,jax"], 0.09),
    "fit": ("fit", ["--peers", "torch"], 0.09),
    "elementwise": ("elementwise", ["--peers", "cupy,torch"], 0.09),
    "deform": ("deform", [], 0.02),
}
STARTING = 8  # seconds until a bench has loaded its peers and begins
CUBLAS, TORCH = ("cupy", "torch", "torch graph"), ("torch", "torch graph", "torch compile")
TF32 = tuple(name.replace("torch", "torch tf32") for name in TORCH)
BF16 = tuple(name.replace("torch", kind) for name in TORCH for kind in ("torch bf16", "torch autocast"))
KEYS = {
    "gemm": lambda row: len(set(row["shape"])) == 1 and row["shape"][0] >= 2048,
    "gemm_ffma": lambda row: row["shape"][0] == 4096,
    "step": lambda row: row["batch"] == 512 and row["precision"] != "high",
    "online": lambda row: True,
    "tiny": lambda row: True,
    "fit": lambda row: row["group"] == "fit",
    "deform": lambda row: True,
    "elementwise": lambda row: row["function"] in ("exp", "tanh", "add", "sum", "softmax rows of 10"),
}  # rows of README's table


@dataclass(frozen=True)
class Target:
    """A line of the table: every row is so often faster than the best of these peers, or takes at most so long."""

    text: str
    group: str
    peers: tuple[str, ...] = ()
    every: float = 0.0
    most: float = 0.0  # seconds
    where: Callable[[Row], bool] = lambda row: True


def square(row: Row) -> bool:
    return len(set(row["shape"])) == 1


def large_square(row: Row) -> bool:
    return square(row) and row["shape"][0] >= 2048


def without_tensor_cores(row: Row) -> bool:
    """What is above the multiply-add peak was not done by multiply-adds, whatever was asked for."""
    return large_square(row) and row["percent_of_peak"] <= 105


def largest(row: Row) -> bool:
    return row["sizes"][:2] == [841, 2500]


TARGETS = (
    Target("GEMM highest, squares from 2048", "gemm highest", CUBLAS, 2.0, where=large_square),
    Target("GEMM highest, the nets' layers", "gemm highest", CUBLAS, 1.3, where=lambda r: not square(r)),
    Target("GEMM medium, squares from 1024", "gemm medium", ("torch bf16",), 1.0, where=square),
    Target("GEMM without tensor cores, squares from 2048", "gemm ffma", CUBLAS, 1.0, where=without_tensor_cores),
    Target("step of the five nets, PyTorch's float32", "step highest", TORCH, 2.0),
    Target("step of the five nets, PyTorch's TF32", "step highest", TF32, 1.2),
    Target("step medium, PyTorch's bf16", "step medium", BF16, 1.2),
    Target("tiny nets, PyTorch eager", "step tiny", ("torch",), 5.0),
    Target("tiny nets, PyTorch's CUDA graph", "step tiny", ("torch graph",), 2.0),
    Target("on-line, largest net, a pattern", "step online", most=15e-6, where=largest),
    Target("deformation of 60,000 images", "deform", most=5e-3),
    Target("fit, largest net, an epoch", "fit", most=45e-3, where=lambda r: largest(r) and r["precision"] == "highest"),
)  # fmt: skip


def run(results: pathlib.Path, only: list[str], seconds: float, quick: bool) -> bool:
    """Every bench in a process of its own, into results/cuda/NAME.json; whether all went well."""
    folder = results / "cuda"
    folder.mkdir(parents=True, exist_ok=True)
    left, good = sum(BENCHES[name][2] for name in only), True
    end = time.monotonic() + seconds
    for turn, name in enumerate(only):
        script, arguments, part = BENCHES[name]
        file = folder / f"{name}.json"
        command = [sys.executable, str(FOLDER / f"{script}.py"), "--device", "cuda", *arguments]
        command += ["--json", os.path.relpath(file), *["--quick"] * quick]
        if seconds:  # what one does not need is the next ones'
            spare = end - time.monotonic() - STARTING * (len(only) - turn)
            command += ["--seconds", f"{max(1.0, spare * part / left):.0f}"]
        print(f"\n=== {name}", flush=True)
        good &= subprocess.run(command, check=False).returncode == 0
        left -= part
    return good


def load(results: pathlib.Path) -> dict[str, dict[str, Any]]:
    """card -> name -> bench."""
    cards: dict[str, dict[str, Any]] = {}
    for path in sorted((results / "cuda").glob("*.json")):
        data = json.loads(path.read_text())
        for name, bench in ({path.stem: data} if "rows" in data else data).items():
            cards.setdefault(bench["peaks"][0]["device"], {})[name] = bench
    order = list(BENCHES)
    return {
        card: dict(
            sorted(benches.items(), key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))
        )
        for card, benches in cards.items()
    }


def ratio(row: Row, peers: tuple[str, ...]) -> float | None:
    """Against the best of these peers."""
    return min((row["peers"][name]["ratio"] for name in peers if name in row["peers"]), default=None)


def judge(target: Target, rows: list[Row], whole: bool = True) -> list[str]:
    """Cells of a target's line; not ``whole``: some rows could not be measured."""
    mine = [row for row in rows if row["group"] == target.group and target.where(row)]
    if target.most:
        found = [(target.most / row["seconds"], row["name"]) for row in mine]
        wanted = f"at most {show(target.most)}"
    else:
        found = [(value, row["name"]) for row in mine if (value := ratio(row, target.peers)) is not None]
        wanted = f"{target.every:.1f} x"
    if not found:
        return [target.text, wanted, "", "", "", "not measured"]
    need = target.every or 1.0
    hits = sum(value >= need for value, _ in found)
    least, name = min(found)
    worst = show(target.most / least) if target.most else f"{least:.2f}"
    mean = "" if target.most else f"{geometric_mean(value for value, _ in found):.2f}"
    verdict = "missed" if hits < len(found) else "hit" if whole else "hit by those measured"
    return [target.text, wanted, f"{hits} of {len(found)}", mean, f"{worst} ({name})", verdict]


def target_table(benches: dict[str, Any]) -> str:
    rows = [row for bench in benches.values() for row in bench["rows"]]
    partly = {
        row["group"]
        for bench in benches.values()
        if bench["failed"] or bench["left_out"]
        for row in bench["rows"]
    }
    heads = ["target", "wanted", "rows that reach it", "geometric mean", "least", ""]
    return table(heads, [judge(target, rows, target.group not in partly) for target in TARGETS])


def speed(row: Row) -> str:
    if "gflops" in row:
        return f"{row['gflops'] / 1e3:.3g} TFLOP/s"
    return f"{row['gbytes']:.0f} GB/s, {row['percent_of_peak']:.0f} % of a copy" if "gbytes" in row else ""


def best(row: Row) -> str:
    """Ratio to the best peer of the same precision, and beside it to those that compute less exactly."""
    lower = [name for name in row["peers"] if "tf32" in name and "tf32" not in (row["best_peer"] or "")]
    text = f"{row['ratio']:.2f} {row['best_peer']}" if row["best_peer"] else ""
    if lower:
        name = min(lower, key=lambda peer: row["peers"][peer]["ratio"])
        text += f"; {row['peers'][name]['ratio']:.2f} {name}"
    return text


def key_table(benches: dict[str, Any]) -> str:
    """README's."""
    lines = [
        [row["name"], show(row["seconds"]), speed(row), best(row)]
        for name, bench in benches.items()
        for row in bench["rows"]
        if name in KEYS and KEYS[name](row)
    ]
    return table(["", "time", "speed", "x best peer"], lines)


def full_table(bench: dict[str, Any]) -> str:
    peers = list(dict.fromkeys(peer for row in bench["rows"] for peer in row["peers"]))
    lines = []
    for row in bench["rows"]:
        low, high = (show(value) for value in row["quartiles"])
        cells = [row["name"], show(row["seconds"]), f"{low} to {high}", speed(row), best(row)]
        for peer in peers:
            other = row["peers"].get(peer)
            cells.append(f"{show(other['seconds'])}, {other['ratio']:.2f} x" if other else "")
        lines.append(cells)
    return table(["", "time", "quartiles", "speed", "x best peer", *peers], lines)


def about(bench: dict[str, Any]) -> str:
    """A bench's command, peaks, and what is missing."""
    peak = bench["peaks"][0]
    clocked = [row["timing"] for row in bench["rows"]]
    by_wall = sorted({name for timing in clocked for name, how in timing.items() if how != "events"})
    parts = [
        f"`{bench['command']}`, commit {bench['commit']}, {bench['date'][:10]}; peaks of the run: "
        f"{peak['gflops'] / 1e3:.1f} TFLOP/s float32 multiply-add, {peak['gbytes']:.0f} GB/s copied"
    ]
    parts += [f"timed by the wall clock: {', '.join(by_wall)}"] * bool(by_wall)
    parts += [f"absent: {', '.join(bench['absent'])}"] * bool(bench["absent"])
    parts += [f"**failed**: {entry['name']} ({entry['error'].splitlines()[0]})" for entry in bench["failed"]]
    parts += [f"no time for: {', '.join(bench['left_out'])}"] * bool(bench["left_out"])
    return "; ".join(parts)


def report(cards: dict[str, dict[str, Any]]) -> str:
    """results/REPORT_CUDA.md."""
    parts = ["# Report of the benches on GPUs"]
    parts += [
        "A ratio is the peer's time over ours, the median of the pairs: above 1 deltarule is faster. Times of\n"
        "training steps are per step. Written by `python bench/report.py --device cuda`."
    ]
    for card, benches in cards.items():
        first = next(iter(benches.values()))
        facts = ", ".join(f"{key} {value}" for key, value in first["machine"]["gpu"].items() if key != "name")
        versions = ", ".join(f"{key} {value}" for key, value in first["versions"].items())
        parts += [f"## {card}", f"{facts}; {first['machine']['model']}; {versions}.", target_table(benches)]
        for name, bench in benches.items():
            parts += [f"### {name}", about(bench), full_table(bench)]
    return "\n\n".join(parts) + "\n"


def write(results: pathlib.Path, readme: pathlib.Path) -> None:
    cards = load(results)
    if not cards:
        sys.exit(f"no figures in {results / 'cuda'}; run with --all")
    (results / "REPORT_CUDA.md").write_text(report(cards))
    tables = [
        f"{card}, `bash bench/on_gpu.sh OUT`\n\n{key_table(benches)}" for card, benches in cards.items()
    ]
    if readme.exists():
        readme.write_text(fill(readme.read_text(), {"cuda": "\n\n".join(tables)}))
    for card, benches in cards.items():
        print(f"\n{card}\n{target_table(benches)}")
