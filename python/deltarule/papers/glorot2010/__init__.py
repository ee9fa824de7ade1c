"""Glorot & Bengio 2010: why deep nets were hard to train by descent from random weights, and the init that helps.

Cells   ``start-seedS``: nets of tanh before any step; ``saturation-D-seedS``: sigmoids, D hidden layers, figure 2;
        ``ACTIVATION-INIT-seedS``: the nets of table 1, which are watched while they train.
Differs from the paper: fewer updates, for table 1 with a rate that decays and pixels that are standardised by one mean
        and deviation. From pixels in [0,1] five layers of 200 sigmoids stayed at chance for 200,000 updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..experiment import Cell, Experiment
from .findings import report
from .measure import INITS, PIXELS, start, table_net, watch_saturation

ROWS = (
    ("softsign", "standard"), ("softsign", "normalised"),
    ("tanh", "standard"), ("tanh", "normalised"),
    ("sigmoid", "standard"),
)  # fmt: skip


def settings(quick: bool) -> dict[str, Any]:
    """The paper's nets; quick: narrower ones and fewer updates."""
    hidden = 200 if quick else 1000
    # Of 0.03, 0.1 and 0.3 those with the lowest validation error on MNIST after 20,000 updates of the quick nets.
    # Sigmoids leave the plateau at chance the sooner the higher the rate is; with 1000 units and 1.0 they never do.
    rates = {"softsign": 0.1, "tanh": 0.03, "sigmoid": 1.0 if quick else 0.4}
    return {
        "batch_size": 10,
        "examples": 300,  # of the test part, on which layers are watched
        "start": {"hidden": 1000, "depth": 5, "pixels": "unit", "jacobian_examples": 1 if quick else 2},
        "saturation": {
            "hidden": hidden,
            "depths": [4, 5],
            # With pixels in [0,1] four layers do not recover on the 1,198 digits in so many updates.
            "pixels": {"mnist": "unit", "digits": "standardised"},
            "rate": 0.3,
            "updates": 30_000 if quick else 60_000,
        },
        "table": {
            "hidden": hidden,
            "pixels": "standardised",
            "depth": 5,
            "rows": [list(row) for row in ROWS],
            "rates": rates,
            "updates": 30_000 if quick else 75_000,
            "last_rate": 0.1,  # of the first
        },
    }


def cells(settings: Mapping[str, Any], seeds: Sequence[int]) -> list[Cell]:
    """Seed by seed, so that an interrupted run has whole seeds."""
    check(settings)
    table, saturation = settings["table"], settings["saturation"]
    found = []
    for seed in seeds:
        found.append(Cell(f"start-seed{seed}", f"start, seed {seed}", partial(start, seed=seed), 20))
        for depth in saturation["depths"]:
            title = f"{depth} layers of sigmoids, seed {seed}"
            seconds = cost(saturation, depth)
            run = partial(watch_saturation, depth=depth, seed=seed)
            found.append(Cell(f"saturation-{depth}-seed{seed}", title, run, seconds))
        for activation, init in table["rows"]:
            title = f"{activation}, {init} init, seed {seed}"
            run = partial(table_net, activation=activation, init=init, seed=seed)
            found.append(Cell(f"{activation}-{init}-seed{seed}", title, run, cost(table, table["depth"])))
    return found


def check(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for what a cell or the report could not use."""
    first, saturation, table = (settings[name] for name in ("start", "saturation", "table"))

    def wanted(right: bool, name: str, value: Any, text: str) -> None:
        if not right:
            raise ValueError(f"glorot2010: {name} is {value!r}; wanted {text}")

    rates, choices = table["rates"], f"pairs of {', '.join(table['rates'])} and {', '.join(INITS)}"
    for row in table["rows"]:
        pair = isinstance(row, Sequence) and not isinstance(row, str) and len(row) == 2
        wanted(pair and row[0] in [*rates] and row[1] in [*INITS], "a row of table.rows", row, choices)
    wanted(all(rate > 0 for rate in rates.values()), "table.rates", rates, "numbers above 0")
    wanted(saturation["rate"] > 0, "saturation.rate", saturation["rate"], "a number above 0")
    wanted(
        0 < table["last_rate"] <= 1, "table.last_rate", table["last_rate"], "a share of the first, above 0"
    )
    pixels = {f"saturation.pixels.{name}": way for name, way in saturation["pixels"].items()}
    for name, way in {"start.pixels": first["pixels"], "table.pixels": table["pixels"], **pixels}.items():
        wanted(way in PIXELS, name, way, " or ".join(PIXELS))
    for name, part in (("start", first), ("table", table)):  # a claim compares layers 2 and up
        wanted(part["depth"] > 1, f"{name}.depth", part["depth"], "2 or more")


def cost(part: Mapping[str, Any], depth: int) -> float:
    """Seconds of a training on two cores, roughly: 0.1 ms an update, and 0.5 ns for each weight in it."""
    updates, hidden = int(part["updates"]), int(part["hidden"])
    weights = 784 * hidden + (depth - 1) * hidden**2
    return updates * (1e-4 + 0.5e-9 * weights)


EXPERIMENT = Experiment(
    name="glorot2010",
    title="Understanding the difficulty of training deep feedforward neural networks",
    reference="X. Glorot and Y. Bengio, AISTATS 2010, https://proceedings.mlr.press/v9/glorot10a.html",
    settings=settings,
    cells=cells,
    report=report,
)
