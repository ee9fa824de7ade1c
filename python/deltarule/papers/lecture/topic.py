"""A step of the lecture: what its cells do, and what is made of their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import nn
from ..experiment import Report, Result, Settings
from ..work import Work

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

# One look for all figures; the first class is blue, the second orange.
COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
GRID_POINTS = 201


@dataclass(frozen=True)
class Topic:
    """One idea with its experiment.

    Attributes
    ----------
    name, title : str
        Key of its cells and of its settings, and what is shown while it runs.
    settings : function of quick
    run : function of (work, settings of the topic, seed)
        One cell.
    report : function of (settings of the topic, results of the seeds in order)
    check : function of the topic's settings
        Raises ValueError for those that a cell or the report could not use.
    seeded : bool
        Whether chance has a part in it; else it runs once.
    seconds : float
        Of a cell on 2 cores.
    """

    name: str
    title: str
    settings: Callable[[bool], dict[str, Any]]
    run: Callable[[Work, Settings, int], Result]
    report: Callable[[Settings, Sequence[Result]], Report]
    check: Callable[[Settings], None] = lambda _: None
    seeded: bool = True
    seconds: float = 1.0


def check_rising(name: str, values: Sequence[float], least: int = 1) -> None:
    """Raise ValueError unless there are so many values, each above the one before."""
    if len(values) < least or any(b <= a for a, b in pairwise(values)):
        raise ValueError(f"lecture: {name} is {values}; wanted {least} or more, each above the one before")


class StopAtZero(nn.Callback):
    """End a training at the first epoch without an error."""

    def on_epoch_end(self, net: nn.Network, history: nn.History) -> bool:
        """True when there was none."""
        return bool(history.epochs[-1]["train_error"] == 0)


def plane(limit: float) -> tuple[Array, Array]:
    """Points of a square grid, [n*n,2], and its coordinates [n], from -limit to limit."""
    line = np.linspace(-limit, limit, GRID_POINTS)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype(np.float32), line


def draw_plane(axes: Axes, x: Array, y: Array, regions: Array, limit: float, title: str) -> None:
    """Points x[n,2] of the classes y[n] over the regions[g*g] in which a net says class 1."""
    from matplotlib.colors import ListedColormap

    _, line = plane(limit)
    size = len(line)
    image = np.asarray(regions, dtype=float).reshape(size, size)
    axes.imshow(
        image, origin="lower", extent=(-limit, limit, -limit, limit), cmap=ListedColormap(COLORS[:2]),
        vmin=0, vmax=1, alpha=0.25, interpolation="nearest", aspect="auto",
    )  # fmt: skip
    if 0 < image.mean() < 1:
        axes.contour(line, line, image, levels=[0.5], colors="0.2", linewidths=1)
    for label in (0, 1):
        axes.plot(*x[y == label].T, "o", color=COLORS[label], markersize=3.5 if len(x) > 10 else 8, mew=0)
    axes.set_title(title, fontsize=10)
    axes.set_box_aspect(1)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-limit, limit)
    axes.set_xticks([])
    axes.set_yticks([])


def standardized(net: nn.Network, x: Array) -> nn.Network:
    """The net with its inputs shifted and scaled by one mean and one deviation of x[n,d]."""
    from ... import data

    scaling = data.Standardizer.fit(x, kind="global")
    net.standardize(scaling.shift, scaling.scale)
    return net


def stacked(results: Sequence[Result], name: str) -> Array:
    """``results[i][name]`` of all seeds, [seeds, ...], as float64."""
    return np.array([result[name] for result in results], dtype=np.float64)
