"""Training on-line: one sample a step, the nets of step.py. Memory is the limit: the weights go through the core twice.

python bench/online.py [--threads 1,2] [--device cuda] [--json FILE]
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator

import harness
import nets
from step import NETS


def cases(options: argparse.Namespace) -> Iterator[harness.Case]:
    options.peers = [peer for peer in options.peers if peer != "sklearn"]
    for sizes in ((64, 30, 10),) if options.quick else NETS:
        yield from nets.cases("step online", sizes, 1, options, in_one_call=100 if max(sizes) <= 1000 else 20)


def gpu_entries(options: argparse.Namespace) -> Iterator[tuple]:
    import gpu_nets

    for sizes in ((64, 30, 10),) if options.quick else NETS[::-1]:
        name = "-".join(map(str, sizes))
        yield name, functools.partial(gpu_nets.case, "step online", sizes, 1, "highest", options, tf32=False)


if __name__ == "__main__":
    harness.main(__doc__, cases, gpu_entries=gpu_entries)
