"""One unit: what the perceptron rule learns, and what no line can separate.

Refs: Rosenblatt 1958; Novikoff 1962 (at most (R / margin)^2 mistakes); Minsky & Papert 1969 (XOR).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import nn
from ..experiment import Claim, Report, Result, Settings, Table, mean, spread
from ..work import Work
from .topic import COLORS, Array, StopAtZero, Topic, check_rising, draw_plane, plane, stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIMIT = 1.6
CORNERS = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)
XOR = np.array([0, 1, 1, 0])


def settings(quick: bool) -> dict[str, Any]:
    """Sizes; the points are as many in a quick run, which has fewer initial weights to try."""
    return {
        "points": 200,
        "margin": 0.1,
        "most_epochs": 500,
        "xor_epochs": 100,
        "hidden": [1, 2, 4, 8],
        "starts": 5 if quick else 20,
        "hidden_epochs": 20,
    }


def check(settings: Settings) -> None:
    """The last number of hidden units is the widest."""
    check_rising("perceptron.hidden", settings["hidden"])


def run(work: Work, settings: Settings, seed: int) -> Result:
    """A perceptron on separable points and on XOR; hidden layers on XOR."""
    x, y, margin = separable(settings["points"], settings["margin"], seed)
    line, line_errors = perceptron(x, y, settings["most_epochs"], seed, work.device, stop=True)
    failed, xor_errors = perceptron(CORNERS, XOR, settings["xor_epochs"], seed, work.device, stop=False)
    grid, _ = plane(LIMIT)
    solved, wide = {}, None
    for units in settings["hidden"]:
        nets = [hidden(units, settings, seed, start, work.device) for start in range(settings["starts"])]
        solved[str(units)] = mean(net.score(CORNERS, XOR) == 1 for net in nets)
        wide = nets[0]
    assert wide is not None
    radius = np.sqrt((x.astype(np.float64) ** 2).sum(axis=1) + 1).max()
    return {
        "x": x,
        "y": y,
        "mistakes": np.array([len(x) * error for error in line_errors]),
        "bound": float((radius / margin) ** 2),
        "separable_error": 1 - line.score(x, y),
        "xor_errors": np.array(xor_errors),
        "solved": solved,
        "line": line.predict(grid),
        "xor_line": failed.predict(grid),
        "xor_hidden": wide.predict(grid),
    }


def separable(points: int, margin: float, seed: int) -> tuple[Array, Array, float]:
    """Points x[n,2] on both sides of a random line, none nearer to it than ``margin``; labels; their margin.

    The margin is that of x with a 1 for the bias, to the plane that drew the line: the best plane's is as large
    or larger.
    """
    random = np.random.default_rng(seed)
    angle, offset = random.uniform(0, 2 * np.pi), random.uniform(-0.3, 0.3)
    normal = np.array([np.cos(angle), np.sin(angle)])
    x = random.uniform(-1.5, 1.5, (20 * points, 2)).astype(np.float32)
    distance = x @ normal - offset
    x, distance = x[abs(distance) > margin][:points], distance[abs(distance) > margin][:points]
    return x, (distance > 0).astype(np.int64), float(abs(distance).min() / np.sqrt(1 + offset**2))


def perceptron(
    x: Array, y: Array, epochs: int, seed: int, device: str, stop: bool
) -> tuple[nn.Network, list[float]]:
    """A threshold unit trained by w += (t - y) x, sample by sample, from w = 0; its share of mistakes an epoch.

    The engine takes a threshold's derivative as 1, so that gradient descent on the squared error is this rule.
    """
    net = nn.Network(
        [nn.Dense(1, "threshold")], x.shape[1], "squared_error", nn.init.Zeros(), device, seed=seed
    )
    callbacks = [StopAtZero()] if stop else []
    history = net.fit(x, y, nn.SGD(1.0), epochs, batch_size=1, validation=(x, y), callbacks=callbacks)
    return net, history["train_error" if stop else "validation_error"]


def hidden(units: int, settings: Settings, seed: int, start: int, device: str) -> nn.Network:
    """A net 2-units-1 of tanh trained on XOR by plain gradient descent."""
    # Starts of different seeds must differ, and so the first numbers are kept apart.
    net = nn.mlp([2, units, 1], "tanh", "binary_cross_entropy", device=device, seed=1000 * seed + start)
    x, y = np.tile(CORNERS, (50, 1)), np.tile(XOR, 50)
    net.fit(x, y, nn.SGD(0.5), settings["hidden_epochs"], batch_size=4)
    return net


def report(settings: Settings, results: Sequence[Result]) -> Report:
    """Mistakes against Novikoff's bound, the floor of XOR, and the share of nets that solve it."""
    totals = [float(result["mistakes"].sum()) for result in results]
    bounds = stacked(results, "bound")
    floors = [float(np.min(result["xor_errors"])) for result in results]
    separated = all(result["separable_error"] == 0 for result in results)
    shares = {units: [result["solved"][str(units)] for result in results] for units in settings["hidden"]}
    widest, narrowest = max(shares), min(shares)
    rows = [
        [f"tanh, {units} hidden unit{'s' if units > 1 else ''}", mean(share), spread(share)]
        for units, share in shares.items()
    ]
    claims = [
        Claim(
            "the perceptron rule ends without error on separable points, after at most (R/margin)^2 mistakes",
            separated and all(total <= bound for total, bound in zip(totals, bounds, strict=True)),
            f"{max(totals):.0f} mistakes at most, bound {min(bounds):.0f} at least",
        ),
        Claim(
            "no perceptron gets XOR right: one of four points is wrong at least",
            min(floors) >= 0.25,
            f"lowest error at the end of an epoch {100 * min(floors):.0f} %",
        ),
        Claim(
            f"one hidden tanh unit does not solve it, {widest} do",
            max(shares[narrowest]) == 0 and min(shares[widest]) == 1,
            f"{100 * mean(shares[narrowest]):.0f} and {100 * mean(shares[widest]):.0f} % of the nets",
        ),
    ]
    table = Table("XOR: share of nets that get all four points right", ["net", "share", "spread"], rows)
    return Report([table], claims, {"perceptron": lambda: draw(settings, results[0])})


def draw(settings: Settings, result: Result) -> Figure:
    """Three planes and the mistakes over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.1), layout="constrained")
    panels = figure.subplots(1, 4)
    draw_plane(panels[0], result["x"], result["y"], result["line"], LIMIT, "separable: perceptron")
    draw_plane(panels[1], CORNERS, XOR, result["xor_line"], LIMIT, "XOR: perceptron")
    widest = max(settings["hidden"])
    draw_plane(panels[2], CORNERS, XOR, result["xor_hidden"], LIMIT, f"XOR: {widest} hidden tanh units")
    curves = (("separable", result["mistakes"] / len(result["x"])), ("XOR", result["xor_errors"]))
    for (name, errors), color in zip(curves, COLORS[2:], strict=False):
        epochs = np.arange(1, len(errors) + 1)
        panels[3].plot(epochs, 100 * errors, ".-", color=color, label=name, markersize=4, linewidth=1)
    panels[3].set(xlabel="epoch", ylabel="error of the perceptron (%)", xscale="log", ylim=(-3, 103))
    panels[3].grid(alpha=0.3)
    panels[3].legend()
    return figure


TOPIC = Topic("perceptron", "the perceptron and XOR", settings, run, report, check, seconds=2)
