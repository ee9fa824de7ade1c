"""Every slot of a GPU once or twice at small awkward sizes, and small nets' training: for compute-sanitizer.

    compute-sanitizer --tool memcheck python tests/cuda_sanitize.py

A plain script, because the tools slow the GPU down a lot. Each call is made on the CPU as well: what differs by more
than rounding is named and ends in exit code 1. `pytest -m gpu` has the exact bounds.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator

import deltarule as dr
import numpy as np
from deltarule import _core, nn

kernels = _core.kernels
Outputs = list[np.ndarray]
Call = tuple[str, Callable[[], Outputs]]
DTYPES = (np.float32, np.float64)


def normal(*shape: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def poisoned(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 99, dtype)


def gemm(m: int, n: int, k: int, trans: str, dtype: type, **options: object) -> Outputs:
    """C, then what the epilogue writes besides."""
    a = normal(*((k, m) if trans[0] == "T" else (m, k)), dtype=dtype)
    b = normal(*((n, k) if trans[1] == "T" else (k, n)), dtype=dtype, seed=1)
    written = {name: x.copy() for name, x in options.items() if isinstance(x, np.ndarray)}
    starts = options.get("beta") or options.get("epilogue") == "sgd"
    c = normal(m, n, dtype=dtype, seed=2) if starts else poisoned(m, n, dtype=dtype)
    kernels.gemm(a, b, c, trans_a=trans[0] == "T", trans_b=trans[1] == "T", **{**options, **written})
    return [c, *written.values()]


def large_gemms() -> Iterator[Call]:
    """Large enough for the kernels that make planes of the operands first; too large for a GPU in software."""
    for m, n, k, trans in ((1040, 1032, 2056, "TN"), (2056, 2064, 2052, "NT")):
        for precision in ("highest", "high", "medium"):
            yield (
                f"gemm {m}x{n}x{k} {trans} {precision}",
                functools.partial(gemm, m, n, k, trans, np.float32, precision=precision),
            )


def gemms() -> Iterator[Call]:
    for dtype in DTYPES:
        for trans in ("NN", "NT", "TN", "TT"):
            for m, n, k in ((1, 1, 1), (33, 47, 65), (130, 20, 7), (5, 257, 33)):
                yield (
                    f"gemm {m}x{n}x{k} {trans} {dtype.__name__}",
                    lambda a=(m, n, k, trans, dtype): gemm(*a, beta=0.5),
                )
    for precision in ("highest", "high", "medium"):
        for m, n, k, trans in (
            (128, 256, 96, "NN"),
            (200, 136, 264, "NT"),
            (264, 72, 130, "TN"),
            (513, 129, 65, "NN"),
        ):
            yield (
                f"gemm {m}x{n}x{k} {trans} {precision}",
                lambda a=(m, n, k, trans), p=precision: gemm(*a, np.float32, precision=p),
            )
    for m, n, k in ((33, 47, 65), (128, 136, 264)):
        x = normal(m, n, seed=3)
        y, bias, v = np.tanh(x), normal(n, seed=4), normal(m, n, seed=5)
        for name, options in {
            "bias_act": {"activation": "gelu", "bias": bias, "z": poisoned(m, n)},
            "backprop": {"activation": "tanh", "y": y, "db": poisoned(n)},
            "backprop by z": {"activation": "gelu", "y": y, "z": x, "db": poisoned(n)},
            "sgd": {"lr": 0.1, "weight_decay": 0.01},
            "sgd momentum": {"lr": 0.1, "momentum": 0.9, "velocity": v, "nesterov": True},
        }.items():
            trans = "TN" if name.startswith("sgd") else "NT" if name.startswith("backprop") else "NN"
            call = functools.partial(gemm, m, n, k, trans, np.float32, epilogue=name.split()[0], **options)
            yield f"gemm {m}x{n}x{k} {name}", call


def into(call: Callable[[np.ndarray], object], *shape: int, dtype: type = np.float32) -> Outputs:
    """What a call writes into an array of this shape."""
    out = poisoned(*shape, dtype=dtype)
    call(out)
    return [out]


def elementwise() -> Iterator[Call]:
    x, g = np.abs(normal(37, 29)) + 0.1, normal(37, 29, seed=1)
    for name in kernels.unary_names:
        yield f"unary {name}", lambda name=name: into(lambda y: kernels.unary(name, x, y), 37, 29)
    for name in kernels.binary_names:
        row = np.broadcast_to(g[:1], g.shape)
        yield (
            f"binary {name}",
            lambda name=name, row=row: into(lambda y: kernels.binary(name, x, row, y), 37, 29),
        )
    yield (
        "unary strided",
        lambda: into(lambda y: kernels.unary("exp", g.T[::-1, 1::2], y.T[:, 1::2]), 37, 29),
    )
    for name in kernels.activation_names:
        value = poisoned(1073)
        kernels.activate(name, g.ravel(), value, 0.1)
        yield (
            f"activate {name}",
            lambda name=name: into(lambda y: kernels.activate(name, g.ravel(), y, 0.1), 1073),
        )
        yield (
            f"activate_grad {name}",
            lambda name=name, value=value: into(
                lambda dx: kernels.activate_grad(name, x.ravel(), g.ravel(), value, dx, 0.1), 1073
            ),
        )
    for source, target in (
        (np.float32, np.uint8),
        (np.uint8, np.float64),
        (np.int64, np.bool),
        (np.float32, np.float32),
    ):
        data = (10 * x).astype(source)
        yield (
            f"copy {source.__name__} to {target.__name__}",
            lambda data=data, target=target: into(lambda y: kernels.copy(data.T, y), 29, 37, dtype=target),
        )
    yield "dropout", lambda: into(lambda y: kernels.dropout(x.ravel(), y, 0.3, seed=5, stream=2), 1073)
    for kind in ("uniform", "normal"):
        yield (
            f"fill_random {kind}",
            lambda kind=kind: into(lambda y: kernels.fill_random(kind, y, 3, 4), 1073),
        )
    for n in (1, 5000):
        yield (
            f"permutation of {n}",
            lambda n=n: into(lambda y: kernels.fill_random("permutation", y, 3, 4), n, dtype=np.int64),
        )


def reductions() -> Iterator[Call]:
    for shape in ((1, 5003, 1), (37, 29, 1), (3, 700, 17), (1, 3, 1000)):
        x = np.abs(normal(*shape)) + 0.5
        for name in kernels.reduction_names:
            if name == "prod" and shape[1] > 100:
                continue
            dtype = np.int64 if name.startswith("arg") else np.float32
            yield (
                f"reduce {name} {shape}",
                lambda name=name, x=x, dtype=dtype: into(
                    lambda y: kernels.reduce(name, x, y), x.shape[0], x.shape[2], dtype=dtype
                ),
            )
    for rows, cols in ((37, 10), (5, 1003), (2, 9000)):
        x = normal(rows, cols)
        for log in (False, True):
            yield (
                f"softmax {rows}x{cols} log={log}",
                lambda x=x, log=log: into(lambda y: kernels.softmax(x, y, log), *x.shape),
            )


def loss(name: str, rows: int, cols: int) -> Outputs:
    labels = np.random.default_rng(0).integers(0, cols if cols > 1 else 2, rows)
    dy = poisoned(rows, cols)
    weights = np.abs(normal(rows, seed=1))
    value, errors, weight = kernels.loss(
        name, normal(rows, cols), labels=labels, weights=weights, dy=dy, mean=True
    )
    return [dy, np.array([value, errors, weight])]


def step(name: str) -> Outputs:
    """More tensors than a launch takes."""
    tensors = []
    for n in (1003, 5, *range(70)):
        w, g, m, v = (normal(n, seed=seed) for seed in range(4))
        tensors.append((w, g, m, np.abs(v), n % 3 != 1))
    settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.01, "grad_scale": 0.5, "step": 3}
    kernels.step(name, tensors, **settings)
    return [x for w, _, m, v, _ in tensors for x in (w, m, v)]


def online(inputs: int, outputs: int, momentum: float) -> Outputs:
    w, v, dx, db = (
        normal(inputs, outputs),
        normal(inputs, outputs, seed=1),
        poisoned(inputs),
        poisoned(inputs),
    )
    y = np.tanh(normal(inputs, seed=2))
    options = {"momentum": momentum, "velocity": v} if momentum else {}
    x, dz = normal(inputs, seed=3), normal(outputs, seed=4)
    settings = {"lr": 0.1, "weight_decay": 0.01, "activation": "tanh"}
    kernels.online(x, dz, w, dx=dx, y=y, db=db, **settings, **options)
    return [w, v, dx, db]


def training() -> Iterator[Call]:
    for name in kernels.loss_names:
        for rows, cols in ((37, 10), (300, 1)):
            if name != "softmax_cross_entropy" or cols > 1:
                yield f"loss {name} {rows}x{cols}", lambda a=(name, rows, cols): loss(*a)
    for name in kernels.optimizer_names:
        yield f"step {name}", lambda name=name: step(name)
    for inputs, outputs, momentum in ((33, 47, 0.0), (65, 10, 0.9)):
        yield f"online {inputs}x{outputs}", lambda a=(inputs, outputs, momentum): online(*a)
    rows = np.array([5, 0, 36, 5])
    for source in (np.uint8, np.float32, np.float64):
        x = (10 * np.abs(normal(37, 29))).astype(source)
        shift, scale = normal(29, seed=1), normal(29, seed=2)
        yield (
            f"gather_rows {source.__name__}",
            lambda x=x, a=(rows, shift, scale): into(lambda y: kernels.gather_rows(x, *a, y), 4, 29),
        )
    bad = normal(37, 29)
    bad[30, 7] = np.inf
    yield (
        "find",
        lambda: [np.array([kernels.find(bad), kernels.find(bad[:30]), kernels.find(rows[:, None], 0, 36)])],
    )


# Networks: what only they call (advance, clip, training row after row, recordings).


def net_weights(net: nn.Network) -> Outputs:
    return [np.array(parameter.to("cpu").numpy()) for parameter in net.parameters]


def networks() -> Iterator[tuple[str, Callable[[str], Outputs]]]:
    x, y = normal(90, 13), np.random.default_rng(1).integers(0, 4, 90)
    pixels = np.random.default_rng(2).integers(0, 256, (90, 13), np.uint8)

    def train(
        device: str, rule: nn.Optimizer, batch: int, data: np.ndarray = x, **settings: object
    ) -> Outputs:
        net = nn.mlp([13, 33, 17, 4], device=device, seed=3, **settings)
        net.standardize(np.full(13, 0.1), np.full(13, 0.02 if data is pixels else 1.0))
        history = net.fit(data, y, rule, epochs=1, batch_size=batch, validation=(data[:30], y[:30]))
        last = history.epochs[-1]
        return [*net_weights(net), np.array([last["train_loss"], last["validation_loss"]])]

    for name, rule, batch, settings in (
        ("SGD, row after row", nn.SGD(0.05), 1, {}),
        ("SGD, minibatches", nn.SGD(0.05), 16, {}),
        ("SGD, minibatches, medium", nn.SGD(0.05), 45, {"precision": "medium"}),
        ("Nesterov, clipped", nn.Nesterov(0.05, clip_norm=0.1), 16, {"activation": "relu"}),
        ("Adam, dropout", nn.Adam(0.01), 16, {"activation": "gelu", "dropout": 0.2}),
        ("SGD, float64", nn.SGD(0.05), 7, {"dtype": "float64"}),
    ):
        yield name, lambda device, a=(rule, batch), s=settings: train(device, *a, **s)
    yield "SGD, pixels", lambda device: train(device, nn.SGD(0.05), 16, pixels)


# Training row after row, the slot itself: blocks that share a net, weights that one block has no room for on chip.


def row_after_row(
    device: str, sizes: list[int], blocks: int, bias: bool, x: np.ndarray, **settings: object
) -> Outputs:
    """Weights and losses after 24 rows in random order; on the CPU a network's steps."""
    layers = [nn.Dense(units, "tanh", bias=bias) for units in sizes[1:]]
    net = nn.Network(layers, inputs=sizes[0], seed=3, **settings)
    order, y = np.random.default_rng(4).permutation(30)[:24], np.arange(30) % sizes[-1]
    shift, scale = (
        np.full(sizes[0], value, net.dtype) for value in (0.1, 0.02 if x.dtype == np.uint8 else 1.0)
    )
    rates = np.linspace(0.1, 0.01, 24)
    if device == "cpu":
        net.standardize(shift, scale)
        rule = nn.SGD(0.1, weight_decay=0.01).build()
        losses = net.engine.train_steps(x, y, order, 1, rule, rates=rates).losses
        return [*net_weights(net), np.asarray(losses)]
    each = iter(net_weights(net))
    given = [(next(each), next(each) if bias else None, "tanh", 0.0) for _ in layers]
    losses = poisoned(24, dtype=np.float64)
    wanted = {"weight_decay": 0.01, "blocks": blocks, "labels": y}
    source = {"index": order, "shift": shift, "scale": scale, "steps": 24}
    kernels.set_device(device)
    try:
        kernels.train_rows(x, given, "softmax_cross_entropy", rates=rates, value=losses, **source, **wanted)
    finally:
        kernels.set_device("cpu")
    return [*(p for w, b, _, _ in given for p in (w, b) if p is not None), losses]


