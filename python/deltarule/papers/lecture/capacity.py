"""Capacity: with more hidden units the training error falls, the test error falls and rises again.

Two half moons, of which a part of the training labels is wrong; the test labels are right, so the best test error a
net can have is near 0, and what it learns of the wrong labels costs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import nn
from ..experiment import Claim, Report, Result, Settings, Table, spread
from ..work import Work
from .topic import COLORS, Array, Topic, check_rising, draw_plane, plane, stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 1.9
NOISE = 0.15


def settings(quick: bool) -> dict[str, Any]:
    """Widths, data sets a seed, samples in each, share of wrong labels, steps of Adam on all samples at once."""
    return {
        "widths": [1, 2, 4, 8, 16, 32, 64, 128, 256],
        "shown": [1, 4, 16, 256],
        "data_sets": 3,
        "samples": 100,
        "test_samples": 4000,
        "wrong_labels": 0.15,
        "rate": 0.02,
        "epochs": 3000,
    }


def check(settings: Settings) -> None:
    """Widths from few to many; those shown are among them."""
    check_rising("capacity.widths", settings["widths"], 2)
    if not set(settings["shown"]) <= set(settings["widths"]):
        raise ValueError(
            f"lecture: capacity.shown is {settings['shown']}; wanted some of the widths {settings['widths']}"
        )


def run(work: Work, settings: Settings, seed: int) -> Result:
    """Errors [sets, widths] in training and test, and the regions of some nets on the first set."""
    grid, _ = plane(LIMIT)
    train_errors, test_errors, regions = [], [], []
    for part in range(settings["data_sets"]):
        number = 1000 * seed + part
        x, y = moons(settings["samples"], settings["wrong_labels"], number)
        xt, yt = moons(settings["test_samples"], 0.0, number + 500)
        nets = [train(x, y, width, settings, number, work.device) for width in settings["widths"]]
        train_errors.append([1 - net.score(x, y) for net in nets])
        test_errors.append([1 - net.score(xt, yt) for net in nets])
        if part == 0:
            shown = [nets[settings["widths"].index(width)] for width in settings["shown"]]
            samples, labels, regions = x, y, [net.predict(grid) for net in shown]
    return {
        "train_errors": np.array(train_errors),
        "test_errors": np.array(test_errors),
        "x": samples,
        "y": labels,
        "regions": np.array(regions),
    }


def moons(samples: int, wrong_labels: float, seed: int) -> tuple[Array, Array]:
    """Points x[n,2] of two noisy half circles that interlock, and which one, wrong for a share of them."""
    random = np.random.default_rng(seed)
    y = np.arange(samples) % 2
    angle = random.uniform(0, np.pi, samples)
    x = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], axis=1) * np.where(y, -1, 1)[:, None]
    x = x + NOISE * random.standard_normal(x.shape)
    return x.astype(np.float32), np.where(random.random(samples) < wrong_labels, 1 - y, y)


def train(x: Array, y: Array, width: int, settings: Settings, seed: int, device: str) -> nn.Network:
    """A net 2-width-1, trained for as long as it takes to learn what it can."""
    net = nn.mlp([2, width, 1], "tanh", "binary_cross_entropy", device=device, seed=seed)
    epochs = settings["epochs"]
    net.fit(x, y, nn.Adam(settings["rate"]), epochs, batch_size=len(x), schedule=nn.Cosine(epochs))
    return net


def report(settings: Settings, results: Sequence[Result]) -> Report:
    """Errors over the width, means over all data sets of all seeds."""
    widths = settings["widths"]
    train_errors = 100 * np.concatenate(stacked(results, "train_errors"))
    test_errors = 100 * np.concatenate(stacked(results, "test_errors"))
    train_mean, test_mean = train_errors.mean(axis=0), test_errors.mean(axis=0)
    rows = [
        [width, train_mean[i], spread(train_errors[:, i]), test_mean[i], spread(test_errors[:, i])]
        for i, width in enumerate(widths)
    ]
    best = int(test_mean.argmin())
    claims = [
        Claim(
            "training error: lower with more hidden units",
            bool(train_mean[-1] < train_mean[best] < train_mean[0]),
            f"{train_mean[0]:.1f} % with {widths[0]}, {train_mean[best]:.1f} % with {widths[best]}, "
            f"{train_mean[-1]:.1f} % with {widths[-1]}",
        ),
        Claim(
            "test error: lowest in between, higher with too few units and with too many",
            bool(test_mean[best] < min(test_mean[0], test_mean[-1]) - 1),
            f"{test_mean[0]:.1f} % with {widths[0]}, {test_mean[best]:.1f} % with {widths[best]}, "
            f"{test_mean[-1]:.1f} % with {widths[-1]}",
        ),
    ]
    table = Table(
        f"Two moons, {100 * settings['wrong_labels']:.0f} % of {settings['samples']} training labels wrong: "
        f"errors (%) over the width, {len(test_errors)} data sets",
        ["hidden units", "training", "spread", "test", "spread "],
        rows,
    )
    errors = {"training": train_errors, "test": test_errors}
    return Report([table], claims, {"capacity": lambda: draw(settings, results[0], errors)})


def draw(settings: Settings, result: Result, errors: dict[str, Array]) -> Figure:
    """Boundaries of some widths, and both errors over all of them, with the error of their means."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 2.75), layout="constrained")
    count = len(settings["shown"])
    panels = figure.subplots(1, count + 1, width_ratios=[1] * count + [1.35])
    for panel, width, regions in zip(panels, settings["shown"], result["regions"], strict=False):
        title = f"{width} hidden unit{'s' if width > 1 else ''}"
        draw_plane(panel, result["x"], result["y"], regions, LIMIT, title)
    for (name, values), color in zip(errors.items(), COLORS, strict=False):
        centre = values.mean(axis=0)
        panels[-1].plot(settings["widths"], centre, "o-", color=color, label=name, markersize=4)
        if len(values) > 1:  # one data set has no spread
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            panels[-1].fill_between(
                settings["widths"], centre - error, centre + error, color=color, alpha=0.2, lw=0
            )
    panels[-1].set(xscale="log", xlabel="hidden units", ylabel="error (%)", ylim=(0, None))
    panels[-1].set_xscale("log", base=2)
    panels[-1].grid(alpha=0.3)
    panels[-1].legend()
    return figure


TOPIC = Topic("capacity", "hidden units and overfitting", settings, run, report, check, seconds=5)
