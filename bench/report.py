"""All benches at 1 and 2 threads, and what is made of their figures: README's tables, results/REPORT.md, plots.

    python bench/report.py --all [--only gemm,step] [--quick] [--threads 1,2] [--data-dir FOLDER]
    python bench/report.py                                       (tables and plots from the JSON of the last run)
    python bench/report.py --device cuda [--all [--seconds 240]]                (the same of a GPU: gpu_report.py)

README's tables stand between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` and hold the rows named in KEYS.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import harness

FOLDER = pathlib.Path(__file__).resolve().parent
Row = dict[str, Any]

# name -> its arguments in --all.
BENCHES = {
    "gemm": ["--precision", "highest,high,medium"],
    "step": ["--precision", "highest,medium"],
    "online": [],
    "tiny": [],
    "elementwise": [],
    "overhead": [],
    "fit": [],
    "deform": [],
}

# Rows of README's tables, by the first words of their name.
KEYS = {
    "gemm": (
        "64x64x64", "256x256x256", "1024x1024x1024", "4096x4096x4096", "1x2500x841 NN", "100x2500x841 NN",
        "100x841x2500 NT", "841x2500x100 TN",
    ),
    "step": ("784-800-10 b100", "784-1000-500-10 b10", "784-1000-500-10 b1000", "841-2500-2000-1500-1000-500-10 b100"),
    "online": (),
    "tiny": (),
    "elementwise": (
        "exp n=1e+04", "exp n=1e+06", "tanh n=1e+06", "add n=1e+06", "sum n=1e+06", "softmax rows of 10 n=1e+06",
    ),
    "overhead": ("m.add(a, b)", "a + b", "m.exp(a)", "a.sum()", "a[1:3]", "a[0]", "p @ q"),
    "fit": ("epoch",),
    "deform": (),
}  # fmt: skip
TRANSCENDENTAL = ("exp", "tanh", "sigmoid", "softmax rows of 10", "softmax rows of 1000")


@dataclass(frozen=True)
class Target:
    """A line of the issue's table: every row of these, against a peer or the best one, at least so often faster."""

    text: str
    group: str
    every: float
    mean: float = 0.0  # geometric
    peer: str = ""
    where: Callable[[Row], bool] = lambda row: True