def rows_of_nets() -> Iterator[tuple[str, Callable[[str], Outputs]]]:
    for name, sizes, blocks, bias, dtype in (
        ("one block", [13, 33, 17, 4], 1, True, np.float32),
        ("three blocks, without bias", [29, 65, 33, 10], 3, False, np.float32),
        ("float64", [29, 65, 10], 2, True, np.float64),
        ("weights in memory", [131, 300, 150, 10], 1, True, np.float32),
        ("blocks as they come", [131, 300, 150, 10], 0, True, np.float32),
    ):
        x = normal(30, sizes[0], dtype=dtype)
        settings = {"dtype": np.dtype(dtype).name}
        yield name, lambda device, a=(sizes, blocks, bias, x), s=settings: row_after_row(device, *a, **s)
    pixels = np.random.default_rng(2).integers(0, 256, (30, 29), np.uint8)
    yield "pixels", lambda device: row_after_row(device, [29, 40, 10], 2, True, pixels)


def arrays(device: str) -> Outputs:
    """Views, broadcasting, a product with leading axes."""
    a, b = dr.asarray(normal(3, 33, 17), device=device), dr.asarray(normal(17, 20, seed=1), device=device)
    c = dr.tanh((a @ b)[:, ::2, 1:] + 1) / 3
    c[0] = c[1, ::-1]
    return [
        np.array(x.to("cpu").numpy()) for x in (c, c.sum((0, 2)), c.astype("float64").T, dr.softmax(c, 1))
    ]


