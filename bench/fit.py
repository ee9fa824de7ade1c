"""One epoch over 60,000 uint8 images, 784-800-10, batch 100, shuffled: `net.fit` beside PyTorch and JAX loops.

    python bench/fit.py [--threads 1,2] [--data-dir FOLDER] [--json FILE]
    python bench/fit.py --device cuda [--json FILE]

With `--data-dir` the images are MNIST's, else random. Everybody scales pixels to 0..1 and shuffles anew every epoch.
"torch DataLoader" is TensorDataset and DataLoader; "torch" and "jax" slice a permutation by hand. "fit overhead" is
the epoch's time beside that of as many `train_step`s on ten batches that were cut and scaled in advance. On a GPU
the net is 841-2500-2000-1500-1000-500-10, the batch 512, and the images are there before.
"""

from __future__ import annotations

import argparse
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator

import harness
import nets
import numpy as np
from deltarule import data, nn
from harness import Case, Clock, clock

SIZES = (784, 800, 10)
BATCH = 100
SCALE = np.float32(1 / 255)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=pathlib.Path, help="folder of MNIST's four files; default: random images"
    )


def images(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """x[N,784] uint8, y[N]."""
    if options.data_dir is not None:
        train = data.load("mnist", data_dir=options.data_dir).train
        return np.ascontiguousarray(train.x).reshape(len(train), -1), train.y
    rng = np.random.default_rng(0)
    n = 1000 if options.quick else 60_000
    return rng.integers(0, 256, (n, SIZES[0]), np.uint8), rng.integers(0, SIZES[-1], n)


def torch_epochs(net: nets.Torch, x: np.ndarray, y: np.ndarray) -> dict[str, Clock]:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH, shuffle=True)

    def loaded() -> None:
        for chosen, answers in loader:
            net.step(chosen.float().mul_(float(SCALE)), answers)

    def sliced() -> None:
        for rows in torch.randperm(len(images)).split(BATCH):
            net.step(images[rows].float().mul_(float(SCALE)), labels[rows])

    return {"torch DataLoader": clock(loaded), "torch": clock(sliced)}


def jax_epoch(net: nets.Jax, x: np.ndarray, y: np.ndarray) -> Clock:
    import jax

    images, labels = net.samples(x, y)
    cut = jax.jit(lambda rows: (images[rows].astype("float32") * SCALE, labels[rows]))
    rng = np.random.default_rng(0)

    def sliced() -> None:
        for rows in rng.permutation(len(x)).reshape(-1, BATCH):
            net.step(*cut(rows))

    return clock(sliced, net.wait)


def cases(options: argparse.Namespace) -> Iterator[Case]:
    x, y = images(options)
    steps = len(x) // BATCH
    ours = nets.Ours(SIZES)
    start = ours.parameters()
    scaled = x[: 10 * BATCH].astype(np.float32) * SCALE
    rows = np.arange(len(scaled)).reshape(-1, BATCH)

    # fit without shuffling is the reference's ten steps.
    net = nn.mlp(SIZES, "tanh", seed=0)
    net.standardize(np.zeros(SIZES[0]), np.full(SIZES[0], SCALE))
    reference = nets.Numpy(start, np.float64)
    reference.steps(reference.samples(scaled, y), rows)
    net.fit(x[: len(scaled)], y[: len(scaled)], nn.SGD(nets.LR), epochs=1, batch_size=BATCH, shuffle=False)
    ours.net = net
    nets.check("fit", ours, start, reference.own, "highest")

    peers = {}
    if "torch" in options.peers:
        peers |= torch_epochs(nets.Torch(start), x, y)
    if "jax" in options.peers:
        peers["jax"] = jax_epoch(nets.Jax(start), x, y)
    epoch = clock(lambda: net.fit(x, y, nn.SGD(nets.LR), epochs=1, batch_size=BATCH))
    facts = {"sizes": list(SIZES), "batch": BATCH, "data": "MNIST" if options.data_dir else "random"}
    name = f"epoch of {len(x)}, {'-'.join(map(str, SIZES))} b{BATCH}"
    yield Case("fit", name, epoch, peers, facts=facts)

    # The same steps without what fit adds; the ratio's inverse is the overhead.
    alone = nets.Ours(SIZES)
    batches = [alone.batch(scaled[chosen], y[chosen]) for chosen in rows]

    def steps_alone() -> None:
        for step in range(steps):
            alone.step(*batches[step % len(batches)])

    facts |= {"steps": steps}
    yield Case(
        "fit overhead", f"{name}: steps alone / fit", epoch, {"steps alone": clock(steps_alone)}, facts=facts
    )


