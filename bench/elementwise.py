"""Element-wise functions, softmax and a sum on 1e2 to 1e7 float32: ns an element beside NumPy, PyTorch and JAX.

    python bench/elementwise.py [--threads 1,2] [--n 100,10000] [--isa avx512,avx2] [--slots] [--json FILE]
    python bench/elementwise.py --device cuda [--n 100000000] [--json FILE]

Outputs are preallocated where the library takes them (JAX and our softmax and relu allocate). The percentage is of the
memory bandwidth of this run, so arrays that stay in a cache exceed 100. `--slots` times instead every kernel of the
table on its own, NumPy beside it where it has the function: reductions, activations, optimisers' updates, random fills.
On a GPU arrays are far larger than its L2 cache, and the percentage is of a copy's bandwidth.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import deltarule as dr
import harness
import numpy as np
from deltarule import _core
from harness import Case, Clock, clock

SIZES = [10**power for power in range(2, 8)]
ROWS = {"softmax rows of 10": 10, "softmax rows of 1000": 1000}
ARRAYS = {"sum": 1, "add": 3}  # that a call reads and writes; the others 2

Call = Callable[[], Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--n", type=harness.counts, help="elements; default 1e2 to 1e7, with --slots 16000")
    parser.add_argument("--isa", default="", help="comma-separated; default: the best of this machine")
    parser.add_argument("--slots", action="store_true", help="the kernels of the table, one by one")


def ours(x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    a, b, out = dr.asarray(x), dr.asarray(y), dr.empty(x.shape, dtype="float32")
    return {
        "exp": lambda: dr.exp(a, out=out),
        "tanh": lambda: dr.tanh(a, out=out),
        "sigmoid": lambda: dr.sigmoid(a, out=out),
        "relu": lambda: dr.activate(a, "relu"),
        "add": lambda: dr.add(a, b, out=out),
        "sum": lambda: dr.sum(a),
        "softmax": lambda: dr.softmax(a),
    }


def numpy(x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    out = np.empty_like(x)

    def sigmoid() -> np.ndarray:
        np.negative(x, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        return np.reciprocal(out, out=out)

    def softmax() -> np.ndarray:
        np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
        np.exp(out, out=out)
        return np.divide(out, out.sum(axis=-1, keepdims=True), out=out)

    return {
        "exp": lambda: np.exp(x, out=out),
        "tanh": lambda: np.tanh(x, out=out),
        "sigmoid": sigmoid,
        "relu": lambda: np.maximum(x, 0, out=out),
        "add": lambda: np.add(x, y, out=out),
        "sum": lambda: np.sum(x),
        "softmax": softmax,
    }


def torch(x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    import torch

    a, b = torch.from_numpy(x), torch.from_numpy(y)
    out = torch.empty_like(a)
    return {
        "exp": lambda: torch.exp(a, out=out),
        "tanh": lambda: torch.tanh(a, out=out),
        "sigmoid": lambda: torch.sigmoid(a, out=out),
        "relu": lambda: torch.clamp_min(a, 0, out=out),
        "add": lambda: torch.add(a, b, out=out),
        "sum": lambda: torch.sum(a),
        "softmax": lambda: torch.softmax(a, -1, out=out),
    }


def jax(x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    import jax
    from jax import nn
    from jax import numpy as jnp

    a, b = jax.device_put(x), jax.device_put(y)
    functions = {"exp": jnp.exp, "tanh": jnp.tanh, "sigmoid": nn.sigmoid, "relu": nn.relu, "sum": jnp.sum}
    functions |= {"softmax": nn.softmax}
    calls = {name: (lambda f: lambda: f(a))(jax.jit(function)) for name, function in functions.items()}
    add = jax.jit(jnp.add)
    return {**calls, "add": lambda: add(a, b)}


MAKERS = {"numpy": numpy, "torch": torch, "jax": jax}


def clocks(name: str, calls: dict[str, Call]) -> tuple[Clock, dict[str, Clock]]:
    """Our clock and the peers', after a comparison of their results."""
    expected = np.asarray(calls["numpy"](), dtype=np.float64)
    for library, call in calls.items():
        error = np.abs(np.asarray(call(), dtype=np.float64) - expected)
        tolerance = 1e-5 * np.maximum(np.abs(expected), 1e-3)
        assert np.all(error <= tolerance), f"{name}: {library} is wrong"
    wait = {}
    if "jax" in calls:
        from jax import block_until_ready

        wait["jax"] = block_until_ready
    timed = {library: clock(call, wait.get(library)) for library, call in calls.items()}
    return timed.pop("deltarule"), timed


