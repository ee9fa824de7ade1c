"""Print the figures that stand in README: wheel size, import time, matrix product against NumPy.

    python bench/facts.py [--json FILE]

The matrix product is checked against float64 NumPy before it is timed; NumPy and deltarule run interleaved, pair by
pair, in this process. The ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import os

# Before NumPy loads its BLAS: one thread for the peer, as for us.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import deltarule as dr
import numpy as np
from deltarule import _core

REPOSITORY = pathlib.Path(__file__).parent.parent


def wheel_bytes() -> int:
    """Size of the wheel that `pip wheel .` makes from this checkout."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, str(REPOSITORY)]
        subprocess.run(command, check=True)
        (wheel,) = pathlib.Path(folder).glob("deltarule-*.whl")
        return wheel.stat().st_size


def import_seconds(runs: int = 9) -> float:
    """Median time of `import deltarule` in a fresh interpreter, NumPy's own import included."""
    code = "import time; t = time.perf_counter(); import deltarule; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(runs)]
    return statistics.median(times)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def matmul_against_numpy(n: int = 1024, pairs: int = 15) -> dict[str, float]:
    """float32, one thread each: GFLOP/s of both and the median ratio, from interleaved pairs."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, n)).astype(np.float32) for _ in range(2))
    ours, out = np.empty((n, n), np.float32), np.empty((n, n), np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    bound = 2 * n**0.5 * 2.0**-24 * (np.abs(a).astype(np.float64) @ np.abs(b))
    dr.matmul(a, b, out=ours)
    if not np.all(np.abs(ours - exact) <= bound):
        raise AssertionError("matmul is wrong; no time is worth printing")
    _core.set_num_threads(1)
    times = []
    for _ in range(pairs):
        times.append((seconds(lambda: dr.matmul(a, b, out=ours)), seconds(lambda: np.matmul(a, b, out=out))))
    flop = 2.0 * n**3
    return {
        "gflops": flop / statistics.median(t for t, _ in times) / 1e9,
        "numpy_gflops": flop / statistics.median(t for _, t in times) / 1e9,
        "ratio": statistics.median(peer / own for own, peer in times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here as well")
    arguments = parser.parse_args()
    product = matmul_against_numpy()
    facts = {
        "machine": platform.processor() or platform.machine(),
        "isa": _core.isa(),
        "numpy": np.__version__,
        "wheel_bytes": wheel_bytes(),
        "import_seconds": import_seconds(),
        **{f"matmul_1024_{key}": value for key, value in product.items()},
    }
    print(f"wheel                     {facts['wheel_bytes'] / 1e6:.2f} MB")
    print(f"import deltarule          {facts['import_seconds'] * 1e3:.0f} ms, NumPy's import included")
    print(
        f"matmul 1024^3, 1 thread   {product['gflops']:.0f} GFLOP/s float32 ({facts['isa']}), "
        f"NumPy {facts['numpy']} {product['numpy_gflops']:.0f}: {product['ratio']:.2f} x"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
