"""The cost decides how fast a saturated unit learns.

A sigmoid unit a = s(w x + b) with the target 0 for x = 1. Quadratic cost: dC/dz = a s'(z) = a^2 (1 - a), which is
small where a is wrong and near 1; cross-entropy: dC/dz = a, largest there.
Ref: Nielsen, Neural Networks and Deep Learning, 2015, chapter 3, from where the two starts and the rate are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import nn
from ...data import Samples
from ..experiment import Claim, Report, Result, Settings, Table
from ..work import Work
from .topic import COLORS, Array, Topic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSTS = {"squared_error": "quadratic", "binary_cross_entropy": "cross-entropy"}
LEARNT = 0.1


def settings(quick: bool) -> dict[str, Any]:
    """Weight and bias at the start, learning rate, steps."""
    return {"starts": {"mild": [0.6, 0.9], "saturated": [2.0, 2.0]}, "rate": 0.15, "steps": 1000}


def check(settings: Settings) -> None:
    """A start is a weight and a bias."""
    for name, start in settings["starts"].items():
        if len(start) != 2:
            raise ValueError(f"lecture: saturation.starts.{name} is {start}; wanted a weight and a bias")


def run(work: Work, settings: Settings, seed: int) -> Result:
    """The output of the unit before every step, and its first gradient, for both costs and both starts."""
    result: dict[str, Any] = {}
    for cost in COSTS:
        for start, (weight, bias) in settings["starts"].items():
            name = f"{start}_{cost}"
            result[name], result[f"{name}_gradient"] = train(
                cost, weight, bias, settings["rate"], settings["steps"], work.device
            )
    return result


def train(cost: str, weight: float, bias: float, rate: float, steps: int, device: str) -> tuple[Array, float]:
    """Outputs [steps + 1] of the unit in training, and dC/dw at the start."""
    # The cross-entropy's sigmoid is part of the loss.
    activation = "sigmoid" if cost == "squared_error" else "linear"
    net = nn.Network([nn.Dense(1, activation)], 1, cost, device=device)
    net.parameters[0][...] = weight
    net.parameters[1][...] = bias
    sample = Samples(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    gradient = float(np.asarray(net.engine.gradients(sample.x, sample.y)[1][0].to("cpu"))[0, 0])
    outputs = []
    for step in range(steps + 1):
        output = net.forward if cost == "squared_error" else net.predict_proba
        outputs.append(float(output(sample.x).ravel()[-1]))
        if step < steps:
            net.train_step(sample.x, sample.y, nn.SGD(rate))
    return np.array(outputs), gradient


def steps_until(outputs: Array, level: float = LEARNT) -> int | None:
    """Steps until the output is below ``level``; None if it never is."""
    below = np.flatnonzero(outputs < level)
    return int(below[0]) if len(below) else None


def report(settings: Settings, results: Sequence[Result]) -> Report:
    """First gradients and times to learn."""
    result = results[0]
    rows = []
    for start in settings["starts"]:
        for cost, name in COSTS.items():
            outputs = result[f"{start}_{cost}"]
            rows.append(
                [start, name, float(outputs[0]), result[f"{start}_{cost}_gradient"], steps_until(outputs)]
            )
    quadratic, entropy = (result[f"saturated_{cost}"] for cost in COSTS)
    slow, fast = steps_until(quadratic), steps_until(entropy)
    # What has not come within the steps comes after one more at least.
    apart = fast is not None and (settings["steps"] + 1 if slow is None else slow) >= max(1, 2 * fast)
    gradients = {
        name: result[f"{name}_gradient"] for name in (f"{s}_{c}" for s in settings["starts"] for c in COSTS)
    }
    claims = [
        Claim(
            "with the quadratic cost a unit that is more wrong learns more slowly at first, with cross-entropy faster",
            gradients["saturated_squared_error"] < gradients["mild_squared_error"]
            and gradients["saturated_binary_cross_entropy"] > gradients["mild_binary_cross_entropy"],
            f"dC/dw quadratic {gradients['mild_squared_error']:.3f} mild, "
            f"{gradients['saturated_squared_error']:.3f} saturated; cross-entropy "
            f"{gradients['mild_binary_cross_entropy']:.3f} and {gradients['saturated_binary_cross_entropy']:.3f}",
        ),
        Claim(
            "a saturated unit learns several times as fast with cross-entropy",
            apart,
            f"output below {LEARNT} {_when(fast, settings)}, with the quadratic cost {_when(slow, settings)}",
        ),
    ]
    table = Table(
        f"A sigmoid unit with target 0 (learning rate {settings['rate']})",
        ["start", "cost", "output", "dC/dw", f"steps to an output below {LEARNT}"],
        rows,
    )
    return Report([table], claims, {"saturation": lambda: draw(settings, result)})


def _when(steps: int | None, settings: Settings) -> str:
    return f"not within {settings['steps']} steps" if steps is None else f"after {steps} steps"


def draw(settings: Settings, result: Result) -> Figure:
    """Outputs over the steps, a panel for each start; the gradient against the output."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), layout="constrained")
    panels = figure.subplots(1, len(settings["starts"]) + 1)
    for panel, (start, (weight, bias)) in zip(panels, settings["starts"].items(), strict=False):
        for (cost, name), color in zip(COSTS.items(), COLORS, strict=False):
            panel.plot(result[f"{start}_{cost}"], color=color, label=name)
        panel.set(title=f"{start} start: w = {weight}, b = {bias}", xlabel="step", ylim=(0, 1.02))
    panels[0].set_ylabel("output (target 0)")
    output = np.linspace(0, 1, 201)
    for values, (_, name), color in zip(
        (output**2 * (1 - output), output), COSTS.items(), COLORS, strict=False
    ):
        panels[-1].plot(output, values, color=color, label=name)
    panels[-1].set(title="gradient by the input of the unit", xlabel="output (target 0)", ylabel="dC/dz")
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[0].legend()
    return figure


TOPIC = Topic(
    "saturation", "cost and saturated units", settings, run, report, check, seeded=False, seconds=0.2
)
