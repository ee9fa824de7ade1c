"""Training steps of three nets on minibatches: tanh, softmax cross-entropy, SGD.

    python bench/step.py [--threads 1,2] [--precision highest,medium] [--json FILE]

`bN` is the batch size; "in one call" is many steps in one call of the engine, gathering of the rows included, against
the peers' loops (JAX: one scan). The peer of "medium" is PyTorch with parameters in bf16. The parameters after two
steps are checked against NumPy in float64 first.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import harness
import nets

NETS = ((784, 800, 10), (784, 1000, 500, 10), (841, 2500, 2000, 1500, 1000, 500, 10))
BATCHES = {10: 20, 100: 10, 1000: 0}  # -> steps in one call


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", type=harness.names(("highest", "medium")), default=["highest"])


def cases(options: argparse.Namespace) -> Iterator[harness.Case]:
    options.peers = [peer for peer in options.peers if peer != "sklearn"]
    for precision in options.precision:
        group = "step minibatch" if precision == "highest" else f"step minibatch {precision}"
        for sizes in ((64, 30, 10),) if options.quick else NETS:
            for batch, in_one_call in BATCHES.items():
                yield from nets.cases(f"{group} {batch}", sizes, batch, options, precision, in_one_call)


if __name__ == "__main__":
    harness.main(__doc__, cases, add_options)
