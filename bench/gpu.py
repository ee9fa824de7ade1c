"""What the benches need of a GPU: its facts and peaks, clocks, the peers' settings, and the loop over cases.

A bench gives entries: a name, and a function that checks and gives the cases. An entry that fails is named and the
others go on; the JSON is written after every entry, so a run that is cut short keeps what it has. Everything runs in
one process, for which the settings of the peers are set before they are loaded.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.metadata
import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import deltarule as dr
import harness
import numpy as np
from deltarule import _core, cuda
from harness import Case, Clock

Entry = tuple[str, Callable[[], Iterable[Case]]]

DEVICE, THEIRS = "cuda", "cuda"  # as we and as PyTorch call it; tests let the CPU stand in
PACKAGES = ("cupy-cuda13x", "cupy-cuda12x", "jax-cuda13-plugin", "jax-cuda12-plugin", "triton")
SETTINGS = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # else JAX takes three quarters of the memory for itself
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUPY_TF32": "0",
}
FORCED = ("NVIDIA_TF32_OVERRIDE", "JAX_PLATFORMS")  # would overrule what a peer is asked for here
L2_BYTES = 64 << 20  # where nobody says
BEYOND_L2 = 3  # operands are rotated among sets that are together so many times the L2 cache
BLOCK, BUDGET = 0.005, 0.4  # seconds: of a block, and after which a case has no further round


# The card.


@functools.cache
def usable(peer: str) -> bool:
    """Whether a peer is installed and finds the GPU."""
    if not harness.installed(peer):
        return False
    try:
        if peer == "jax":
            import jax

            return bool(jax.devices("gpu"))
        if peer == "cupy":
            import cupy

            return bool(cupy.cuda.is_available())
        import torch

        return bool(torch.cuda.is_available())
    except Exception:  # whatever a broken installation raises
        return False


def nvidia_smi(fields: str) -> dict[str, str]:
    """What it says of the first GPU; nothing where it is absent."""
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields.split(","), done.stdout.strip().split(", "), strict=False))


@functools.cache
def card() -> dict[str, Any]:
    """Name, driver and clocks, and the bytes of L2, which PyTorch or CuPy know."""
    facts: dict[str, Any] = nvidia_smi("driver_version,clocks.max.sm,clocks.max.memory,power.limit")
    facts |= vars(cuda.properties()) | {"CUDA": dr.info()["cuda"]["runtime"]}
    if dr.info()["cuda"]["emulated"]:
        facts |= {"emulated": True, "L2": 1 << 16}
    elif usable("torch"):
        import torch

        facts["L2"] = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)
    elif usable("cupy"):
        import cupy

        facts["L2"] = cupy.cuda.runtime.getDeviceProperties(0)["l2CacheSize"]
    return facts


def sets(size: int) -> int:
    """How many sets of operands of so many bytes do not stay in the L2 cache between their uses."""
    return max(1, -(-BEYOND_L2 * (card().get("L2") or L2_BYTES) // max(size, 1)))


def ours(array: np.ndarray) -> Any:
    """On the GPU as our Array."""
    return dr.asarray(array, device=DEVICE)


def host(result: Any) -> np.ndarray:
    """Anybody's array as NumPy's."""
    if isinstance(result, dr.Array):
        return result.to("cpu").numpy()
    if type(result).__module__.partition(".")[0] == "cupy":
        return result.get()
    if hasattr(result, "detach"):
        return result.detach().float().cpu().numpy()
    return np.asarray(result)


# Clocks.


def synchronize() -> None:
    """Until all that we queued is done."""
    if DEVICE != "cpu":
        cuda.synchronize()


def idle() -> None:
    """Until all that anybody queued is done."""
    synchronize()
    if usable("torch"):
        import torch

        torch.cuda.synchronize()
    if usable("cupy"):
        import cupy

        cupy.cuda.Device().synchronize()


class TorchEvents:
    """A pair of PyTorch's events on a stream by address, or on PyTorch's own."""

    def __init__(self, stream: int | None) -> None:
        import torch

        self.stream = torch.cuda.current_stream() if stream is None else torch.cuda.ExternalStream(stream)
        self.first, self.last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.idle = torch.cuda.synchronize

    def seconds(self) -> float:
        self.last.synchronize()
        return self.first.elapsed_time(self.last) * 1e-3


class CupyEvents:
    """The same of CuPy."""

    def __init__(self, stream: int | None) -> None:
        import cupy

        with warnings.catch_warnings():  # CuPy 14 has another name for it
            warnings.simplefilter("ignore")
            own = cupy.cuda.get_current_stream() if stream is None else cupy.cuda.ExternalStream(stream)
        self.stream = own
        self.first, self.last = cupy.cuda.Event(), cupy.cuda.Event()
        self.idle, self.elapsed = cupy.cuda.Device().synchronize, cupy.cuda.get_elapsed_time

    def seconds(self) -> float:
        self.last.synchronize()
        return self.elapsed(self.first, self.last) * 1e-3


def events(contender: str) -> TorchEvents | CupyEvents | None:
    """On the stream that a contender's work is queued on; None where nobody can make them."""
    library = contender.split()[0]
    own = library not in ("torch", "cupy", "jax")
    if library == "jax" or DEVICE == "cpu":  # its streams are nobody else's business
        return None
    stream = _core.stream_address("cuda:0") if own else None
    if library == "torch" or (own and usable("torch")):
        return TorchEvents(stream)
    return CupyEvents(stream) if library == "cupy" or usable("cupy") else None


