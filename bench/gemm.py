"""Matrix products against NumPy: squares, and a layer's forward, dx and dW products at several batch sizes.

    python bench/gemm.py [--threads 1] [--dtype float32] [--isa avx512,avx2] [--json FILE]
                         [--shapes 1024x1024x1024:NN,...]

Shapes are M x N x K with the operands' transposes (N or T each). Every product is checked against float64
first. Peers run interleaved in this process; with one thread the clock counts that thread's own time, so that
a busy machine shows less. GFLOP/s are medians, the ratio is the median of the rounds' ratios, its quartiles
beside it.
"""

from __future__ import annotations

import argparse
import os
import sys

SHAPES = (
    "64x64x64:NN,256x256x256:NN,512x512x512:NN,1024x1024x1024:NN,1024x1024x1024:NT,1024x1024x1024:TN,1024x1024x1024:TT,"
    "1x2500x784:NN,10x2500x784:NN,100x2500x784:NN,1000x2000x2500:NN,1x784x2500:NT,10x784x2500:NT,100x784x2500:NT,"
    "784x1000x1:TN,784x1000x10:TN,784x1000x100:TN,784x1000x1000:TN,100x10x500:NN,100x500x10:NT,500x10x100:TN"
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--isa", default="", help="comma-separated; default: the best of this machine")
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    # Before NumPy loads its BLAS.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(options.threads)

    import json
    import platform
    import statistics
    import time

    import numpy as np
    from deltarule import _core

    _core.set_num_threads(options.threads)
    isas = options.isa.split(",") if options.isa else [_core.isa()]
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    rng = np.random.default_rng(0)
    rows = []
    for shape in options.shapes.split(","):
        extents, transposes = shape.split(":")
        m, n, k = (int(extent) for extent in extents.split("x"))
        trans_a, trans_b = transposes[0] == "T", transposes[1] == "T"
        a = rng.standard_normal((k, m) if trans_a else (m, k)).astype(options.dtype)
        b = rng.standard_normal((n, k) if trans_b else (k, n)).astype(options.dtype)
        op_a, op_b = a.T if trans_a else a, b.T if trans_b else b
        c, d = np.empty((m, n), options.dtype), np.empty((m, n), options.dtype)

        wide_a, wide_b = op_a.astype(np.float64), op_b.astype(np.float64)
        bound = (2 * k**0.5 + 5) * np.finfo(options.dtype).eps / 2 * (np.abs(wide_a) @ np.abs(wide_b))
        for isa in isas:
            _core.set_isa(isa)
            _core.kernels.gemm(a, b, c, trans_a=trans_a, trans_b=trans_b)
            if not np.all(np.abs(c - wide_a @ wide_b) <= bound):
                sys.exit(f"{shape}: {isa} is wrong")

        calls = max(1, round(2e8 / (2 * m * n * k)))
        times: dict[str, list[float]] = {name: [] for name in ["numpy", *isas]}
        for _ in range(options.rounds + 1):
            for name, seconds in times.items():
                if name != "numpy":
                    _core.set_isa(name)
                start = clock()
                for _ in range(calls):
                    if name == "numpy":
                        np.matmul(op_a, op_b, out=d)
                    else:
                        _core.kernels.gemm(a, b, c, trans_a=trans_a, trans_b=trans_b)
                seconds.append((clock() - start) / calls)
        for name in isas:
            peer, own = times["numpy"][1:], times[name][1:]
            ratios = statistics.quantiles((p / o for p, o in zip(peer, own, strict=True)), n=4)
            speeds = [2e-9 * m * n * k / statistics.median(seconds) for seconds in (own, peer)]
            row = {"shape": shape, "isa": name, "threads": options.threads, "dtype": options.dtype}
            row |= {"gflops": speeds[0], "numpy_gflops": speeds[1], "ratio": ratios[1]}
            rows.append(row)
            print(
                f"{shape:22s} {name:7s} {options.threads} thread(s) {statistics.median(own) * 1e6:10.1f} us "
                f"{speeds[0]:7.1f} GFLOP/s, NumPy {speeds[1]:7.1f}, "
                f"ratio {ratios[1]:5.2f} ({ratios[0]:.2f} to {ratios[2]:.2f})",
                flush=True,
            )
    if options.json:
        facts = {"machine": platform.processor(), "numpy": np.__version__, "deltarule": _core.__version__}
        with open(options.json, "w") as file:
            json.dump({**facts, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
