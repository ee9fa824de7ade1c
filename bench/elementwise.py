"""Element-wise kernels, reductions and random fills: nanoseconds an element, beside NumPy where it has the function.

    python bench/elementwise.py [--threads 1] [--dtype float32] [--isa avx512,avx2] [--n 16000] [--json FILE]

Each result is checked against NumPy in float64 first. The peers run interleaved in this process; figures are medians,
the ratio is the median of the rounds' ratios. 16000 float32 elements in and out stay in the L2 cache.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from deltarule import _core

NUMPY = {
    **{
        name: getattr(np, name)
        for name in ("negative", "sqrt", "square", "exp", "expm1", "log", "log1p", "tanh")
    },
    "add": np.add,
    "sum": np.sum,
    "max": np.max,
    "argmax": np.argmax,
}


def work(
    n: int, dtype: str
) -> dict[str, tuple[Callable[[], object], Callable[[], object] | None, np.ndarray | None]]:
    """name -> (ours, NumPy's or None, our output)."""
    kernels = _core.kernels
    x = np.random.default_rng(0).uniform(0.1, 3.0, n).astype(dtype)
    y, z, g = np.empty_like(x), np.empty_like(x), x[::-1].copy()
    m, v, w = np.zeros_like(x), np.zeros_like(x), x.copy()
    cases = {}
    for name in kernels.unary_names:
        peer = (lambda f: lambda: f(x, out=z))(NUMPY[name]) if name in NUMPY else None
        cases[name] = (lambda name=name: kernels.unary(name, x, y), peer, y)
    for name in kernels.activation_names:
        cases[f"activate {name}"] = (lambda name=name: kernels.activate(name, x, y, 0.1), None, None)
    cases["add"] = (lambda: kernels.binary("add", x, g, y), lambda: np.add(x, g, out=z), y)
    for name in kernels.reduction_names:
        out = np.empty((1, 1), np.int64 if name.startswith("arg") else dtype)
        peer = (lambda f: lambda: f(x))(NUMPY[name]) if name in NUMPY else None
        cases[name] = (lambda name=name, out=out: kernels.reduce(name, x.reshape(1, -1, 1), out), peer, out)
    rows = x[: n // 10 * 10].reshape(-1, 10)
    cases["softmax [n/10, 10]"] = (
        lambda: kernels.softmax(rows, y[: rows.size].reshape(rows.shape)),
        None,
        None,
    )
    for name in kernels.optimizer_names:
        cases[name] = (lambda name=name: kernels.step(name, w, g, m, v, lr=1e-9, momentum=0.5), None, None)
    cases["dropout"] = (lambda: kernels.dropout(x, y, 0.5), None, None)
    for kind in ("uniform", "normal"):
        peer = getattr(np.random.default_rng(0), {"uniform": "random", "normal": "standard_normal"}[kind])
        cases[f"fill {kind}"] = (
            lambda kind=kind: kernels.fill_random(kind, y),
            lambda peer=peer: peer(n, dtype),
            None,
        )
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--isa", default="", help="comma-separated; default: the best of this machine")
    parser.add_argument("--n", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    _core.set_num_threads(options.threads)

    def clock(f: Callable[[], object], calls: int = 20) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            f()
        return (time.perf_counter() - start) / calls / options.n * 1e9

    results = []
    for isa in options.isa.split(",") if options.isa else [_core.isa()]:
        _core.set_isa(isa)
        for name, (ours, peer, out) in work(options.n, options.dtype).items():
            ours()
            if peer is not None and out is not None:
                np.testing.assert_allclose(out.reshape(np.shape(peer())), peer(), rtol=1e-5, err_msg=name)
            rounds = [(clock(ours), clock(peer) if peer else None) for _ in range(options.rounds)]
            row = {"isa": isa, "name": name, "ns": statistics.median(own for own, _ in rounds)}
            if peer is not None:
                row["times_numpy"] = statistics.median(other / own for own, other in rounds)
            results.append(row)
            ratio = f"{row['times_numpy']:6.2f} x NumPy" if peer else ""
            print(
                f"{isa:7} {options.dtype} threads {options.threads}  {name:20} {row['ns']:7.3f} ns  {ratio}"
            )
    if options.json:
        about = {
            "machine": platform.processor() or platform.machine(),
            "numpy": np.__version__,
            **vars(options),
        }
        with open(options.json, "w") as file:
            json.dump({**about, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
