"""The paper's five nets with its numbers, how one is built, and what trains and deforms by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ... import nn
from ...data import augment
from ...nn.schedules import Schedule
from ..experiment import Settings
from ..work import Work

# Hidden layers; then the paper's test error at best validation and its best (%), hours on its GPU, millions of weights.
NETS: dict[int, tuple[int, ...]] = {
    1: (1000, 500),
    2: (1500, 1000, 500),
    3: (2000, 1500, 1000, 500),
    4: (2500, 2000, 1500, 1000, 500),
    5: (1000,) * 9,
}
PAPER = {
    1: (0.49, 0.44, 23.4, 1.34),
    2: (0.46, 0.40, 44.2, 3.26),
    3: (0.41, 0.39, 66.7, 6.69),
    4: (0.35, 0.32, 114.5, 12.11),
    5: (0.44, 0.43, 107.7, 8.86),
}
PAPER_SIDE = 29  # of its images, which sigma and alpha are for
LOSSES = ("softmax_cross_entropy", "squared_error")
OPTIMIZERS: dict[str, type[nn.Optimizer]] = {"sgd": nn.SGD, "momentum": nn.Momentum, "adam": nn.Adam}
# Of the last rate, in units of the first, and the number of epochs.
SCHEDULES: dict[str, Callable[[float, int], Schedule]] = {
    "exponential": lambda end, epochs: nn.Exponential(end ** (1 / epochs)),  # the paper's
    "cosine": lambda end, epochs: nn.Cosine(epochs, end),
}


def check(settings: Settings) -> None:
    """Raise ValueError for nets, rates and names that there are not."""
    wrong = [net for net in settings["nets"] if net not in NETS]
    if wrong:
        raise ValueError(f"ciresan2010: nets are {settings['nets']}; choices: {', '.join(map(str, NETS))}")
    if not 0 < settings["last_rate"] <= settings["rate"]:
        raise ValueError(
            f"ciresan2010: rate is {settings['rate']}, last_rate {settings['last_rate']}; "
            "wanted both above 0, the last one not above the first"
        )
    for name, choices in (("schedule", SCHEDULES), ("loss", LOSSES), ("optimizer", OPTIMIZERS)):
        if settings[name] not in choices:
            raise ValueError(f"ciresan2010: {name} is {settings[name]!r}; choices: {', '.join(choices)}")


def build(settings: Settings, work: Work, net: int, inputs: int, white: float, seed: int) -> nn.Network:
    """Net number ``net``; pixels 0 to ``white`` come in as -1 to 1."""
    output = "linear" if settings["loss"] == "softmax_cross_entropy" else "scaled_tanh"
    layers = [*(nn.Dense(units, "scaled_tanh") for units in NETS[net]), nn.Dense(10, output)]
    init = nn.init.Uniform(settings["init"])
    made = nn.Network(layers, inputs, settings["loss"], init, work.device, work.precision, seed=seed)
    half = np.full(inputs, white / 2)
    made.standardize(half, 1 / half)
    return made


def deformation(settings: Settings, side: int) -> augment.Compose:
    """The settings' deformation, sigma and alpha in proportion to the images' side."""
    part = side / PAPER_SIDE
    per_class = {int(label): factor for label, factor in settings["angle_factor"].items()}
    affine = augment.Affine(settings["rotation"], settings["shear"], settings["scale"], per_class)
    return affine + augment.Elastic(settings["sigma"] * part, settings["alpha"] * part)
