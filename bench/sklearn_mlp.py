"""`deltarule.sklearn.MLPClassifier.fit` beside scikit-learn's own, at the same settings: time of a fit.

    python bench/sklearn_mlp.py [--threads 1,2] [--json FILE]

Adam at scikit-learn's defaults (batches of 200, shuffled), 10 epochs of the digits and one of 10,000 random images, and
an epoch of plain SGD on single digits, in float32 and float64. Before anything is timed the two are trained on the
digits with three seeds: their mean accuracies on samples they have not seen must be within 2 %.
"""

from __future__ import annotations

import argparse
import functools
import warnings
from collections.abc import Iterator
from typing import Any

import harness
import numpy as np
from harness import Case, clock

ONLINE = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0, "batch_size": 1, "max_iter": 1}
SHAPES: tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...] = (
    ("digits", (100,), {"max_iter": 10, "n_iter_no_change": 1000}),
    ("digits", (100,), ONLINE),
    ("images", (300, 100), {"max_iter": 1}),
)


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x / 16, y


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((count, 784)), rng.integers(0, 10, count)


def accuracies(kinds: dict[str, Any]) -> dict[str, float]:
    """Mean of three seeds, 1,200 digits to learn and 597 to be asked about."""
    x, y = digits()
    found = {}
    for name, kind in kinds.items():
        fits = [kind((100,), max_iter=60, random_state=seed).fit(x[:1200], y[:1200]) for seed in range(3)]
        found[name] = float(np.mean([fit.score(x[1200:], y[1200:]) for fit in fits]))
    if max(found.values()) - min(found.values()) > 0.02:
        raise AssertionError(f"accuracies on the digits differ: {found}")
    return found


def fit(kind: Any, hidden: tuple[int, ...], settings: dict[str, Any], x: np.ndarray, y: np.ndarray) -> None:
    kind(hidden, random_state=0, **settings).fit(x, y)


def cases(options: argparse.Namespace) -> Iterator[Case]:
    import sklearn.neural_network
    from deltarule.sklearn import MLPClassifier

    warnings.simplefilter("ignore")  # every fit ends at max_iter
    kinds = {"": MLPClassifier}
    if "sklearn" in options.peers:
        kinds["sklearn"] = sklearn.neural_network.MLPClassifier
    accuracy = accuracies(kinds)
    sets = {"digits": digits(), "images": images(500 if options.quick else 10_000)}
    for data, hidden, settings in SHAPES[:1] if options.quick else SHAPES:
        epochs = settings["max_iter"]
        how = f"{'online' if settings is ONLINE else 'adam b200'}, {epochs} epoch{'s' * (epochs > 1)}"
        for dtype in (np.float32, np.float64):
            x, y = sets[data][0].astype(dtype), sets[data][1]
            fits = {
                name: clock(functools.partial(fit, kind, hidden, settings, x, y))
                for name, kind in kinds.items()
            }
            sizes = "-".join(map(str, (x.shape[1], *hidden, 10)))
            name = f"{sizes} {how} of {len(x)}, {np.dtype(dtype)}"
            yield Case("sklearn fit", name, fits.pop(""), fits, facts={"accuracy": accuracy, "data": data})


if __name__ == "__main__":
    harness.main(__doc__, cases)
