"""What the benches share: options, threads, peers, interleaved timing, peaks of the machine, lines and JSON.

A bench is a generator of `Case`s, each checked before it is yielded, and one call of `main`. That runs the bench in a
child process for every number of threads: BLAS, OpenMP and XLA read theirs once, when they load, and XLA takes as many
as the process has cores, so the child gets that many. What differs on a GPU is in gpu.py.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import gc
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from deltarule import _core

PEERS = ("numpy", "torch", "jax", "sklearn")
GPU_PEERS = ("cupy", "torch", "jax")
PACKAGES = ("numpy", "torch", "jax", "jaxlib", "scikit-learn", "deltarule")
FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "amx_tile", "amx_bf16")  # of /proc/cpuinfo
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
CHILD = "DELTARULE_BENCH_CHILD"
MIN_ROUNDS = 7
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

Clock = Callable[[int], float]  # calls -> seconds they took together


@dataclass
class Case:
    """One line: ours and the peers' clocks for the same work, and how much work it is."""

    group: str  # row of the table of targets
    name: str
    own: Clock
    peers: dict[str, Clock]
    flop: float = 0.0  # per call; prints GFLOP/s
    bytes: float = 0.0  # per call; prints GB/s
    elements: float = 0.0  # per call; prints ns an element
    steps: int = 1  # of training in a call: times are per step
    facts: dict[str, Any] = field(default_factory=dict)  # further columns of the JSON
    beside: tuple[str, ...] = ()  # peers that are shown and never the best: they compute less exactly


def clock(call: Callable[[], Any], wait: Callable[[Any], Any] | None = None) -> Clock:
    """Clock of a call; ``wait`` is given the last result where calls return before their work is done (JAX)."""

    def seconds(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls - 1):
            call()
        last = call()
        if wait is not None:
            wait(last)
        return time.perf_counter() - start

    return seconds


def installed(peer: str) -> bool:
    return importlib.util.find_spec(peer) is not None


# Timing.


def seconds_a_call(seconds: Clock, block: float) -> float:
    """An estimate that cost about a block, free of what the very first call costs if calls are short."""
    first = seconds(1)
    calls = round(block / max(first, 1e-9))
    return seconds(calls) / calls if calls > 1 else first


def settle(limit: float = 0.5) -> None:
    """Sleep until no thread of this process runs any more.

    OpenBLAS's threads spin for some 100 ms after a call, libgomp's for some ms: they would take a core from whoever
    is next. A thread's time is booked when the kernel's clock ticks, every 4 to 10 ms: a look must last some of these.
    """
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before, start = time.process_time(), time.perf_counter()
        time.sleep(0.03)
        if time.process_time() - before < 0.1 * (time.perf_counter() - start):
            return


def interleaved(
    clocks: dict[str, Clock], rounds: int, block: float, budget: float, warm: float = 0.0
) -> dict[str, list[float]]:
    """Seconds a call, round by round; every round has a block of each, in an order drawn anew.

    Were the order only turned, each would follow the same one nearly always, and find what that left in the caches.

    With ``warm``, for more than one thread, a block starts when the last one's threads are asleep, and after so many
    seconds of untimed calls: Linux wakes the threads of a pool on one core, and takes tens of ms to spread them.
    """
    estimates = {name: seconds_a_call(seconds, block) for name, seconds in clocks.items()}
    calls = {name: max(1, round(block / seconds)) for name, seconds in estimates.items()}
    warming = {name: round(warm / seconds) for name, seconds in estimates.items()}
    times: dict[str, list[float]] = {name: [] for name in clocks}
    order, draw = list(clocks), random.Random(0)
    start = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for turn in range(max(rounds, MIN_ROUNDS)):
            if turn >= MIN_ROUNDS and time.perf_counter() - start > budget:
                break
            draw.shuffle(order)
            for name in order:
                if warm:
                    settle()
                if warming[name]:
                    clocks[name](warming[name])
                times[name].append(clocks[name](calls[name]) / calls[name])
    finally:
        gc.enable()
    return times


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive")


def ratios(own: list[float], peer: list[float]) -> list[float]:
    """Quartiles of peer / own, pair by pair: above 1 we are faster."""
    return quartiles([p / o for o, p in zip(own, peer, strict=True)])


