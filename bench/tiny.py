"""Training steps of tiny nets, where calls cost more than arithmetic; scikit-learn's partial_fit is a peer here.

python bench/tiny.py [--threads 1,2] [--device cuda] [--json FILE]
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator

import harness
import nets

GPU_NETS, GPU_BATCHES = ((784, 100, 10), (784, 800, 10)), (1, 8, 64)
SHAPES = (((64, 64, 10), 1), ((64, 64, 10), 32), ((784, 100, 10), 1))


def cases(options: argparse.Namespace) -> Iterator[harness.Case]:
    for sizes, batch in SHAPES[:1] if options.quick else SHAPES:
        yield from nets.cases("step tiny", sizes, batch, options, in_one_call=200)


def gpu_entries(options: argparse.Namespace) -> Iterator[tuple]:
    import gpu_nets

    for sizes in ((64, 30, 10),) if options.quick else GPU_NETS:
        for batch in GPU_BATCHES:
            name = f"{'-'.join(map(str, sizes))} b{batch}"
            yield (
                name,
                functools.partial(
                    gpu_nets.case, "step tiny", sizes, batch, "highest", options, tf32=False, jax=batch == 1
                ),
            )


if __name__ == "__main__":
    harness.main(__doc__, cases, gpu_entries=gpu_entries)
