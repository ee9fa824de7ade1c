"""The paper's figures, drawn from the results of the cells; colours go from the lowest layer to the highest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..experiment import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INITS = ("standard", "normalised")


def saturation(results: Mapping[int, Result]) -> Figure:
    """Figure 2, for several depths: mean and deviation of every layer's sigmoids over the updates."""
    figure, panels = _panels(1, len(results), (5.5, 4))
    for axes, (depth, result) in zip(panels, results.items(), strict=True):
        for layer, color in _layers(depth):
            mean, deviation = result["mean"][:, layer], result["deviation"][:, layer]
            label = f"layer {layer + 1}" if layer < depth - 1 else "top layer"
            axes.plot(result["updates"], mean, color=color, marker="o", markersize=3, label=label)
            axes.fill_between(result["updates"], mean - deviation, mean + deviation, color=color, alpha=0.15)
        axes.set_title(f"sigmoids, {depth} hidden layers")
        axes.set_ylim(0, 1)
        _label(axes, "updates", "activation, mean and deviation")
    return figure


def distribution(results: Mapping[str, Result]) -> Figure:
    """Figure 3: 98th percentile (markers) and deviation (lines) of every layer's activations over the updates."""
    figure, panels = _panels(len(results), 1, (7, 3.2))
    for axes, (name, result) in zip(panels, results.items(), strict=True):
        for layer, color in _layers(result["deviation"].shape[1]):
            axes.plot(result["updates"], result["percentile"][:, layer], "x", color=color)
            label = f"layer {layer + 1}"
            axes.plot(result["updates"], result["deviation"][:, layer], color=color, marker=".", label=label)
        axes.set_title(f"{name}: 98th percentile (crosses), deviation (lines)")
        axes.set_ylim(0, 1.02)
        _label(axes, "updates", "activation")
    return figure


def histograms(result: Result, kind: str, what: str) -> Figure:
    """Figures 6, 7 and 8: densities by layer, by the standard init above and the normalised one below."""
    figure, panels = _panels(2, 1, (7, 3.2))
    for axes, init in zip(panels, INITS, strict=True):
        densities, edges = result[f"{kind}.{init}"], result[f"{kind}.{init}.edges"]
        centres = (edges[:-1] + edges[1:]) / 2
        for layer, color in _layers(len(densities)):
            axes.plot(centres, densities[layer], color=color, label=f"layer {layer + 1}")
        axes.set_title(f"{init} init")
        axes.set_xlim(edges[0], edges[-1])
        # A layer of very small values would leave the others flat.
        axes.set_ylim(0, 2.2 * float(np.median(densities.max(axis=1))))
        _label(axes, what, "density")
    return figure


def weight_gradients(results: Mapping[str, Result]) -> Figure:
    """Figure 9: deviation of every layer's weight gradients over the updates, by init."""
    figure, panels = _panels(len(results), 1, (7, 3.2))
    limits = [result["gradient"] for result in results.values()]
    low, high = min(float(g[g > 0].min()) for g in limits), max(float(g.max()) for g in limits)
    for axes, (init, result) in zip(panels, results.items(), strict=True):
        for layer, color in _layers(result["gradient"].shape[1]):
            gradient = result["gradient"][:, layer]
            axes.semilogy(result["updates"], gradient, color=color, marker=".", label=f"layer {layer + 1}")
        axes.set_title(f"tanh, {init} init")
        axes.set_ylim(low / 1.5, high * 1.5)
        _label(axes, "updates", "deviation of weight gradients")
    return figure


def learning(results: Mapping[str, Result]) -> Figure:
    """Validation error of the nets of table 1 over the updates."""
    figure, panels = _panels(1, 1, (7, 4.5))
    for name, result in results.items():
        axes, errors = panels[0], 100 * np.asarray(result["validation_error"], np.float64)
        axes.semilogy(result["updates"][1:], errors, marker=".", label=name)
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    panels[0].set_yticks([t for t in (1, 2, 3, 5, 10, 20, 50, 100) if t >= panels[0].get_ylim()[0]])
    _label(panels[0], "updates", "validation error (%)")
    return figure


def _panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _layers(count: int) -> list[tuple[int, Any]]:
    """Layers with their colours."""
    import matplotlib

    colors = matplotlib.colormaps["viridis"]
    return [(layer, colors(0.9 * layer / max(1, count - 1))) for layer in range(count)]


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