def compare(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Our time of a case and the peers', in rounds of everybody."""
    clocks = {"": case.own, **case.peers}
    times = interleaved(clocks, options.rounds, options.block, options.budget, options.warm)
    own = [seconds / case.steps for seconds in times.pop("")]
    low, median, high = quartiles(own)
    peers = {}
    for name, seconds in times.items():
        each = [value / case.steps for value in seconds]
        spread = ratios(own, each)
        peers[name] = {"seconds": statistics.median(each), "ratio": spread[1], "quartiles": spread}
    best = min(
        (name for name in peers if name not in case.beside), key=lambda n: peers[n]["ratio"], default=None
    )
    row = {"seconds": median, "quartiles": [low, high], "rounds": len(own), "peers": peers}
    return row | {"best_peer": best, "ratio": peers[best]["ratio"] if best else None}


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """The row of a case."""
    row = {
        "group": case.group,
        "name": case.name,
        "device": "cpu",
        "isa": _core.isa(),
        "threads": options.threads,
    }
    row |= compare(case, options)
    median = row["seconds"]
    if case.flop:
        row["gflops"] = case.flop / case.steps / median / 1e9
        row["percent_of_peak"] = 100 * row["gflops"] / fma_peak(_core.isa(), options.threads)
    elif case.bytes:
        row["gbytes"] = case.bytes / case.steps / median / 1e9
        row["percent_of_peak"] = 100 * row["gbytes"] / stream_peak(options.threads)
    if case.elements:
        row["ns_per_element"] = 1e9 * median / case.elements
    return row | case.facts


# The machine's peaks, measured in this run.


@functools.cache
def fma_peak(isa: str, threads: int, tries: int = 30) -> float:
    """GFLOP/s of float32 multiply-adds in registers, on so many threads at once."""
    peak = _core.kernels.peak
    rounds = round(100_000 * 0.005 / time_of(lambda: peak(100_000)))
    with ThreadPoolExecutor(threads) as pool:

        def speed() -> float:
            start = time.perf_counter()
            flop = sum(pool.map(peak, [rounds] * threads))
            return flop / (time.perf_counter() - start) / 1e9

        return max(speed() for _ in range(tries))


@functools.cache
def stream_peak(threads: int, tries: int = 7) -> float:
    """GB/s of c = a + b on arrays far larger than the caches: two reads and a write are counted."""
    a, b, c = (np.ones(1 << 24, np.float32) for _ in range(3))
    return (
        3 * a.nbytes / min(time_of(lambda: _core.kernels.binary("add", a, b, c)) for _ in range(tries)) / 1e9
    )


def time_of(call: Callable[[], Any]) -> float:
    return clock(call)(1)


# Lines and JSON.


def show_seconds(seconds: float) -> str:
    for unit, factor in (("s ", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:7.2f} {unit}"
    return f"{seconds * 1e9:7.1f} ns"


def line(row: dict[str, Any]) -> str:
    """What a bench prints of a row."""
    low, high = (value / row["seconds"] - 1 for value in row["quartiles"])
    text = (
        f"{row['name']:50} {row['device']} {row['isa']} {row['threads']} thr {show_seconds(row['seconds'])}"
    )
    text += f" ({low:+4.0%} {high:+4.0%})"
    for key, unit in (("gflops", "GFLOP/s"), ("ns_per_element", "ns/element"), ("gbytes", "GB/s")):
        if key in row:
            text += f" {row[key]:8.3g} {unit}"
            break
    if "percent_of_peak" in row:
        text += f" {row['percent_of_peak']:4.0f} % of peak"
    if row["best_peer"]:
        others = ", ".join(f"{name} {peer['ratio']:.2f}" for name, peer in row["peers"].items())
        text += f"  {row['ratio']:6.2f} x {row['best_peer']}  ({others})"
    return text


def machine() -> dict[str, Any]:
    """The processor, as far as figures depend on it."""
    facts: dict[str, str] = {}
    if os.path.exists("/proc/cpuinfo"):
        first = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        facts = {
            key.strip(): value.strip()
            for key, _, value in (entry.partition(":") for entry in first.splitlines())
        }
    return {
        "model": facts.get("model name", platform.processor() or platform.machine()),
        "family": f"{facts.get('cpu family', '?')}/{facts.get('model', '?')}/{facts.get('stepping', '?')}",
        "flags": [flag for flag in FLAGS if flag in facts.get("flags", "").split()],
        "cores": _core.available_cores(),
        "caches": _core.info()["caches"],
    }


def versions() -> dict[str, str]:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found = {"python": platform.python_version(), "compiler": _core.info()["compiler"]}
    found["blas of numpy"] = f"{blas.get('name')} {blas.get('version')}"
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Of the checkout, with + where it has been changed."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + "+" * bool(changed.stdout.strip())


def facts() -> dict[str, Any]:
    arguments = " ".join(sys.argv[1:])
    return {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "command": f"python bench/{pathlib.Path(sys.argv[0]).name} {arguments}".strip(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


# The command line.


def names(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Type of an option that takes several of these, separated by commas."""

    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        for name in chosen:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r}; wanted some of {','.join(choices)}")
        return chosen

    return parse


def counts(text: str) -> list[int]:
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [0]
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted numbers from 1, separated by commas")
    return values


def parser(doc: str) -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(description=doc.splitlines()[0])
    result.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    result.add_argument("--threads", type=counts, default=[1], metavar="N,...", help="of the CPU, default 1")
    result.add_argument(
        "--peers",
        type=names((*PEERS, *(peer for peer in GPU_PEERS if peer not in PEERS))),
        help=f"default: all of {','.join(PEERS)}; with --device cuda {','.join(GPU_PEERS)}",
    )
    result.add_argument(
        "--rounds", type=int, default=15, help=f"most rounds of a case; at least {MIN_ROUNDS}"
    )
    result.add_argument("--quick", action="store_true", help="few shapes, short rounds: to see that it works")
    result.add_argument("--json", metavar="FILE", help="write machine, versions, peaks and rows")
    result.add_argument(
        "--seconds",
        type=float,
        default=0.0,
        help="with --device cuda: begin no case after so many; default: all",
    )
    return result


def in_child(command: list[str], threads: int) -> None:
    """Run a command with that many threads for every library: in the environment, and as the cores it may use."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
    environment |= {CHILD: "1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:threads])
    try:
        subprocess.run(command, env=environment, check=True)
    finally:
        os.sched_setaffinity(0, cores)


def main(
    doc: str,
    cases: Callable[[argparse.Namespace], Iterator[Case]],
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    gpu_entries: Callable[[argparse.Namespace], Iterator[Any]] | None = None,
) -> None:
    """Parse the command line, run the bench once for each number of threads, print lines, write JSON.

    With --device cuda it is run once, by gpu.py, on ``gpu_entries``.
    """
    arguments = parser(doc)
    add_options(arguments)
    options = arguments.parse_args()
    if options.device == "cuda":
        if gpu_entries is None:
            arguments.error("this bench is of the CPU: there is no --device cuda")
        import gpu

        return gpu.main(options, gpu_entries)
    options.peers = list(PEERS) if options.peers is None else options.peers
    options.absent = [peer for peer in options.peers if not installed(peer)]
    options.peers = [peer for peer in options.peers if peer not in options.absent]
    if CHILD in os.environ:
        return run(options, cases)
    if options.absent:
        print(f"absent: {', '.join(options.absent)} (bench/README.md has the install lines)", flush=True)
    result: dict[str, Any] = {"bench": pathlib.Path(sys.argv[0]).stem, **facts(), "absent": options.absent}
    result |= {"peaks": [], "rows": []}
    for threads in options.threads:
        with tempfile.TemporaryDirectory() as folder:
            part = pathlib.Path(folder) / "rows.json"
            own = ["--threads", str(threads), "--json", str(part)]
            try:
                in_child([sys.executable, sys.argv[0], *sys.argv[1:], *own], threads)
            except subprocess.CalledProcessError as error:
                sys.exit(error.returncode)
            for key, values in json.loads(part.read_text()).items():
                result[key] += values
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return None


def run(options: argparse.Namespace, cases: Callable[[argparse.Namespace], Iterator[Case]]) -> None:
    """The child's part: one number of threads."""
    (options.threads,) = options.threads
    options.block, options.budget, options.warm = (0.001, 0.1, 0.0) if options.quick else (0.01, 2.0, 0.0)
    if options.threads > 1:
        options.block, options.warm = 2 * options.block, 4 * options.block
    _core.set_num_threads(options.threads)
    if "torch" in options.peers:
        import torch

        torch.set_num_threads(options.threads)
    peaks = {"threads": options.threads, "isa": _core.isa(), "gflops": fma_peak(_core.isa(), options.threads)}
    peaks["gbytes"] = stream_peak(options.threads)
    print(
        f"peak, {options.threads} thread(s), {peaks['isa']}: {peaks['gflops']:.0f} GFLOP/s float32 multiply-add, "
        f"{peaks['gbytes']:.1f} GB/s of memory",
        flush=True,
    )
    rows = []
    for case in cases(options):
        rows.append(measure(case, options))
        print(line(rows[-1]), flush=True)
    pathlib.Path(options.json).write_text(json.dumps({"peaks": [peaks], "rows": rows}))
