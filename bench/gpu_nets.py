"""Training steps on a GPU: data and parameters stay there, and a call is many steps.

PyTorch runs eagerly ("torch") and as one CUDA graph of all the steps of a call ("torch graph"), gathering included,
which leaves it nothing to do between two steps; with --compile also through torch.compile(mode="max-autotune"). Its
products are float32, or TF32 where the name says so; "bf16" has bf16 parameters, "autocast" float32 ones. JAX is one
jitted scan.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gpu
import nets
import numpy as np
from deltarule import nn
from harness import Case
from nets import CHECKED_STEPS, LR

NETS = (
    (841, 1000, 500, 10),
    (841, 1500, 1000, 500, 10),
    (841, 2000, 1500, 1000, 500, 10),
    (841, 2500, 2000, 1500, 1000, 500, 10),
    (841, *[1000] * 9, 10),
)  # of the nets of 2010 on MNIST deformed to 29 x 29
LARGEST = NETS[3]
STEPS = {1: 200, 8: 200, 64: 100, 128: 40, 512: 20, 1024: 10}  # batch -> in one call
ROWS = 60_000  # of float32 on the GPU: gathered rows come from beyond the L2 cache
SCALE = 1 / 255  # of uint8 pixels
TORCH = {
    "highest": ("torch", "torch tf32"),
    "high": ("torch tf32",),
    "medium": ("torch bf16", "torch autocast"),
}


@functools.cache
def samples(inputs: int, outputs: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """x[rows,inputs], labels[rows]."""
    rng = np.random.default_rng(0)
    return rng.random((rows, inputs), np.float32), rng.integers(0, outputs, rows)


_MOVED: dict[tuple[str, int], tuple[Any, ...]] = {}


def moved(kind: str, x: np.ndarray, y: np.ndarray, move: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """The samples in a library's memory, where they are but once."""
    if (kind, id(x)) not in _MOVED:
        _MOVED[kind, id(x)] = (*move(), x, y)  # x is kept: its id stays its own
    return _MOVED[kind, id(x)][:2]


