"""A committee's training side by side, against the same members in turns on all threads; bits compared first.

python bench/committee.py [--members 4] [--repeats 7]
"""

from __future__ import annotations

import argparse
import statistics
import time

import deltarule as dr
import numpy as np
from deltarule import nn

CASES = (((64, 64, 10), 10, 40_000), ((784, 800, 10), 10, 2_000), ((784, 800, 10), 100, 4_000))


def train(sizes: tuple[int, ...], batch: int, samples: int, members: int, threads: int | None):
    """Seconds, and the weights as bytes."""
    rng = np.random.default_rng(0)
    x, y = rng.random((samples, sizes[0]), np.float32), rng.integers(0, sizes[-1], samples)
    committee = nn.Committee(nn.mlp(sizes, seed=seed) for seed in range(members))
    start = time.perf_counter()
    committee.fit(x, y, optimizer=nn.SGD(0.01), epochs=2, batch_size=batch, threads=threads)
    seconds = time.perf_counter() - start
    return seconds, b"".join(np.asarray(p).tobytes() for net in committee.members for p in net.parameters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print(f"{options.members} members, {dr.info()['threads']} threads, {dr.info()['isa']}")
    for sizes, batch, samples in CASES:
        pairs = []
        for _ in range(options.repeats):  # one beside the other, so that both see the same machine
            turns, wanted = train(sizes, batch, samples, options.members, 1)
            beside, got = train(sizes, batch, samples, options.members, None)
            assert got == wanted, "side by side gives other bits"
            pairs.append((turns, beside))
        ratio = statistics.median(turns / beside for turns, beside in pairs)
        turns, beside = (statistics.median(column) for column in zip(*pairs, strict=True))
        name = "-".join(map(str, sizes))
        print(
            f"{name} b{batch}: in turns {turns:.3f} s, side by side {beside:.3f} s, {ratio:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
