"""Test error and training time of 784-300-100-10 on MNIST, float32, at most 20 epochs.

    python bench/mnist.py [--data-dir FOLDER] [--json FILE] [--threads N] [--search]

`--search` trains every candidate on 50,000 of the training images and prints its error on the other 10,000
after the last epoch. The candidate that was best there (VALIDATION_ERRORS keeps that table) is what a plain
run trains on all 60,000, with three seeds; the test images are looked at once a seed, at the end.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import deltarule as dr
import harness
import numpy as np
from deltarule import _core, data, nn

DEFAULT_FOLDER = harness.REPOSITORY.parent / "shared" / "data" / "mnist"
SIZES = (784, 300, 100, 10)
SEEDS = (0, 1, 2)
EPOCHS = 20
VALIDATION = 10_000


@dataclass(frozen=True)
class Candidate:
    """One choice of settings; the learning rate falls along a cosine to 0 in `EPOCHS`."""

    activation: str
    optimizer: str
    lr: float
    batch_size: int
    dropout: float

    def train(self, x: np.ndarray, y: np.ndarray, seed: int, **more: Any) -> tuple[nn.Network, float]:
        """A trained net, and the seconds that fit took."""
        net = nn.mlp(SIZES, self.activation, dropout=self.dropout, seed=seed)
        scaling = data.Standardizer.fit(x, kind="global")
        net.standardize(scaling.shift, scaling.scale)
        rule = nn.Adam(self.lr) if self.optimizer == "adam" else nn.Nesterov(self.lr)
        start = time.perf_counter()
        net.fit(x, y, rule, EPOCHS, self.batch_size, schedule=nn.Cosine(EPOCHS), progress=True, **more)
        return net, time.perf_counter() - start

    def __str__(self) -> str:
        return (
            f"{self.activation:5} {self.optimizer:8} lr {self.lr:<6g} batch {self.batch_size:<4} "
            f"dropout {self.dropout:g}"
        )


CANDIDATES = [
    Candidate(activation, optimizer, lr, batch_size, dropout)
    for activation in ("relu", "tanh")
    for optimizer, lr, batch_size in (("adam", 1e-3, 128), ("nesterov", 0.05, 128))
    for dropout in (0.0, 0.2)
]

# Errors on the 10,000, seed 0, as `--search` printed them; the best is the one that is run.
VALIDATION_ERRORS = {
    0: 0.0184,
    1: 0.0186,
    2: 0.0188,
    3: 0.0171,
    4: 0.0190,
    5: 0.0206,
    6: 0.0201,
    7: 0.0192,
}


def load(folder: pathlib.Path | None) -> data.Dataset:
    """MNIST from a folder, or downloaded."""
    if folder is None and DEFAULT_FOLDER.is_dir():
        folder = DEFAULT_FOLDER
    return data.load("mnist", data_dir=folder)


def search(mnist: data.Dataset) -> list[dict[str, Any]]:
    """Validation error of every candidate."""
    rest, held_out = mnist.train.split(VALIDATION / len(mnist.train), seed=0)
    results = []
    for index, candidate in enumerate(CANDIDATES):
        net, seconds = candidate.train(rest.x, rest.y, seed=0)
        error = 1 - net.score(held_out.x, held_out.y)
        print(f"{index:2}  {candidate}   validation error {error:.2%}   {seconds:5.1f} s", flush=True)
        results.append({**asdict(candidate), "validation_error": error, "seconds": seconds})
    best = min(range(len(results)), key=lambda i: results[i]["validation_error"])
    print(f"best: {best}  {CANDIDATES[best]}")
    return results


def measure(mnist: data.Dataset) -> list[dict[str, Any]]:
    """Test error and seconds of the chosen candidate, for every seed."""
    chosen = CANDIDATES[min(VALIDATION_ERRORS, key=lambda index: VALIDATION_ERRORS[index])]
    print(f"{'-'.join(map(str, SIZES))} {chosen}, {EPOCHS} epochs, {len(mnist.train)} images")
    results = []
    for seed in SEEDS:
        net, seconds = chosen.train(mnist.train.x, mnist.train.y, seed)
        error = 1 - net.score(mnist.test.x, mnist.test.y)
        rate = EPOCHS * len(mnist.train) / seconds
        print(f"seed {seed}   test error {error:.2%}   {seconds:5.1f} s   {rate:,.0f} samples/s", flush=True)
        results.append({**asdict(chosen), "seed": seed, "test_error": error, "seconds": seconds})
    errors = [result["test_error"] for result in results]
    slowest = max(result["seconds"] for result in results)
    print(
        f"mean     test error {statistics.mean(errors):.2%} +- {statistics.stdev(errors):.2%}   "
        f"at most {slowest:.1f} s"
    )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data-dir", type=pathlib.Path, help=f"default {DEFAULT_FOLDER} if there, else a download"
    )
    parser.add_argument("--json", type=pathlib.Path, help="write machine, settings and results here as well")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--search", action="store_true", help="choose the settings by validation error")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        _core.set_num_threads(arguments.threads)
    mnist = load(arguments.data_dir)
    print(f"deltarule {dr.__version__}, {_core.isa()}, {_core.num_threads()} threads")
    results = search(mnist) if arguments.search else measure(mnist)
    if arguments.json:
        facts = {
            **harness.facts(),
            "isa": _core.isa(),
            "threads": _core.num_threads(),
            "epochs": EPOCHS,
            "results": results,
        }
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
