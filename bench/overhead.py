"""What a call costs: operations on 8 elements, beside NumPy's and PyTorch's.

    python bench/overhead.py [--json FILE]

The statements are the same text for every library, timed without a function call around them; results are new arrays.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Iterator
from typing import Any

import deltarule as dr
import harness
import numpy as np
from harness import Case

# The libraries share the names: m is the module, a and b have 8 elements, p and q are 2 x 2.
STATEMENTS = (
    "m.add(a, b)", "a + b", "a * 2", "m.exp(a)", "m.tanh(a)", "a.sum()", "a.reshape(2, 4)", "a[0]", "a[1:3]",
    "m.matmul(p, q)", "p @ q", "p[0]", "p[:, 1]", "p.T",
)  # fmt: skip


def namespace(module: Any, convert: Any) -> dict[str, Any]:
    a, b = np.arange(8, dtype=np.float32) / 8, np.ones(8, np.float32)
    p, q = np.arange(4, dtype=np.float32).reshape(2, 2), np.eye(2, dtype=np.float32)
    return {"m": module, **{name: convert(x) for name, x in {"a": a, "b": b, "p": p, "q": q}.items()}}


def cases(options: argparse.Namespace) -> Iterator[Case]:
    libraries = {"deltarule": namespace(dr, dr.asarray)}
    if "numpy" in options.peers:
        libraries["numpy"] = namespace(np, np.asarray)
    if "torch" in options.peers:
        import torch

        libraries["torch"] = namespace(torch, torch.from_numpy)
    reference = namespace(np, lambda x: x.astype(np.float64))
    for statement in STATEMENTS:
        expected = eval(statement, dict(reference))
        for library, names in libraries.items():
            result = np.asarray(eval(statement, dict(names)))
            assert result.shape == expected.shape, f"{library}: {statement} is {result.shape}"
            assert np.allclose(result, expected, rtol=1e-6), f"{library}: {statement} is wrong"
        clocks = {
            library: timeit.Timer(statement, globals=names).timeit for library, names in libraries.items()
        }
        yield Case("overhead", statement, clocks.pop("deltarule"), clocks)


if __name__ == "__main__":
    harness.main(__doc__, cases)
