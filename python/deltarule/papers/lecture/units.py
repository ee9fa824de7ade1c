"""Units: sigmoid, tanh, ReLU and radial basis, with their derivatives, as the engine computes them.

A Gaussian unit answers to what is near a point (of its own line, here), the others to one side of one. That one of
them suffices for XOR: exp(-(a + b)^2) tells equal from unequal signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _core
from ..experiment import Claim, Report, Result, Settings, Table
from ..work import Work
from .perceptron import CORNERS, XOR
from .topic import COLORS, Array, Topic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU", "gaussian": "radial basis"}


def settings(quick: bool) -> dict[str, Any]:
    """Where the functions are looked at."""
    return {"limit": 6.0, "points": 1201}


def run(work: Work, settings: Settings, seed: int) -> Result:
    """f and f' of every unit at points z[n]; the best threshold of one Gaussian unit on XOR."""
    z = np.linspace(-settings["limit"], settings["limit"], settings["points"]).astype(np.float32)
    result: dict[str, Any] = {"z": z}
    for kind in KINDS:
        result[kind] = np.asarray(_core.activate(z, kind))
        result[f"{kind}_slope"] = np.asarray(_core.activate_grad(np.ones_like(z), z, kind))
    result["xor"] = np.asarray(_core.activate(CORNERS.sum(axis=1), "gaussian"))
    return result


def report(settings: Settings, results: Sequence[Result]) -> Report:
    """Range, steepest slope and the share of inputs with hardly any slope."""
    result = results[0]
    z = result["z"].astype(np.float64)
    rows: list[list[Any]] = []
    for kind, name in KINDS.items():
        value, slope = result[kind], result[f"{kind}_slope"]
        flat = abs(slope) < 0.01
        rows.append(
            [name, float(value.min()), float(value.max()), float(abs(slope).max()), 100 * float(flat.mean())]
        )
    error = max(_slope_error(z, result[kind], result[f"{kind}_slope"]) for kind in KINDS)
    far = abs(z) > 4
    gaussian, relu = result["gaussian"], result["relu_slope"]
    claims = [
        Claim(
            "the slope of a sigmoid is 1/4 at most, of tanh 1; both vanish where the unit saturates",
            bool(
                abs(result["sigmoid_slope"].max() - 0.25) < 1e-6
                and abs(result["tanh_slope"].max() - 1) < 1e-6
                and result["sigmoid_slope"][far].max() < 0.02
                and result["tanh_slope"][far].max() < 0.002
            ),
            f"{result['sigmoid_slope'].max():.3f} and {result['tanh_slope'].max():.3f}; beyond |z| = 4 below "
            f"{result['sigmoid_slope'][far].max():.3f} and {result['tanh_slope'][far].max():.4f}",
        ),
        Claim(
            "a ReLU has slope 1 for every positive input, 0 for every negative one",
            bool((relu[z > 0] == 1).all() and (relu[z < 0] == 0).all()),
            f"slopes {', '.join(f'{v:g}' for v in np.unique(relu))}",
        ),
        Claim(
            "a radial basis unit answers to a neighbourhood only, and one of them solves XOR",
            bool(
                gaussian[far].max() < 1e-6 and result["xor"][XOR == 1].min() > result["xor"][XOR == 0].max()
            ),
            f"beyond |z| = 4 below {gaussian[far].max():.0e}; XOR: {result['xor'][XOR == 1].min():.2f} against "
            f"{result['xor'][XOR == 0].max():.2f}",
        ),
        Claim(
            "the slopes are those of the functions", error < 1e-4, f"differences of f agree to {error:.0e}"
        ),
    ]
    limit = settings["limit"]
    table = Table(
        f"Units on inputs z from {-limit:g} to {limit:g}",
        ["unit", "lowest", "highest", "steepest slope", "slope below 0.01 (% of inputs)"],
        rows,
    )
    return Report([table], claims, {"units": lambda: draw(result)})


def _slope_error(z: Array, value: Array, slope: Array) -> float:
    """Largest difference of the slope from the mean slope on both sides, away from the kink at 0.

    Over a step 2h of a smooth f that differs by h^2 / 6 f''' at most, here 2e-5, and by the rounding of f.
    """
    step = 10  # grid points: rounding would drown the difference of neighbours
    wide = (value[2 * step :].astype(np.float64) - value[: -2 * step]) / (z[2 * step :] - z[: -2 * step])
    middle = slice(step, -step)
    away = abs(z[middle]) > 0.2
    correction = (z[2 * step] - z[0]) ** 2 / 24
    third = np.gradient(np.gradient(slope.astype(np.float64), z), z)[middle]
    return float(abs(wide - slope[middle] - correction * third)[away].max())


def draw(result: Result) -> Figure:
    """Each unit with its slope."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.6), layout="constrained")
    panels = figure.subplots(1, len(KINDS), sharex=True)
    for panel, (kind, name) in zip(panels, KINDS.items(), strict=True):
        panel.plot(result["z"], result[kind], color=COLORS[0], label="f(z)")
        panel.plot(result["z"], result[f"{kind}_slope"], color=COLORS[1], label="f'(z)")
        panel.set(title=name, xlabel="z", xlim=(-5, 5), ylim=(-1.15, 2.05 if kind == "relu" else 1.15))
        panel.grid(alpha=0.3)
    panels[0].legend(loc="lower right")
    return figure


TOPIC = Topic("units", "units and their slopes", settings, run, report, seeded=False, seconds=0.1)
