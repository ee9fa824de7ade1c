"""Matrix products: squares, and the products of two nets' layers at four batch sizes.

    python bench/gemm.py [--threads 1,2] [--precision highest,high,medium] [--dtype float32] [--isa avx512,avx2]
                         [--shapes 1024x1024x1024:NN,...] [--raw] [--json FILE]
    python bench/gemm.py --device cuda [--precision highest,high,medium] [--kernel ffma] [--json FILE]     (gpu_gemm.py)

A shape is M x N x K and the operands' transposes: NN is forward, NT dx, TN dW. Every product is checked against
float64 on some of its rows first. The peers of "high" are float32 products; that of "medium" is PyTorch's bf16. All
percentages are of the float32 multiply-add peak. `--raw` times the kernel's slot without the array call around it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import deltarule as dr
import harness
import numpy as np
from deltarule import _core
from harness import Case, Clock, clock

SQUARES = (64, 128, 256, 512, 1024, 2048, 4096)
LAYERS = (
    (784, 1000), (1000, 500), (500, 10), (841, 2500), (2500, 2000), (2000, 1500), (1500, 1000)
)  # fmt: skip
BATCHES = (1, 10, 100, 1000)
LARGE = 500  # smallest extent of the shapes that "high" and "medium" are for
QUICK = "64x64x64:NN,10x100x78:NT,78x100x10:TN"
# Relative to |A||B|, in units of u = 2^-24 (float64: 2^-53), beside 2 sqrt(K) for the sum: the operands' rounding.
ROUNDING = {"highest": 5.0, "high": 2.0**8, "medium": 2.0**18}


def default_shapes() -> Iterator[str]:
    for n in SQUARES:
        yield f"{n}x{n}x{n}:NN"
    for batch in BATCHES:
        for inputs, outputs in LAYERS:
            yield f"{batch}x{outputs}x{inputs}:NN"
            yield f"{batch}x{inputs}x{outputs}:NT"
            yield f"{inputs}x{outputs}x{batch}:TN"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", type=harness.names(tuple(ROUNDING)), default=["highest"])
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--isa", default="", help="comma-separated; default: the best of this machine")
    parser.add_argument(
        "--shapes", default="", help="MxNxK or MxNxK:NT, comma-separated, instead of the default ones"
    )
    parser.add_argument("--raw", action="store_true", help="_core.kernels.gemm instead of dr.matmul")
    parser.add_argument(
        "--kernel",
        choices=["", "ffma", "mma", "hopper"],
        default="",
        help="with --device cuda: the best allowed",
    )


def peer_clocks(
    a: np.ndarray, b: np.ndarray, trans: str, options: argparse.Namespace, bf16: bool
) -> dict[str, Clock]:
    """The peers' clocks, each checked against NumPy; operands lie as ours do, with results in place where possible."""
    op_a, op_b = a.T if trans[0] == "T" else a, b.T if trans[1] == "T" else b
    expected, clocks = op_a @ op_b, {}
    scale = np.abs(expected).max()

    def check(name: str, result: np.ndarray) -> None:
        assert np.abs(result - expected).max() <= (0.05 if bf16 else 1e-4) * scale, f"{name} is wrong"

    if "numpy" in options.peers and not bf16:
        out = np.empty_like(expected)
        clocks["numpy"] = clock(lambda: np.matmul(op_a, op_b, out=out))
    if "torch" in options.peers:
        import torch

        dtype = torch.bfloat16 if bf16 else getattr(torch, options.dtype)
        ta, tb = (torch.from_numpy(x).to(dtype) for x in (a, b))
        ta, tb = ta.t() if trans[0] == "T" else ta, tb.t() if trans[1] == "T" else tb
        tc = torch.empty(expected.shape, dtype=dtype)
        check("torch", torch.mm(ta, tb, out=tc).float().numpy())
        clocks["torch bf16" if bf16 else "torch"] = clock(lambda: torch.mm(ta, tb, out=tc))
    if "jax" in options.peers and not bf16 and options.dtype == "float32":
        import jax

        product = jax.jit(lambda a, b: (a.T if trans[0] == "T" else a) @ (b.T if trans[1] == "T" else b))
        ja, jb = jax.device_put(a), jax.device_put(b)
        check("jax", np.asarray(product(ja, jb)))
        clocks["jax"] = clock(lambda: product(ja, jb), jax.block_until_ready)
    return clocks


def check_own(c: np.ndarray, a: np.ndarray, b: np.ndarray, precision: str, what: str) -> None:
    """c = a b on at most 64 rows, against float64."""
    rows = np.unique(np.linspace(0, len(c) - 1, 64).astype(int))
    wide_a, wide_b = a[rows].astype(np.float64), b.astype(np.float64)
    unit = np.finfo(c.dtype).eps / 2 * (2 * a.shape[1] ** 0.5 + ROUNDING[precision])
    assert np.all(np.abs(c[rows] - wide_a @ wide_b) <= unit * (np.abs(wide_a) @ np.abs(wide_b))), (
        f"{what} is wrong"
    )


def cases(options: argparse.Namespace) -> Iterator[Case]:
    rng = np.random.default_rng(0)
    shapes = (options.shapes or (QUICK if options.quick else ",".join(default_shapes()))).split(",")
    isas = options.isa.split(",") if options.isa else [_core.isa()]
    for precision in options.precision:
        for shape in shapes:
            extents, _, trans = shape.partition(":")
            trans = trans or "NN"
            m, n, k = (int(extent) for extent in extents.split("x"))
            if precision != "highest" and not options.shapes and min(m, n, k) < LARGE:
                continue
            a = rng.standard_normal((k, m) if trans[0] == "T" else (m, k)).astype(options.dtype)
            b = rng.standard_normal((n, k) if trans[1] == "T" else (k, n)).astype(options.dtype)
            op_a, op_b = a.T if trans[0] == "T" else a, b.T if trans[1] == "T" else b
            peers = peer_clocks(a, b, trans, options, precision == "medium")
            for isa in isas:
                _core.set_isa(isa)
                c = np.empty((m, n), options.dtype)
                own = own_call(a, b, c, trans, precision, options.raw)
                own()
                check_own(c, op_a, op_b, precision, f"{shape} {isa}")
                facts = {"shape": [m, n, k], "layout": trans, "precision": precision, "dtype": options.dtype}
                name = f"{m}x{n}x{k} {trans} {precision}"
                flop = 2.0 * m * n * k
                yield Case(f"gemm {precision}", name, clock(own), peers, flop=flop, facts=facts)


def own_call(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, trans: str, precision: str, raw: bool
) -> Callable[[], object]:
    if raw:
        options = {"trans_a": trans[0] == "T", "trans_b": trans[1] == "T", "precision": precision}
        return lambda: _core.kernels.gemm(a, b, c, **options)
    da, db, dc = dr.asarray(a), dr.asarray(b), dr.asarray(c)
    da, db = da.T if trans[0] == "T" else da, db.T if trans[1] == "T" else db
    return lambda: dr.matmul(da, db, precision=precision, out=dc)


def gpu_entries(options: argparse.Namespace) -> Iterator[tuple]:
    import gpu_gemm

    yield from gpu_gemm.entries(options)


if __name__ == "__main__":
    harness.main(__doc__, cases, add_options, gpu_entries)