class Ours(nets.Ours):
    """The engine's call for many steps on Arrays of the GPU."""

    def __init__(self, sizes: Sequence[int], precision: str = "highest") -> None:
        self.net = nn.mlp(sizes, "tanh", precision=precision, device=gpu.DEVICE, seed=0)
        self.built = nn.SGD(LR).build()

    def samples(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return moved("ours", x, y, lambda: (gpu.ours(x), gpu.ours(y)))

    def rows(self, rows: np.ndarray) -> Any:
        return gpu.ours(rows.ravel()), rows.shape[1]

    def prepare(self) -> None:
        pass

    def wait(self, _: Any = None) -> None:
        gpu.synchronize()

    def parameters(self) -> list[np.ndarray]:
        return [np.array(gpu.host(parameter)) for parameter in self.net.parameters]


class Torch(nets.Torch):
    """Eager; `kind` is "float32", "tf32", "bf16" or "autocast"."""

    def __init__(self, parameters: Sequence[np.ndarray], kind: str) -> None:
        super().__init__(parameters, "bfloat16" if kind == "bf16" else "float32", gpu.THEIRS)
        self.prepare = gpu.torch_products(tf32=kind == "tf32")
        self.context: Callable[[], Any] = contextlib.nullcontext
        if kind == "autocast":
            self.context = functools.partial(
                self.torch.autocast, gpu.THEIRS, self.torch.bfloat16, cache_enabled=False
            )

    def samples(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        def move() -> tuple[Any, Any]:
            there = self.torch.from_numpy(x).to(gpu.THEIRS)
            return there if x.dtype == np.uint8 else there.to(self.dtype), self.torch.from_numpy(y).to(
                gpu.THEIRS
            )

        return moved(str(self.dtype), x, y, move)

    def rows(self, rows: np.ndarray) -> Any:
        return self.torch.from_numpy(rows).to(gpu.THEIRS)

    def loss_of(self, x: Any, y: Any) -> Any:
        for w, b in self.layers[:-1]:
            x = self.torch.tanh(self.linear(x, w, b))
        return self.loss(self.linear(x, *self.layers[-1]), y)

    def step(self, x: Any, y: Any) -> None:
        if not x.is_floating_point():
            x = x.to(self.dtype).mul_(SCALE)
        with self.context():
            loss = self.loss_of(x, y)
        gradients = self.torch.autograd.grad(loss, self.own)
        with self.torch.no_grad():
            self.torch._foreach_add_(self.own, gradients, alpha=-LR)

    def wait(self, _: Any = None) -> None:
        gpu.idle()


class TorchGraph(Torch):
    """The steps of a call captured as one CUDA graph, and run again whenever that order of rows comes."""

    def __init__(self, parameters: Sequence[np.ndarray], kind: str) -> None:
        super().__init__(parameters, kind)
        self.graphs: dict[int, tuple[Any, Any]] = {}

    def steps(self, samples: tuple[Any, ...], rows: Any) -> None:
        if id(rows) not in self.graphs:
            self.graphs[id(rows)] = self.captured(samples, rows), rows
        self.graphs[id(rows)][0].replay()

    def captured(self, samples: tuple[Any, ...], rows: Any) -> Any:
        """Capturing does nothing yet; the steps before it, for what is set up once, are undone."""
        torch = self.torch
        kept = [parameter.detach().clone() for parameter in self.own]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                super().steps(samples, rows[:1])
        torch.cuda.current_stream().wait_stream(aside)
        with torch.no_grad():
            torch._foreach_copy_(self.own, kept)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            super().steps(samples, rows)
        return graph


class TorchCompiled(Torch):
    """The forward pass and, through it, the backward pass compiled."""

    def __init__(self, parameters: Sequence[np.ndarray], kind: str) -> None:
        super().__init__(parameters, kind)
        self.loss_of = self.torch.compile(self.loss_of, mode="max-autotune", dynamic=False)


class Jax(nets.Jax):
    def __init__(self, parameters: Sequence[np.ndarray], products: str = "highest") -> None:
        super().__init__(parameters)
        self.products = products

    def prepare(self) -> None:
        self.jax.config.update("jax_default_matmul_precision", self.products)

    def samples(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        return moved("jax", x, y, lambda: super(Jax, self).samples(x, y))


def make_peers(
    parameters: list[np.ndarray], precision: str, options: argparse.Namespace, tf32: bool, jax: bool
) -> dict[str, Callable[[], Any]]:
    """What makes the peers of a precision, by name."""
    makers: dict[str, Callable[[], Any]] = {}
    if "torch" in options.peers:
        for name in TORCH[precision]:
            kind = name.removeprefix("torch").strip() or "float32"
            if kind == "tf32" and not tf32:
                continue
            if kind != "autocast":  # slower than bf16, and captured that is all the same
                makers[name] = functools.partial(Torch, parameters, kind)
            if gpu.THEIRS != "cpu":
                makers[f"{name} graph"] = functools.partial(TorchGraph, parameters, kind)
            if getattr(options, "compile", False):
                makers[f"{name} compile"] = functools.partial(TorchCompiled, parameters, kind)
    if jax and "jax" in options.peers and precision == "highest":
        makers["jax"] = functools.partial(Jax, parameters)
    return makers


def check(
    name: str, net: Any, x: np.ndarray, y: np.ndarray, rows: Any, start: Any, exact: Any, precision: str
) -> None:
    """Two steps in one call give the reference's parameters."""
    net.prepare()
    net.steps(net.samples(x, y), net.rows(rows))
    net.wait()
    loose = "medium" if "tf32" in name or "autocast" in name else precision
    nets.check(name, net, start, exact, loose)


@functools.lru_cache(1)
def reference(sizes: Sequence[int], batch: int, rows: int) -> tuple[Any, ...]:
    """x, y, the rows of the checked steps, parameters before and after them; the same for every precision."""
    x, y = samples(sizes[0], sizes[-1], rows)
    checked = (
        np.random.default_rng(1).permutation(rows)[: CHECKED_STEPS * batch].reshape(CHECKED_STEPS, batch)
    )
    start = Ours(sizes).parameters()
    exact = nets.Numpy(start, np.float64)
    for chosen in checked:
        exact.step(*exact.batch(x[chosen], y[chosen]))
    return x, y, checked, start, exact.own


def case(
    group: str,
    sizes: Sequence[int],
    batch: int,
    precision: str,
    options: argparse.Namespace,
    tf32: bool = True,
    jax: bool = True,
) -> Iterable[Case]:
    """Many steps in one call. A peer that fails is named and left out, we are not."""
    count = min(ROWS, 3000) if options.quick else ROWS
    x, y, checked, start, exact = reference(tuple(sizes), batch, count)
    steps = 5 if options.quick else STEPS.get(batch, 10)
    order = np.random.default_rng(2).integers(0, count, (steps, batch))
    ours = Ours(sizes, precision)
    check("deltarule", ours, x, y, checked, start, exact, precision)

    def timed(name: str, make: Callable[[], Any]) -> Callable[[int], float]:
        net = make()
        check(name, net, x, y, checked, start, exact, precision)
        return steps_clock(name, net, x, y, order)

    makers = make_peers(start, precision, options, tf32, jax)
    clocks, missing = gpu.working(
        {name: functools.partial(timed, name, make) for name, make in makers.items()}
    )
    weights = [len(w) * len(w.T) for w in start[::2]]
    suffix = "" if precision == "highest" else f" {precision}"
    facts = {"sizes": list(sizes), "batch": batch, "precision": precision, "steps_in_a_call": steps}
    yield Case(
        group,
        f"{'-'.join(map(str, sizes))} b{batch}{suffix}",
        steps_clock("deltarule", ours, x, y, order),
        clocks,
        flop=2.0 * batch * (3 * sum(weights) - weights[0]) * steps,
        steps=steps,
        facts={**facts, "missing": missing},
        beside=tuple(name for name in clocks if "tf32" in name) if precision == "highest" else (),
    )


def steps_clock(
    name: str, net: Any, x: np.ndarray, y: np.ndarray, order: np.ndarray
) -> Callable[[int], float]:
    """Warm: we record a step the second time, PyTorch's graph is captured and JAX compiles the first."""
    data, rows = net.samples(x, y), net.rows(order)
    seconds = gpu.clock(lambda: net.steps(data, rows), name, net.prepare, net.wait)
    for _ in range(3):
        seconds(1)
    return seconds
