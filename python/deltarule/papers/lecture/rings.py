"""Representation: two rings that no line separates in Cartesian coordinates, and every line does in polar ones.

A line that leaves the inner ring (radius 1) on one side cuts at most arccos(1 / 2) / pi of the outer ring (radius 2)
off, so a linear net errs on a third of the samples at least; noise in the radius changes that by little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import nn
from ..experiment import Claim, Report, Result, Settings, Table, mean, spread
from ..work import Work
from .topic import COLORS, Array, Topic, draw_plane, plane, stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 2.6
RADII, NOISE = (1.0, 2.0), 0.1


def settings(quick: bool) -> dict[str, Any]:
    """Samples in training and test, epochs."""
    return {"samples": 400, "test_samples": 2000, "hidden": 16, "epochs": 30 if quick else 60}


def run(work: Work, settings: Settings, seed: int) -> Result:
    """A linear net on both coordinates, and a hidden layer that finds its own."""
    x, y = rings(settings["samples"], seed)
    xt, yt = rings(settings["test_samples"], seed + 10_000)
    grid, _ = plane(LIMIT)
    result: dict[str, Any] = {"x": x, "y": y, "polar_x": polar(x)}
    for name, hidden, transform in (
        ("cartesian", [], np.asarray), ("polar", [], polar), ("hidden", [settings["hidden"]], np.asarray),
    ):  # fmt: skip
        net = nn.mlp([2, *hidden, 1], "tanh", "binary_cross_entropy", device=work.device, seed=seed)
        net.fit(transform(x), y, nn.Adam(0.03), settings["epochs"], batch_size=20)
        result[f"{name}_error"] = 1 - net.score(transform(xt), yt)
        result[f"{name}_regions"] = net.predict(transform(grid))
    return result


def rings(samples: int, seed: int) -> tuple[Array, Array]:
    """Points x[n,2] of two noisy rings around 0, and which of them."""
    random = np.random.default_rng(seed)
    y = np.arange(samples) % 2
    radius = np.array(RADII)[y] + NOISE * random.standard_normal(samples)
    angle = random.uniform(-np.pi, np.pi, samples)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), y


def polar(x: Array) -> Array:
    """x[n,2] -> radius and angle, [n,2]."""
    return np.stack([np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])], axis=1).astype(x.dtype)


def report(settings: Settings, results: Sequence[Result]) -> Report:
    """The three test errors."""
    kinds = {
        "cartesian": "linear, Cartesian coordinates",
        "polar": "linear, polar coordinates",
        "hidden": f"{settings['hidden']} hidden tanh units, Cartesian coordinates",
    }
    errors = {kind: stacked(results, f"{kind}_error") for kind in kinds}
    rows = [[kinds[kind], 100 * mean(e), spread(100 * e)] for kind, e in errors.items()]
    floor = errors["cartesian"].min()
    claims = [
        Claim(
            "two rings: a linear net errs on about a third or more in Cartesian coordinates, on none in polar ones",
            bool(floor > 0.3 and errors["polar"].max() < 0.01),
            f"{100 * floor:.1f} % at least, {100 * errors['polar'].max():.1f} % at most",
        ),
        Claim(
            "a hidden layer finds a representation of its own",
            bool(errors["hidden"].max() < 0.01),
            f"{100 * errors['hidden'].max():.1f} % at most",
        ),
    ]
    table = Table("Two rings: test error (%)", ["net", "error", "spread"], rows)
    return Report([table], claims, {"rings": lambda: draw(settings, results[0])})


def draw(settings: Settings, result: Result) -> Figure:
    """The samples in both coordinates, over the regions of the three nets."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.1), layout="constrained")
    panels = figure.subplots(1, 4)
    x, y = result["x"], result["y"]
    titles = {
        "cartesian": "linear in (x, y)",
        "polar": "linear in (radius, angle)",
        "hidden": f"{settings['hidden']} hidden units in (x, y)",
    }
    for panel, (kind, title) in zip(panels, titles.items(), strict=False):
        error = f"{100 * result[f'{kind}_error']:.1f} %"
        draw_plane(panel, x, y, result[f"{kind}_regions"], LIMIT, f"{title}: {error}")
    for label in (0, 1):
        panels[3].plot(*result["polar_x"][y == label].T, "o", color=COLORS[label], markersize=3.5, mew=0)
    panels[3].set(
        xlabel="radius", ylabel="angle", title="the same points in polar coordinates", xlim=(0, LIMIT)
    )
    panels[3].title.set_fontsize(10)
    return figure


TOPIC = Topic("rings", "two rings, two coordinate systems", settings, run, report, seconds=1)