# On a GPU.

GPU_BATCH = 512
GPU_EPOCHS = 2  # in a call of fit


def torch_epoch(make: Callable[[], nets.Torch], x: np.ndarray, y: np.ndarray, name: str) -> Clock:
    """Whole minibatches in one call of `steps`, then what is left."""
    import gpu
    import torch

    net = make()
    images, labels = net.samples(x, y)
    whole = len(x) // GPU_BATCH * GPU_BATCH
    rows = torch.empty((whole // GPU_BATCH, GPU_BATCH), dtype=torch.int64, device=gpu.THEIRS)

    def epoch() -> None:
        order = torch.randperm(len(images), device=gpu.THEIRS)
        rows.copy_(order[:whole].view(rows.shape))
        net.steps((images, labels), rows)
        if whole < len(order):
            net.step(images[order[whole:]], labels[order[whole:]])

    seconds = gpu.clock(epoch, name, net.prepare, net.wait)
    seconds(1)  # captures the graph
    return seconds


def gpu_epoch(sizes: tuple[int, ...], precision: str, options: argparse.Namespace) -> Iterable[Case]:
    import gpu
    import gpu_nets

    rng = np.random.default_rng(0)
    count = 3000 if options.quick else 60_000
    x, y = rng.integers(0, 256, (count, sizes[0]), np.uint8), rng.integers(0, sizes[-1], count)
    ours, alone = (gpu_nets.Ours(sizes, precision) for _ in range(2))
    for net in (ours.net, alone.net):
        net.standardize(np.zeros(sizes[0]), np.full(sizes[0], SCALE))
    start = ours.parameters()

    # fit without shuffling is the reference's two steps.
    first = 2 * GPU_BATCH
    exact, scaled = nets.Numpy(start, np.float64), x[:first].astype(np.float32) * SCALE
    exact.steps(exact.samples(scaled, y), np.arange(first).reshape(2, GPU_BATCH))
    images, labels = gpu.ours(x), gpu.ours(y)
    fit = functools.partial(ours.net.fit, batch_size=GPU_BATCH)
    fit(images[:first], labels[:first], nn.SGD(nets.LR), epochs=1, shuffle=False)
    nets.check("fit", ours, start, exact.own, precision)

    makers = gpu_nets.make_peers(start, precision, options, tf32=True, jax=False)
    peers, missing = gpu.working(
        {name: functools.partial(torch_epoch, make, x, y, name) for name, make in makers.items()}
    )
    own = gpu.clock(lambda: fit(images, labels, nn.SGD(nets.LR), epochs=GPU_EPOCHS), "deltarule")
    one = {
        name: (lambda calls, seconds=seconds: seconds(calls * GPU_EPOCHS)) for name, seconds in peers.items()
    }
    facts = {"sizes": list(sizes), "batch": GPU_BATCH, "precision": precision, "data": "random"}
    facts |= {"missing": missing}
    name = f"epoch of {count}, {'-'.join(map(str, sizes))} b{GPU_BATCH} {precision}"
    beside = tuple(name for name in peers if "tf32" in name) if precision == "highest" else ()
    yield Case("fit", name, own, one, steps=GPU_EPOCHS, facts=facts, beside=beside)

    # The same steps without what fit adds; the ratio's inverse is the overhead.
    rows = gpu.ours(np.tile(rng.permutation(count), GPU_EPOCHS))
    steps = lambda: alone.net.engine.train_steps(  # noqa: E731
        images, labels, rows, GPU_BATCH, alone.built, validated=True
    )
    peer = {"steps alone": gpu.clock(steps, "deltarule")}
    yield Case("fit overhead", f"{name}: steps alone / fit", own, peer, steps=GPU_EPOCHS, facts=facts)


def gpu_entries(options: argparse.Namespace) -> Iterator[tuple]:
    import gpu_nets

    sizes = (64, 30, 10) if options.quick else gpu_nets.LARGEST
    for precision in ("highest", "medium"):
        yield f"epoch {precision}", functools.partial(gpu_epoch, sizes, precision, options)


if __name__ == "__main__":
    harness.main(__doc__, cases, add_options, gpu_entries)
