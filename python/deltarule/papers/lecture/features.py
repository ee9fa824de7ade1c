"""What a net learns to see: weights of the first layer, and the images that excite the units above it most.

The image of a unit is found by gradient ascent on its input to the non-linearity, over images of one norm, from the
mean image. A net is trained with weight decay: else weights from pixels that are always white stay as they were drawn.
(A unit that still looks like noise is dead: nothing but the decay has changed it.)
Ref: Erhan, Bengio, Courville & Vincent, Visualizing higher-layer features of a deep network, 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import nn
from ..._through import host
from ..experiment import Claim, Report, Result, Settings, Table, mean, spread
from ..work import Work
from .topic import Array, Topic, standardized

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 30


def settings(quick: bool) -> dict[str, Any]:
    """The net, its training, and the ascent; the decay is chosen for the pictures, at some cost in error."""
    return {
        "hidden": [100, 100],
        "activation": "relu",
        "train_samples": 20_000,
        "steps": 2000,
        "batch_size": 100,
        "rate": 0.002,
        "weight_decay": 2.0,
        "ascent_steps": 50,
        "ascent_rate": 0.1,
    }


def check(settings: Settings) -> None:
    """The second layer is a hidden one."""
    if len(settings["hidden"]) < 2:
        raise ValueError(f"lecture: features.hidden is {settings['hidden']}; wanted 2 layers or more")


def run(work: Work, settings: Settings, seed: int) -> Result:
    """First-layer weights before and after training, [units, pixels]; an image for every unit above."""
    images = work.images()
    few = images.train.take(slice(settings["train_samples"]))
    sizes = [images.inputs, *settings["hidden"], images.outputs]
    net = nn.mlp(sizes, settings["activation"], device=work.device, precision=work.precision, seed=seed)
    standardized(net, few.x)
    before = host(net.parameters[0]).T.copy()
    epochs = round(settings["steps"] * settings["batch_size"] / len(few)) or 1
    optimizer = nn.AdamW(settings["rate"], weight_decay=settings["weight_decay"])
    net.fit(few.x, few.y, optimizer, epochs, settings["batch_size"], schedule=nn.Cosine(epochs))
    assert net.standardization is not None
    shift, scale = net.standardization
    seen = (few.x - shift) * scale
    classes = np.stack([seen[few.y == label].mean(axis=0) for label in range(images.outputs)])
    norm = float(np.sqrt((seen.astype(np.float64) ** 2).sum(axis=1)).mean())
    return {
        "test_error": 1 - net.score(images.test.x, images.test.y),
        "image_shape": images.image_shape,
        "before": before,
        "weights": host(net.parameters[0]).T,
        "second": exciting(net, 2, seen.mean(axis=0), norm, settings),
        "output": exciting(net, len(net.layers), seen.mean(axis=0), norm, settings),
        "classes": classes,
    }


def exciting(net: nn.Network, depth: int, start: Array, norm: float, settings: Settings) -> Array:
    """Standardised images [units, pixels] of the given norm that excite the units of layer ``depth`` most."""
    lower = [*net.layers[: depth - 1], nn.Dense(net.layers[depth - 1].units)]  # type: ignore[union-attr]
    part = nn.Network(lower, net.inputs, "squared_error", device=net.device, precision=net.precision)
    for own, trained in zip(part.parameters, net.parameters, strict=False):
        own[...] = trained
    units = part.outputs
    x = np.tile(start.astype(np.float32), (units, 1))
    for _ in range(settings["ascent_steps"]):
        # Of the loss |z - t|^2 / 2 with t = z - 1 at the row's own unit: dz is that unit's 1.
        z = part.forward(x)
        dx = host(part.engine.gradients(x, z - np.eye(units, dtype=z.dtype))[2])
        dx = dx / np.maximum(np.linalg.norm(dx, axis=1, keepdims=True), 1e-12)
        x = x + np.float32(settings["ascent_rate"] * norm) * dx
        x *= np.float32(norm) / np.linalg.norm(x, axis=1, keepdims=True)
    return x


def smoothness(images: Array, shape: tuple[int, int]) -> float:
    """Mean correlation of neighbouring pixels, over images [n, pixels]; about 0 for noise."""
    grid = np.asarray(images, dtype=np.float64).reshape(-1, *shape)
    grid = grid - grid.mean(axis=(1, 2), keepdims=True)
    across, down = grid[:, :, 1:] * grid[:, :, :-1], grid[:, 1:] * grid[:, :-1]
    variance = (grid**2).mean(axis=(1, 2))
    return float(((across.mean(axis=(1, 2)) + down.mean(axis=(1, 2))) / (2 * variance)).mean())


def own_class(images: Array, classes: Array) -> float:
    """Share of images [k, pixels] that correlate most with the mean image of their own class [k, pixels]."""
    correlation = np.corrcoef(images, classes)[: len(images), len(images) :]
    return float((correlation.argmax(axis=1) == np.arange(len(images))).mean())


def report(settings: Settings, results: Sequence[Result]) -> Report:
    """Smoothness of the layers, and whose image excites the output units."""
    smooth = {
        name: [smoothness(result[key], result["image_shape"]) for result in results]
        for name, key in (
            ("first layer, before training", "before"),
            ("first layer", "weights"),
            ("second layer", "second"),
            ("output layer", "output"),
        )
    }
    own = [own_class(result["output"], result["classes"]) for result in results]
    errors = [100 * result["test_error"] for result in results]
    rows = [[name, mean(values), spread(values)] for name, values in smooth.items()]
    before, after = smooth["first layer, before training"], smooth["first layer"]
    claims = [
        Claim(
            "training turns noise into features: neighbouring weights become alike",
            all(b + 0.2 < a for b, a in zip(before, after, strict=True)),
            f"correlation {mean(before):.2f} before, {mean(after):.2f} after",
        ),
        Claim(
            "the image that excites an output unit most resembles its own class",
            min(own) >= 0.8,
            f"most like its own class: {100 * mean(own):.0f} % of the units",
        ),
    ]
    table = Table(
        f"Correlation of neighbouring pixels (test error of the net {mean(errors):.1f} %)",
        ["features", "correlation", "spread"],
        rows,
    )
    return Report([table], claims, {"features": lambda: draw(results[0])})


def draw(result: Result) -> Figure:
    """Thirty units of each layer, all ten of the output."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.45), layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=[6, 6, 6, 2])
    for panel, key, title in zip(
        panels,
        ("before", "weights", "second", "output"),
        (
            "first layer: initial weights",
            "first layer: weights",
            "second layer: most exciting image",
            "output layer",
        ),
        strict=True,
    ):
        columns = 2 if key == "output" else 6
        _mosaic(panel, result[key][:SHOWN], result["image_shape"], columns)
        panel.set_title(title, fontsize=10)
    return figure


def _mosaic(axes: Axes, images: Array, shape: Sequence[int], columns: int) -> None:
    """Images [n, pixels] in rows, each with its own range of colours, white at 0."""
    rows = -(-len(images) // columns)
    height, width = shape[0] + 1, shape[1] + 1
    sheet = np.full((rows * height, columns * width), np.nan)
    for index, image in enumerate(images):
        top, left = (index // columns) * height, (index % columns) * width
        sheet[top : top + shape[0], left : left + shape[1]] = (image / abs(image).max()).reshape(shape)
    axes.imshow(sheet, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()


TOPIC = Topic("features", "what a net learns to see", settings, run, report, check, seconds=5)