TARGETS = (
    Target("GEMM highest", "gemm highest", 1.0, 1.25),
    Target("GEMM highest, AMX, from 1024", "gemm highest", 1.5, where=lambda r: r["amx"] and min(r["shape"]) >= 1024),
    Target("GEMM high, from 500", "gemm high", 2.5),
    Target("GEMM medium, from 500", "gemm medium", 1.3),
    Target("step tiny", "step tiny", 8.0),
    Target("step tiny, scikit-learn", "step tiny", 100.0, peer="sklearn"),
    Target("step online", "step online", 2.0),
    Target("step minibatch 10", "step minibatch 10", 1.5),
    Target("step minibatch 100", "step minibatch 100", 1.3),
    Target("step minibatch 1000", "step minibatch 1000", 1.2),
    Target("step minibatch, medium", "step minibatch medium", 1.3),
    Target("element-wise", "elementwise", 1.0),
    Target(
        "transcendental functions from 1e5 elements",
        "elementwise",
        2.0,
        where=lambda r: r["function"] in TRANSCENDENTAL and r["n"] >= 100_000,
    ),
    Target("dr.add of 8 elements", "overhead", 0.5, peer="numpy", where=lambda r: r["name"] == "m.add(a, b)"),
    Target("fit, DataLoader", "fit", 3.0, peer="torch DataLoader"),
    Target("fit, cut by hand", "fit", 1.3, peer="torch"),
    Target("deformation, scipy.ndimage", "deform", 10.0, peer="scipy"),
    Target("fit takes at most 1.05 times its steps", "fit overhead", 1 / 1.05, peer="steps alone"),
)  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Every bench in a process of its own, into results/NAME.json."""
    for name in options.only:
        command = [sys.executable, str(FOLDER / f"{name}.py"), *BENCHES[name]]
        command += ["--threads", ",".join(map(str, options.threads)), "--peers", ",".join(options.peers)]
        command += [
            "--json",
            os.path.relpath(options.results / f"{name}.json"),
        ]  # it is printed with the figures
        command += ["--quick"] * options.quick
        if name == "fit" and options.data_dir:
            command += ["--data-dir", str(options.data_dir)]
        print(f"\n=== {name}", flush=True)
        subprocess.run(command, check=True)


def load(results: pathlib.Path) -> dict[str, Any]:
    """name -> JSON of the benches that have run."""
    files = {name: results / f"{name}.json" for name in BENCHES}
    return {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}


def all_rows(data: dict[str, Any]) -> list[Row]:
    return [
        {**row, "bench": name, "amx": "amx_bf16" in bench["machine"]["flags"]}
        for name, bench in data.items()
        for row in bench["rows"]
    ]


# Targets.


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def ratio(row: Row, peer: str = "") -> float | None:
    """Against a peer, or the best one."""
    return row["peers"].get(peer, {}).get("ratio") if peer else row["ratio"]


def judge(target: Target, rows: list[Row], threads: int) -> list[str] | None:
    """Cells of a target's line at so many threads; None if nothing was measured for it."""
    mine = [r for r in rows if f"{r['group']} ".startswith(f"{target.group} ") and r["threads"] == threads]
    ratios = [(ratio(row, target.peer), row["name"]) for row in mine if target.where(row)]
    measured = [(value, name) for value, name in ratios if value is not None]
    if not measured:
        return None
    mean = geometric_mean(value for value, _ in measured)
    least, name = min(measured)
    hits = sum(value >= target.every for value, _ in measured)
    verdict = "hit" if hits == len(measured) and mean >= target.mean else "missed"
    wanted = f"{target.every:.2f}" + (f", mean {target.mean:.2f}" if target.mean else "")
    cells = [target.text, str(threads), target.peer or "best", wanted, f"{hits} of {len(measured)}"]
    return [*cells, f"{mean:.2f}", f"{least:.2f} ({name})", verdict]


def target_table(rows: list[Row]) -> str:
    heads = ["target", "threads", "peer", "wanted", "rows that reach it", "geometric mean", "least", ""]
    counts = sorted({row["threads"] for row in rows})
    lines = [cells for target in TARGETS for threads in counts if (cells := judge(target, rows, threads))]
    return table(heads, lines)


# Tables.


def table(heads: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [heads, ["---"] * len(heads), *lines])


def speed(row: Row) -> str:
    for key, unit in (("gflops", "GFLOP/s"), ("ns_per_element", "ns/element"), ("gbytes", "GB/s")):
        if key in row:
            return f"{row[key]:.3g} {unit}"
    return ""


def show(seconds: float) -> str:
    return " ".join(harness.show_seconds(seconds).split())


def is_key(name: str, keys: tuple[str, ...]) -> bool:
    """Whether a row's name begins with these words; no keys: every row."""
    return not keys or any(name == key or name.startswith((f"{key} ", f"{key},")) for key in keys)


def key_table(name: str, bench: dict[str, Any]) -> str:
    """README's: a line per key row, time and ratio to the best peer at each number of threads."""
    counts = sorted({row["threads"] for row in bench["rows"]})
    heads = [name]
    for threads in counts:
        heads += [f"{threads} thread{'s' * (threads > 1)}", "x best peer"]
    found: dict[str, dict[int, Row]] = {}
    for row in bench["rows"]:
        if is_key(row["name"], KEYS[name]):
            found.setdefault(row["name"], {})[row["threads"]] = row
    lines = []
    for label, by_threads in found.items():
        cells = [f"`{label}`" if name == "overhead" else label]
        for threads in counts:
            row = by_threads.get(threads)
            best = f"{row['ratio']:.2f} {row['best_peer']}" if row and row["best_peer"] else ""
            cells += [", ".join(filter(None, (show(row["seconds"]), speed(row)))) if row else "", best]
        lines.append(cells)
    return f"`{bench['command']}`\n\n{table(heads, lines)}"