def timing(contender: str) -> str:
    return "wall clock" if events(contender) is None else "events"


def clock(
    call: Callable[[], Any],
    contender: str,
    prepare: Callable[[], None] | None = None,
    wait: Callable[[Any], Any] | None = None,
) -> Clock:
    """Clock of a call that queues work; the GPU is idle before, and done after.

    By events around the block on the contender's stream where there are any, else by the wall clock, with ``wait``
    given the last result. ``prepare`` is called before each block, untimed: settings that are a library's as a whole.
    """
    marks = events(contender)
    by_wall = harness.clock(call, wait or (lambda _: synchronize()))

    def seconds(calls: int) -> float:
        if prepare is not None:
            prepare()
        if marks is None:
            return by_wall(calls)
        marks.idle()
        marks.first.record(marks.stream)
        for _ in range(calls):
            call()
        marks.last.record(marks.stream)
        return marks.seconds()

    return seconds


def working(makers: dict[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the makers of the peers give, and why some give nothing: a peer that fails is named and left out."""
    made, missing = {}, {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except Exception as error:  # what a compiler or a capture raises
            missing[name] = f"{type(error).__name__}: {error}"[:300]
            print(f"{name} is left out: {missing[name].splitlines()[0]}")
    return made, missing


def rotated(calls: list[Callable[[], Any]]) -> Callable[[], Any]:
    """One call after the other, each with operands of its own."""
    turn = itertools.cycle(calls)
    return lambda: next(turn)()


def torch_graph(calls: list[Callable[[], Any]]) -> Callable[[], None]:
    """All these calls' work as one CUDA graph."""
    import torch

    for call in calls:  # whatever they set up once
        call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph.replay


def own_graph(calls: list[Callable[[], Any]]) -> Callable[[], None]:
    """The same of our calls, which are recorded as the engine records a training step."""
    for call in calls:
        call()
    _core.cuda.record(f"{DEVICE}:0")
    try:
        for call in calls:
            call()
    finally:
        recording = _core.cuda.recorded(f"{DEVICE}:0")
    return lambda: _core.cuda.run(recording, f"{DEVICE}:0")


def torch_products(tf32: bool) -> Callable[[], None]:
    """What lets PyTorch's float32 products use TF32, or forbids it."""

    def prepare() -> None:
        import torch

        torch.set_float32_matmul_precision("high" if tf32 else "highest")

    return prepare


# The card's peaks, measured in this run.


@functools.cache
def copy_peak(size: int, tries: int = 10) -> float:
    """GB/s of the fastest copy of an array far larger than the L2 cache, read and written."""
    a, b = (dr.zeros(size // 4, "float32", device=DEVICE) for _ in range(2))
    clocks = [clock(functools.partial(b.__setitem__, ..., a), "deltarule")]
    if usable("torch"):
        import torch

        x, y = (torch.zeros(size // 4, device="cuda") for _ in range(2))
        clocks.append(clock(lambda: y.copy_(x), "torch"))
    if usable("cupy"):
        import cupy

        u, v = (cupy.zeros(size // 4, cupy.float32) for _ in range(2))
        clocks.append(clock(lambda: cupy.copyto(v, u), "cupy"))
    return 2 * size / min(seconds(1) for seconds in clocks for _ in range(tries)) / 1e9


@functools.cache
def fma_peak(tries: int = 10) -> float:
    """GFLOP/s of float32 multiply-adds in registers."""
    kernels = _core.kernels
    before = kernels.device()
    kernels.set_device("cpu" if DEVICE == "cpu" else "cuda:0")
    try:
        done = [0, 0]

        def call() -> None:
            done[0] = kernels.peak(done[1])

        seconds, rounds = clock(call, "deltarule"), 64
        while True:  # a launch must take some ms
            done[1] = rounds
            if seconds(1) >= 0.004 or rounds >= 1 << 24:
                break
            rounds *= 4
        return max(done[0] / seconds(1) for _ in range(tries)) / 1e9
    finally:
        kernels.set_device(before)


# Rows.


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """The row of a case."""
    row = {"group": case.group, "name": case.name, "device": card()["name"]}
    row |= {"timing": {name: timing(name) for name in ("deltarule", *case.peers)}}
    row |= harness.compare(case, options)
    seconds, peaks = row["seconds"], options.peaks
    if case.flop:
        row["gflops"] = case.flop / case.steps / seconds / 1e9
        row["percent_of_peak"] = 100 * row["gflops"] / peaks["gflops"]
    elif case.bytes:
        row["gbytes"] = case.bytes / case.steps / seconds / 1e9
        row["percent_of_peak"] = 100 * row["gbytes"] / peaks["gbytes"]
    return row | case.facts


def line(row: dict[str, Any]) -> str:
    """What is printed of a row."""
    low, high = (value / row["seconds"] - 1 for value in row["quartiles"])
    text = f"{row['name']:58} {harness.show_seconds(row['seconds'])} ({low:+4.0%} {high:+4.0%})"
    if "gflops" in row:
        text += f" {row['gflops'] / 1e3:8.3g} TFLOP/s"
    elif "gbytes" in row:
        text += f" {row['gbytes']:8.4g} GB/s {row['percent_of_peak']:4.0f} % of a copy"
    if row["peers"]:
        best = f"{row['ratio']:6.2f} x {row['best_peer']}" if row["best_peer"] else ""
        others = ", ".join(f"{name} {peer['ratio']:.2f}" for name, peer in row["peers"].items())
        text += f" {best}  ({others})"
    return text


def facts() -> dict[str, Any]:
    found = harness.facts()
    found["machine"]["gpu"] = card()
    for package in PACKAGES:
        try:
            found["versions"][package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(options: argparse.Namespace, entries: Callable[[argparse.Namespace], Iterator[Entry]]) -> None:
    """Start again with the peers' settings in the environment, then run the bench."""
    if harness.CHILD not in os.environ:
        environment = {name: value for name, value in os.environ.items() if name not in FORCED}
        environment |= {**SETTINGS, harness.CHILD: "1"}
        if getattr(options, "kernel", ""):
            environment["DELTARULE_CUDA_GEMM"] = options.kernel
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    if not cuda.is_available():
        sys.exit(f"no GPU: {cuda.missing()}")
    run(options, entries)


def run(options: argparse.Namespace, entries: Callable[[argparse.Namespace], Iterator[Entry]]) -> None:
    asked = [peer for peer in harness.GPU_PEERS if options.peers is None or peer in options.peers]
    options.peers = [peer for peer in asked if usable(peer)]
    absent = [peer for peer in asked if peer not in options.peers]
    options.block, options.budget, options.warm = (0.001, 0.1, 0.0) if options.quick else (BLOCK, BUDGET, 0.0)
    result: dict[str, Any] = {"bench": pathlib.Path(sys.argv[0]).stem, **facts(), "absent": absent}
    options.peaks = {"device": card()["name"], "gflops": fma_peak(), "gbytes": 0.0}
    options.peaks["gbytes"] = copy_peak(1 << 22 if options.quick else 1 << 30)
    result |= {"peaks": [options.peaks], "rows": [], "failed": [], "left_out": []}
    print(
        f"{card()['name']}: {options.peaks['gflops'] / 1e3:.1f} TFLOP/s float32 multiply-add, "
        f"{options.peaks['gbytes']:.0f} GB/s copied; absent: {', '.join(absent) or 'nobody'}",
        flush=True,
    )
    start = time.monotonic()
    for name, make in entries(options):
        if options.seconds and time.monotonic() - start > options.seconds:
            result["left_out"].append(name)
            continue
        attempt(name, make, options, result)
        save(result, options.json)
    save(result, options.json)
    if result["left_out"]:
        print(f"left out after {options.seconds:.0f} s: {', '.join(result['left_out'])}")
    if result["failed"]:
        sys.exit(f"{len(result['failed'])} of the entries failed")


def attempt(
    name: str, make: Callable[[], Iterable[Case]], options: argparse.Namespace, result: dict[str, Any]
) -> None:
    """The rows of an entry, or why there are none."""
    try:
        for case in make():
            result["rows"].append(measure(case, options))
            print(line(result["rows"][-1]), flush=True)
    except Exception as error:  # the other entries are still worth having
        print(f"{name}: FAILED", flush=True)
        traceback.print_exc(limit=-3, file=sys.stdout)
        result["failed"].append({"name": name, "error": f"{type(error).__name__}: {error}"[:500]})
    gc.collect()


def save(result: dict[str, Any], path: str | None) -> None:
    if path is None:
        return
    target = pathlib.Path(path)
    part = target.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(target)