def agree(got: Outputs, want: Outputs, loose: bool) -> bool:
    """Equal up to rounding; NaN where the CPU has it."""
    share = 3e-2 if loose else 1e-3
    return all(
        np.allclose(
            a,
            b,
            rtol=share,
            atol=share * (1e-3 + np.max(np.abs(np.nan_to_num(b)), initial=0.0)),
            equal_nan=True,
        )
        for a, b in zip(got, want, strict=True)
    )


def main() -> int:
    only = sys.argv[1:]
    wrong, done = [], 0

    def compare(name: str, on: Callable[[str], Outputs]) -> None:
        nonlocal done
        if only and not any(word in name for word in only):
            return
        want, got = on("cpu"), on("cuda:0")
        done += 1
        fine = agree(got, want, "medium" in name or "high" in name.split())
        print(f"{'ok   ' if fine else 'WRONG'} {name}", flush=True)
        if not fine:
            wrong.append(name)

    def raw(call: Callable[[], Outputs], device: str) -> Outputs:
        kernels.set_device(device)
        try:
            return call()
        finally:
            kernels.set_device("cpu")

    large = () if dr.info()["cuda"]["emulated"] else (large_gemms,)
    for part in (gemms, elementwise, reductions, training, *large):
        for name, call in part():
            compare(name, lambda device, call=call: raw(call, device))
    for name, call in networks():
        compare(f"fit: {name}", call)
    for name, call in rows_of_nets():
        compare(f"train_rows: {name}", call)
    compare("arrays", arrays)
    kernels.set_device("cuda:0")
    kernels.peak(10)
    print(f"RESULT {done} calls, {len(wrong)} wrong{': ' if wrong else ''}{', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