def functions(n: int, options: argparse.Namespace) -> Iterator[Case]:
    """The functions of the issue's table on n elements."""
    rng = np.random.default_rng(0)
    for name in ("exp", "tanh", "sigmoid", "relu", "add", "sum", *ROWS):
        cols = ROWS.get(name, n)
        if cols > n:
            continue
        shape = (n // cols, cols) if name in ROWS else (n,)
        low = 0 if name == "sum" else -3  # a sum near 0 has no relative error to compare
        x, y = (rng.uniform(low, 3, shape).astype(np.float32) for _ in range(2))
        key = name.split()[0]
        # NumPy is always there to compare with; it is timed only if it is a peer.
        made = {
            "deltarule": ours,
            **{peer: MAKERS[peer] for peer in MAKERS if peer in {*options.peers, "numpy"}},
        }
        own, peers = clocks(name, {library: make(x, y)[key] for library, make in made.items()})
        if "numpy" not in options.peers:
            del peers["numpy"]
        facts = {"function": name, "n": n}
        size = 4 * n * ARRAYS.get(key, 2)
        yield Case("elementwise", f"{name} n={n:.0e}", own, peers, bytes=size, elements=n, facts=facts)


def slots(n: int, options: argparse.Namespace) -> Iterator[Case]:
    """Every kernel of the table but gemm, called without an array around it."""
    kernels = _core.kernels
    np.seterr(over="ignore")  # the product
    x = np.random.default_rng(0).uniform(0.1, 3.0, n).astype(np.float32)
    y, z, g, m, v, w = (np.zeros_like(x) for _ in range(6))
    g[:], w[:] = x[::-1], x
    rows = x[: n // 10 * 10].reshape(-1, 10)
    cases: dict[str, tuple[Call, Call | None]] = {
        "add": (lambda: kernels.binary("add", x, g, y), lambda: np.add(x, g, z))
    }
    for name in kernels.unary_names:
        function = getattr(np, name, None)
        cases[name] = (lambda name=name: kernels.unary(name, x, y), function and (lambda f=function: f(x, z)))
    for name in kernels.activation_names:
        cases[f"activate {name}"] = (lambda name=name: kernels.activate(name, x, y, 0.1), None)
    for name in kernels.reduction_names:
        out = np.empty((1, 1), np.int64 if name.startswith("arg") else np.float32)
        function = getattr(np, name, None)
        call = lambda name=name, out=out: kernels.reduce(name, x.reshape(1, -1, 1), out)  # noqa: E731
        cases[name] = (call, function and (lambda f=function: f(x)))
    cases["softmax rows of 10"] = (lambda: kernels.softmax(rows, y[: rows.size].reshape(rows.shape)), None)
    out, labels = y[: rows.size].reshape(rows.shape), np.arange(len(rows)) % 10
    for name in _core.losses():
        cases[f"loss {name}, rows of 10"] = (
            lambda name=name: kernels.loss(name, rows, labels=labels, dy=out),
            None,
        )
    for name in kernels.optimizer_names:
        cases[f"step {name}"] = (
            lambda name=name: kernels.step(name, [(w, g, m, v, True)], lr=1e-9, momentum=0.5),
            None,
        )
    cases["dropout"] = (lambda: kernels.dropout(x, y, 0.5), None)
    generator = np.random.default_rng(0)
    for kind, peer in (("uniform", generator.random), ("normal", generator.standard_normal)):
        cases[f"fill {kind}"] = (
            lambda kind=kind: kernels.fill_random(kind, y),
            lambda peer=peer: peer(n, np.float32),
        )
    for name, (own, other) in cases.items():
        peers = {"numpy": clock(other)} if other and "numpy" in options.peers else {}
        yield Case("slots", f"{name} n={n}", clock(own), peers, elements=n, facts={"function": name, "n": n})


def cases(options: argparse.Namespace) -> Iterator[Case]:
    options.peers = [peer for peer in options.peers if peer in MAKERS]
    sizes = options.n or ([16_000] if options.slots else [100, 10_000] if options.quick else SIZES)
    for isa in options.isa.split(",") if options.isa else [_core.isa()]:
        _core.set_isa(isa)
        for n in sizes:
            yield from slots(n, options) if options.slots else functions(n, options)


# On a GPU.

GPU_SIZES = [10**8]
GPU_CHECKED = 10**6  # elements that are compared, at least


def ours_on_gpu(x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    import gpu

    a, b, out = gpu.ours(x), gpu.ours(y), gpu.ours(np.full_like(x, np.nan))
    return {
        **{name: functools.partial(getattr(dr, name), a, out=out) for name in ("exp", "tanh", "sigmoid")},
        "relu": lambda: dr.activate(a, "relu"),
        "add": lambda: dr.add(a, b, out=out),
        "sum": lambda: dr.sum(a),
        "softmax": lambda: dr.softmax(a),
    }


def torch_on_gpu(x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    import gpu
    import torch

    a, b = (torch.from_numpy(array).to(gpu.THEIRS) for array in (x, y))
    out = torch.full_like(a, torch.nan)
    return {
        **{name: functools.partial(getattr(torch, name), a, out=out) for name in ("exp", "tanh", "sigmoid")},
        "relu": lambda: torch.clamp_min(a, 0, out=out),
        "add": lambda: torch.add(a, b, out=out),
        "sum": lambda: torch.sum(a),
        "softmax": lambda: torch.softmax(a, -1, out=out),
    }


def cupy_on_gpu(x: np.ndarray, y: np.ndarray) -> dict[str, Call]:
    import cupy

    a, b = cupy.asarray(x), cupy.asarray(y)
    out = cupy.full_like(a, cupy.nan)
    return {
        **{name: functools.partial(getattr(cupy, name), a, out=out) for name in ("exp", "tanh")},
        "relu": lambda: cupy.maximum(a, 0, out=out),
        "add": lambda: cupy.add(a, b, out=out),
        "sum": lambda: cupy.sum(a),
    }


def exactly(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """In float64."""
    wide = x.astype(np.float64)
    if name == "softmax":
        shifted = np.exp(wide - wide.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)
    functions = {"exp": np.exp, "tanh": np.tanh, "sum": np.sum, "relu": lambda x: np.maximum(x, 0)}
    functions |= {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "add": lambda x: x + y.astype(np.float64)}
    return functions[name](wide)


def gpu_function(name: str, n: int, options: argparse.Namespace) -> Iterable[Case]:
    import gpu

    key, cols = name.split()[0], ROWS.get(name, n)
    shape = (n // cols, cols) if name in ROWS else (n,)
    rng = np.random.default_rng(0)
    low = 0 if name == "sum" else -3
    x, y = (np.resize(rng.uniform(low, 3, min(n, GPU_CHECKED)).astype(np.float32), shape) for _ in range(2))
    makers = {"torch": torch_on_gpu, "cupy": cupy_on_gpu}
    made = {"deltarule": ours_on_gpu, **{peer: makers[peer] for peer in options.peers if peer in makers}}
    clocks = {}
    # Of the results a part from everywhere is looked at, and the last.
    step = x.size // GPU_CHECKED | 1
    seen = slice(None) if name == "sum" else np.append(np.arange(0, len(x), step), len(x) - 1)
    expected = exactly(key, x[seen], y[seen])
    for library, make in made.items():
        calls = make(x, y)
        if key not in calls:
            continue
        result = gpu.host(calls[key]())
        error = np.abs((result if name == "sum" else result[seen]) - expected)
        assert np.all(error <= 1e-5 * np.maximum(np.abs(expected), 1e-3)), f"{name}: {library} is wrong"
        clocks[library] = gpu.clock(calls[key], library)
    facts = {"function": name, "n": n}
    size = 4 * n * ARRAYS.get(key, 2)
    yield Case("elementwise", f"{name} n={n:.0e}", clocks.pop("deltarule"), clocks, bytes=size, facts=facts)


def gpu_entries(options: argparse.Namespace) -> Iterator[tuple]:
    for n in options.n or ([10_000] if options.quick else GPU_SIZES):
        for name in ("exp", "tanh", "sigmoid", "relu", "add", "sum", *ROWS):
            yield f"{name} n={n:.0e}", functools.partial(gpu_function, name, n, options)


if __name__ == "__main__":
    harness.main(__doc__, cases, add_options, gpu_entries)
