"""Training steps of tiny nets, where calls cost more than arithmetic; scikit-learn's partial_fit is a peer here.

python bench/tiny.py [--threads 1,2] [--json FILE]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import harness
import nets

SHAPES = (((64, 64, 10), 1), ((64, 64, 10), 32), ((784, 100, 10), 1))


def cases(options: argparse.Namespace) -> Iterator[harness.Case]:
    for sizes, batch in SHAPES[:1] if options.quick else SHAPES:
        yield from nets.cases("step tiny", sizes, batch, options, in_one_call=200)


if __name__ == "__main__":
    harness.main(__doc__, cases)
