"""Training steps of three nets on minibatches: tanh, softmax cross-entropy, SGD.

    python bench/step.py [--threads 1,2] [--precision highest,medium] [--json FILE]
    python bench/step.py --device cuda [--precision highest,high,medium] [--batch 512,128] [--compile] [--json FILE]

`bN` is the batch size; "in one call" is many steps in one call of the engine, gathering of the rows included, against
the peers' loops (JAX: one scan). The peer of "medium" is PyTorch with parameters in bf16. The parameters after two
steps are checked against NumPy in float64 first. On a GPU: the five nets of gpu_nets.py.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator

import harness
import nets

NETS = ((784, 800, 10), (784, 1000, 500, 10), (841, 2500, 2000, 1500, 1000, 500, 10))
BATCHES = {10: 20, 100: 10, 1000: 0}  # -> steps in one call


def add_options(parser: argparse.ArgumentParser) -> None:
    choices = ("highest", "high", "medium")
    parser.add_argument("--precision", type=harness.names(choices), default=["highest"])
    parser.add_argument("--batch", type=harness.counts, default=[512, 128, 1024], help="with --device cuda")
    parser.add_argument(
        "--compile", action="store_true", help="with --device cuda: torch.compile too, which takes long"
    )


def cases(options: argparse.Namespace) -> Iterator[harness.Case]:
    options.peers = [peer for peer in options.peers if peer != "sklearn"]
    for precision in options.precision:
        group = "step minibatch" if precision == "highest" else f"step minibatch {precision}"
        for sizes in ((64, 30, 10),) if options.quick else NETS:
            for batch, in_one_call in BATCHES.items():
                yield from nets.cases(f"{group} {batch}", sizes, batch, options, precision, in_one_call)


def gpu_entries(options: argparse.Namespace) -> Iterator[tuple]:
    import gpu_nets

    for batch in options.batch:
        for sizes in ((64, 30, 10),) if options.quick else gpu_nets.NETS:
            for precision in options.precision:
                first = batch == options.batch[0]  # compiling costs JAX seconds; "high" has no target
                if precision == "high" and not first:
                    continue
                name = f"{'-'.join(map(str, sizes))} b{batch} {precision}"
                yield (
                    name,
                    functools.partial(
                        gpu_nets.case, f"step {precision}", sizes, batch, precision, options, jax=first
                    ),
                )


if __name__ == "__main__":
    harness.main(__doc__, cases, add_options, gpu_entries)
