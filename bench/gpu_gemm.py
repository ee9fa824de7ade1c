"""Matrix products on a GPU: squares, and the layers of the five nets in forward (NN), dx (NT) and dW (TN) layout.

cuBLAS is the peer, through CuPy (float32) and PyTorch (float32, TF32, bf16). The layers' products take microseconds,
less than a call from Python: there everybody's are captured into a CUDA graph, a rotation through all sets of operands,
and the graph is timed. CuPy cannot capture cuBLAS, so it is left out there.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import deltarule as dr
import gpu
import numpy as np
from gemm import ROUNDING
from gpu_nets import NETS
from harness import Case

SQUARES = (1024, 2048, 4096, 8192)
BATCHES = (128, 512, 1024)
LOWER = ((841, 2500), (2500, 2000))  # layers that "high" and "medium" are timed on...
LOWER_BATCH = 512  # ...and with which batch
CHECKED_ROWS = 64
ALLOWED = {"float32": 20.0, "tf32": 2.0**15, "bf16": 2.0**18}  # of the peers, as ROUNDING


def layers() -> list[tuple[int, int]]:
    """(inputs, outputs) of the five nets, each once."""
    return list(dict.fromkeys(pair for sizes in NETS for pair in itertools.pairwise(sizes)))


def shapes(options: argparse.Namespace, precision: str) -> Iterator[tuple[int, int, int, str]]:
    """M, N, K, layout; the squares first."""
    if options.shapes or options.quick:
        for shape in (options.shapes or "256x256x256:NN,16x100x78:NT").split(","):
            extents, layout = shape.split(":")
            m, n, k = (int(extent) for extent in extents.split("x"))
            yield m, n, k, layout
        return
    for n in SQUARES:
        yield n, n, n, "NN"
    if options.kernel:
        return
    for batch in BATCHES if precision == "highest" else (LOWER_BATCH,):
        for inputs, outputs in layers() if precision == "highest" else LOWER:
            yield batch, outputs, inputs, "NN"
            yield inputs, outputs, batch, "TN"
            if inputs != NETS[0][0]:  # nobody wants dx of the images
                yield batch, inputs, outputs, "NT"


@dataclass
class Product:
    """a[M,K] b[K,N] as they lie in memory, and some rows of the result in float64."""

    shape: tuple[int, int, int]
    layout: str
    a: np.ndarray = field(init=False)
    b: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        m, n, k = self.shape
        rng = np.random.default_rng(0)
        self.a = rng.standard_normal((k, m) if self.layout[0] == "T" else (m, k), np.float32)
        self.b = rng.standard_normal((n, k) if self.layout[1] == "T" else (k, n), np.float32)
        self.rows = np.unique(np.linspace(0, m - 1, CHECKED_ROWS).astype(int))
        op_a = self.flipped(self.a, 0)[self.rows].astype(np.float64)
        op_b = self.flipped(self.b, 1).astype(np.float64)
        self.exact, self.size = op_a @ op_b, np.abs(op_a) @ np.abs(op_b)
        self.sets = gpu.sets(4 * (m * k + k * n + m * n))

    def flipped(self, x: Any, side: int) -> Any:
        return x.T if self.layout[side] == "T" else x

    def check(self, name: str, c: Any, rounding: float) -> None:
        """All of the result is there, and the chosen rows are right."""
        got = gpu.host(c)
        m, n, k = self.shape
        assert got.shape == (m, n), f"{name} gives {got.shape}"
        assert np.all(np.isfinite(got)), f"{name}: {np.sum(~np.isfinite(got))} elements are not finite"
        bound = 2.0**-24 * (2 * k**0.5 + rounding) * self.size
        error = np.abs(got[self.rows] - self.exact)
        assert np.all(error <= bound), f"{name} is wrong by {np.max(error / bound):.3g} of what is allowed"

    def ours(self, precision: str) -> list[Callable[[], Any]]:
        """A call for every set of operands; results are NaN before."""
        a, b = (repeated(x, self.sets) for x in (self.a, self.b))
        c = dr.full((self.sets, *self.shape[:2]), np.nan, "float32", device=gpu.DEVICE)
        return [
            functools.partial(
                dr.matmul, self.flipped(a[i], 0), self.flipped(b[i], 1), precision=precision, out=c[i]
            )
            for i in range(self.sets)
        ]

    def torch(self, dtype: str) -> list[Callable[[], Any]]:
        import torch

        kind = getattr(torch, dtype)
        a, b = (
            torch.from_numpy(x).to(gpu.THEIRS, kind).expand(self.sets, *x.shape).contiguous()
            for x in (self.a, self.b)
        )
        c = torch.full((self.sets, *self.shape[:2]), torch.nan, dtype=kind, device=gpu.THEIRS)
        return [
            functools.partial(torch.mm, self.flipped(a[i], 0), self.flipped(b[i], 1), out=c[i])
            for i in range(self.sets)
        ]

    def cupy(self) -> list[Callable[[], Any]]:
        import cupy

        a, b = (cupy.tile(cupy.asarray(x), (self.sets, 1, 1)) for x in (self.a, self.b))
        c = cupy.full((self.sets, *self.shape[:2]), cupy.nan, cupy.float32)
        return [
            functools.partial(cupy.matmul, self.flipped(a[i], 0), self.flipped(b[i], 1), out=c[i])
            for i in range(self.sets)
        ]


@functools.lru_cache(1)
def product_of(shape: tuple[int, int, int], layout: str) -> Product:
    return Product(shape, layout)


def repeated(x: np.ndarray, count: int) -> Any:
    """[count, *x.shape] of ours."""
    made = dr.empty((count, *x.shape), "float32", device=gpu.DEVICE)
    made[...] = gpu.ours(x)
    return made


def contenders(
    product: Product, precision: str, options: argparse.Namespace, as_graph: bool
) -> dict[str, tuple[list[Callable[[], Any]], Callable[[], None] | None]]:
    """Calls that were checked, and the setting each needs, of us and the peers of a precision."""
    made: dict[str, tuple[list[Callable[[], Any]], Callable[[], None] | None]] = {}

    def add(name: str, calls: list[Callable[[], Any]], rounding: float, prepare: Any = None) -> None:
        if prepare is not None:
            prepare()
        product.check(name, calls[-1](), rounding)
        made[name] = calls, prepare

    add("deltarule", product.ours(precision), ROUNDING[precision])
    if "cupy" in options.peers and precision != "medium" and not as_graph:
        add("cupy", product.cupy(), ALLOWED["float32"])
    if "torch" in options.peers:
        strict, loose = gpu.torch_products(tf32=False), gpu.torch_products(tf32=True)
        if precision == "medium":
            add("torch bf16", product.torch("bfloat16"), ALLOWED["bf16"], strict)
        else:
            add("torch", product.torch("float32"), ALLOWED["float32"], strict)
            add("torch tf32", product.torch("float32"), ALLOWED["tf32"], loose)
    return made


def captured(
    product: Product, name: str, calls: list[Callable[[], Any]], prepare: Callable[[], None] | None
) -> Callable[[], None]:
    """One graph of all calls; that it computes something is checked too."""
    if prepare is not None:
        prepare()
    graph = gpu.own_graph(calls) if name == "deltarule" else gpu.torch_graph(calls)
    out = calls[0].keywords["out"]
    out[...] = float("nan")
    gpu.idle()
    graph()
    gpu.idle()
    product.check(f"{name}'s graph", out, ALLOWED["bf16"])
    return graph


def case(
    shape: tuple[int, int, int], layout: str, precision: str, options: argparse.Namespace
) -> Iterable[Case]:
    product = product_of(shape, layout)
    made = contenders(product, precision, options, as_graph := is_small(shape, options))
    work = {name: gpu.rotated(calls) for name, (calls, _) in made.items()}
    text = f"{'x'.join(map(str, shape))} {layout} {options.kernel or precision}"
    if as_graph:
        try:
            work = {name: captured(product, name, *how) for name, how in made.items()}
        except RuntimeError as error:  # one method for everybody
            as_graph = False
            print(f"{text}: no graph, timed call by call: {str(error).splitlines()[0]}")
    clocks = {name: gpu.clock(work[name], name, prepare) for name, (_, prepare) in made.items()}
    facts = {"shape": list(shape), "layout": layout, "precision": precision, "kernel": options.kernel}
    steps = product.sets if as_graph else 1
    yield Case(
        f"gemm {options.kernel or precision}",
        text,
        clocks.pop("deltarule"),
        clocks,
        flop=2.0 * np.prod(shape, dtype=float) * steps,
        steps=steps,
        facts={**facts, "how": "graph" if as_graph else "calls", "sets": product.sets},
        beside=() if precision == "medium" else ("torch tf32",),
    )


def is_small(shape: tuple[int, int, int], options: argparse.Namespace) -> bool:
    return "torch" in options.peers and min(shape) < SQUARES[0]


def entries(options: argparse.Namespace) -> Iterator[gpu.Entry]:
    """Shape by shape, so that its operands and what is exact are made once for all precisions."""
    precisions: dict[tuple[int, int, int, str], list[str]] = {}
    for precision in options.precision:
        for shape in shapes(options, precision):
            precisions.setdefault(shape, []).append(precision)
    for (m, n, k, layout), wanted in precisions.items():
        for precision in wanted:
            yield (
                f"{m}x{n}x{k} {layout} {precision}",
                functools.partial(case, (m, n, k), layout, precision, options),
            )