def full_table(bench: dict[str, Any]) -> str:
    """The report's: every row with every peer's time."""
    peers = list(dict.fromkeys(peer for row in bench["rows"] for peer in row["peers"]))
    heads = ["", "threads", "time", "quartiles", "speed", "% of peak", "x best peer", *peers]
    lines = []
    for row in bench["rows"]:
        low, high = (show(value) for value in row["quartiles"])
        cells = [row["name"], str(row["threads"]), show(row["seconds"]), f"{low} to {high}", speed(row)]
        cells += [f"{row['percent_of_peak']:.0f}" if "percent_of_peak" in row else ""]
        cells += [f"**{row['ratio']:.2f}** {row['best_peer']}" if row["best_peer"] else ""]
        for peer in peers:
            other = row["peers"].get(peer)
            cells.append(f"{show(other['seconds'])}, {other['ratio']:.2f} x" if other else "")
        lines.append(cells)
    return table(heads, lines)


def about(bench: dict[str, Any]) -> str:
    peaks = "; ".join(
        f"{p['threads']} threads {p['gflops']:.0f} GFLOP/s, {p['gbytes']:.1f} GB/s" for p in bench["peaks"]
    )
    absent = f"; absent: {', '.join(bench['absent'])}" if bench["absent"] else ""
    return f"`{bench['command']}`, commit {bench['commit']}, {bench['date'][:10]}; peaks of the run: {peaks}{absent}"


def report(data: dict[str, Any]) -> str:
    """results/REPORT.md."""
    first = next(iter(data.values()))
    machine, versions = first["machine"], ", ".join(f"{k} {v}" for k, v in first["versions"].items())
    parts = [
        "# Report of the benches",
        f"{machine['model']}, {machine['cores']} cores, {' '.join(machine['flags'])}; {versions}.",
        "A ratio is the peer's time over ours, the median of the pairs: above 1 deltarule is faster. Times of training",
        "steps are per step. Written by `python bench/report.py`.",
        "## Targets",
        target_table(all_rows(data)),
    ]
    for name, bench in data.items():
        parts += [f"## {name}", about(bench), full_table(bench)]
    return "\n\n".join(parts).replace("training\n\nsteps", "training\nsteps") + "\n"


def fill(text: str, tables: dict[str, str]) -> str:
    """The text with what stands between the markers of each table replaced; twice is the same as once."""
    for name, body in tables.items():
        marked = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
        text = marked.sub(lambda found, body=body: f"{found[1]}{body}\n{found[2]}", text)
    return text


# Plots.


def plot(data: dict[str, Any], folder: pathlib.Path) -> None:
    """roofline.png and peers.png."""
    import matplotlib

    matplotlib.use("Agg")
    if "gemm" in data:
        plot_roofline(data["gemm"], folder / "roofline.png")
    plot_peers(all_rows(data), folder / "peers.png")


def plot_roofline(bench: dict[str, Any], path: pathlib.Path) -> None:
    """float32 products against FLOP per byte of their operands, under the peaks of the run."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(bench["peaks"]), figsize=(6 * len(bench["peaks"]), 4.5), sharey=True, squeeze=False
    )
    for axis, peak in zip(axes[0], bench["peaks"], strict=True):
        rows = [r for r in bench["rows"] if r["threads"] == peak["threads"] and r["group"] == "gemm highest"]
        intensity = [m * n * k / (2 * (m * n + m * k + n * k)) for m, n, k in (row["shape"] for row in rows)]
        span = [0.1 * 10 ** (x / 50) for x in range(201)]
        roof = [min(peak["gflops"], x * peak["gbytes"]) for x in span]
        axis.loglog(
            span, roof, "k-", lw=1, label=f"{peak['gflops']:.0f} GFLOP/s, {peak['gbytes']:.0f} GB/s of memory"
        )
        best = [row["gflops"] / row["ratio"] if row["ratio"] else math.nan for row in rows]
        axis.loglog(intensity, best, "x", color="tab:gray", ms=4, label="best peer")
        axis.loglog(
            intensity, [row["gflops"] for row in rows], "o", color="tab:blue", ms=4, label="deltarule"
        )
        axis.set(title=f"float32 products, {peak['threads']} thread(s)", xlabel="FLOP per byte of operands")
        axis.legend(loc="lower right", fontsize=8)
    axes[0][0].set_ylabel("GFLOP/s (above the slope: operands in a cache)")
    save(figure, path)


def plot_peers(rows: list[Row], path: pathlib.Path) -> None:
    """Geometric mean of the ratio to each peer, a bar per group and number of threads."""
    from matplotlib import pyplot

    rows = [row for row in rows if row["group"] != "fit overhead" and row["peers"]]
    keys = list(dict.fromkeys((row["group"], row["threads"]) for row in rows))
    peers = list(dict.fromkeys(peer for row in rows for peer in row["peers"]))
    if not keys:
        return
    figure, axis = pyplot.subplots(figsize=(8, 1 + 0.55 * len(keys)))
    height = 0.8 / len(peers)
    for index, peer in enumerate(peers):
        places, bars = [], []
        for line, key in enumerate(keys):
            values = [
                r["peers"][peer]["ratio"]
                for r in rows
                if (r["group"], r["threads"]) == key and peer in r["peers"]
            ]
            if values:
                places.append(line + (index - len(peers) / 2 + 0.5) * height)
                bars.append(geometric_mean(values))
        axis.barh(places, [b - 1 for b in bars], height, left=1, label=peer)
    axis.axvline(1, color="k", lw=1)
    axis.set_xscale("log")
    axis.set_xlim(left=0.5)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_yticks(range(len(keys)), [f"{group}, {threads} thr" for group, threads in keys], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("peer's time / ours, geometric mean (right of 1: deltarule is faster)")
    axis.legend(fontsize=8)
    save(figure, path)


def save(figure: Any, path: pathlib.Path) -> None:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="run the benches first")
    parser.add_argument(
        "--only", type=harness.names((*BENCHES, "gemm_ffma")), help="with --all: these; default: every bench"
    )
    parser.add_argument("--quick", action="store_true", help="with --all: few shapes, short rounds")
    parser.add_argument("--threads", type=harness.counts, default=[1, 2])
    parser.add_argument("--peers", type=harness.names(harness.PEERS), default=list(harness.PEERS))
    parser.add_argument("--data-dir", type=pathlib.Path, help="MNIST for fit.py")
    parser.add_argument(
        "--results", type=pathlib.Path, default=FOLDER / "results", help="folder of JSON, report, plots"
    )
    parser.add_argument("--readme", type=pathlib.Path, default=FOLDER.parent / "README.md")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="with --device cuda --all: for all benches"
    )
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    if options.device == "cuda":
        return report_gpu(options)
    if options.all:
        options.only = [name for name in options.only or BENCHES if name in BENCHES]
        run(options)
    data = load(options.results)
    if not data:
        sys.exit(f"no figures in {options.results}; run with --all")
    (options.results / "REPORT.md").write_text(report(data))
    tables = {name: key_table(name, bench) for name, bench in data.items()}
    options.readme.write_text(fill(options.readme.read_text(), tables))
    if harness.installed("matplotlib"):
        plot(data, options.results)
    else:
        print("no plots: matplotlib is absent")
    print(target_table(all_rows(data)))
    return None


def report_gpu(options: argparse.Namespace) -> None:
    import gpu_report

    only = [name for name in gpu_report.BENCHES if options.only is None or name in options.only]
    good = not options.all or gpu_report.run(options.results, only, options.seconds, options.quick)
    gpu_report.write(options.results, options.readme)
    if not good:
        sys.exit("a bench failed, see above")


if __name__ == "__main__":
    main()
