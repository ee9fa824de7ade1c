"""Depth: gradients that vanish on their way down, and ReLU units that are dead.

Each sigmoid layer multiplies a gradient by weights and slopes of 1/4 at most; tanh has slopes up to 1, ReLU 1 or 0,
which He's initial weights make up for.
Refs: Hochreiter 1991; Bengio, Simard & Frasconi 1994; Glorot & Bengio 2010; He et al. 2015; Lu et al. 2019
(dying ReLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _core, data, nn
from ..._through import host
from ..experiment import Claim, Report, Result, Settings, Table, mean, spread
from ..work import Work
from .topic import COLORS, Array, Topic, check_rising, stacked, standardized

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU"}


def settings(quick: bool) -> dict[str, Any]:
    """Sizes of the nets, samples of the measurements, and the trainings."""
    return {
        "width": 100,
        "depths": list(range(1, 10)),
        "gradient_samples": 300,
        "trained_depths": [1, 3, 5, 9],
        "train_samples": 10_000,
        "rate": 0.1,
        "batch_size": 50,
        "steps": 1000,
        "dead_depth": 3,
        "dead_rates": [0.001, 0.003, 0.01, 0.03, 0.1],
        "dead_samples": 1000,
    }


def check(settings: Settings) -> None:
    """Claims compare the first with the last."""
    for name, least in (("depths", 2), ("trained_depths", 1), ("dead_rates", 1)):
        check_rising(f"depth.{name}", settings[name], least)


def run(work: Work, settings: Settings, seed: int) -> Result:
    """Gradient norms [kinds, depths, layers], test errors [kinds, trained depths], shares of dead units."""
    images = work.images()
    train, test = images.train, images.test
    depths, width = settings["depths"], settings["width"]
    count = settings["gradient_samples"]
    x, y = train.x[:count], train.y[:count]

    def net(kind: str, depth: int) -> nn.Network:
        sizes = [images.inputs, *[width] * depth, images.outputs]
        return standardized(
            nn.mlp(sizes, kind, device=work.device, precision=work.precision, seed=seed), train.x
        )

    norms = np.full((len(KINDS), len(depths), max(depths) + 1), np.nan)
    for i, kind in enumerate(KINDS):
        for j, depth in enumerate(depths):
            norms[i, j, : depth + 1] = gradient_norms(net(kind, depth), x, y)
    few = train.take(slice(settings["train_samples"]))
    errors = np.zeros((len(KINDS), len(settings["trained_depths"])))
    for i, kind in enumerate(KINDS):
        for j, depth in enumerate(settings["trained_depths"]):
            trained = fit(net(kind, depth), few, nn.SGD(settings["rate"]), settings)
            errors[i, j] = 1 - trained.score(test.x, test.y)
    seen = train.x[: settings["dead_samples"]]
    dead = [
        dead_share(fit(net("relu", settings["dead_depth"]), few, nn.Adam(rate), settings), seen)
        for rate in settings["dead_rates"]
    ]
    return {
        "norms": norms,
        "errors": errors,
        "dead_at_start": dead_share(net("relu", max(depths)), seen),
        "dead_trained": np.array(dead),
    }


def fit(net: nn.Network, samples: data.Samples, optimizer: nn.Optimizer, settings: Settings) -> nn.Network:
    """The net after about so many steps, whatever the number of samples."""
    batch = settings["batch_size"]
    net.fit(samples.x, samples.y, optimizer, round(settings["steps"] * batch / len(samples)) or 1, batch)
    return net


def gradient_norms(net: nn.Network, x: Array, y: Array) -> list[float]:
    """L2 norm of the weight gradient of every layer."""
    gradients = net.engine.gradients(x, y)[1]
    return [float(np.linalg.norm(host(dw).astype(np.float64))) for dw in gradients[::2]]


def hidden_outputs(net: nn.Network, x: Array) -> list[Array]:
    """Outputs [N,units] of the hidden layers for x[N,I]."""
    assert net.standardization is not None
    shift, scale = net.standardization
    h = (x - shift) * scale
    outputs = []
    for index, layer in enumerate(net.layers[:-1]):
        assert isinstance(layer, nn.Dense)
        w, b = (host(parameter) for parameter in net.parameters[2 * index : 2 * index + 2])
        h = np.asarray(_core.activate(h @ w + b, layer.activation))
        outputs.append(h)
    return outputs


def dead_share(net: nn.Network, x: Array) -> Array:
    """Share of units [hidden layers] that are 0 for every sample."""
    return np.array([(h == 0).all(axis=0).mean() for h in hidden_outputs(net, x)])


def report(settings: Settings, results: Sequence[Result]) -> Report:
    """Gradients of the lowest layer over the depth, errors after training, dead units."""
    depths = settings["depths"]
    norms = stacked(results, "norms")
    lowest = np.exp(np.log(norms[..., 0]).mean(axis=0))  # geometric mean over the seeds
    errors = 100 * stacked(results, "errors")
    gradient_rows = [[name, *(float(v) for v in lowest[i])] for i, name in enumerate(KINDS.values())]
    error_rows = [
        [name, depth, mean(errors[:, i, j]), spread(errors[:, i, j])]
        for i, name in enumerate(KINDS.values())
        for j, depth in enumerate(settings["trained_depths"])
    ]
    rates = settings["dead_rates"]
    dead = 100 * stacked(results, "dead_trained").mean(axis=2)
    dead_rows = [[rate, mean(dead[:, i]), spread(dead[:, i])] for i, rate in enumerate(rates)]
    tables = [
        Table(
            "Norm of the lowest layer's weight gradient at the start, by the number of hidden layers",
            ["units", *map(str, depths)],
            gradient_rows,
        ),
        Table(
            f"Test error (%) after {settings['steps']} steps on {settings['train_samples']} images at most",
            ["units", "hidden layers", "error", "spread"],
            error_rows,
        ),
        Table(
            f"ReLU units that are 0 for {settings['dead_samples']} training images (%), after training by Adam",
            ["learning rate", "dead", "spread"],
            dead_rows,
        ),
    ]
    claims = [*_gradient_claims(depths, norms, lowest, errors), *_dead_claims(settings, results)]
    return Report(tables, claims, {"depth": lambda: draw(settings, norms, errors, results)})


def _gradient_claims(depths: Sequence[int], norms: Array, lowest: Array, errors: Array) -> list[Claim]:
    sigmoid, tanh, relu = (list(KINDS).index(kind) for kind in ("sigmoid", "tanh", "relu"))
    each = norms[:, sigmoid, 1:, 0] / norms[:, sigmoid, :-1, 0]
    ratio = lowest[:, -1] / lowest[:, 0]
    return [
        Claim(
            "sigmoid: every further layer makes the lowest layer's gradient several times smaller",
            bool(each.max() < 0.5),
            f"{1 / each.max():.1f} times at least; {ratio[sigmoid]:.0e} from {depths[0]} to {depths[-1]} layers",
        ),
        Claim(
            "ReLU with He's weights: it does not fall with the depth; tanh with Glorot's: little",
            bool(0.1 < ratio[relu] < 10 and 0.1 < ratio[tanh] < 1),
            f"ReLU {ratio[relu]:.2g}, tanh {ratio[tanh]:.2g} from {depths[0]} to {depths[-1]} layers",
        ),
        Claim(
            "the deepest sigmoid net does not begin to learn in the time in which tanh and ReLU do",
            bool(errors[:, sigmoid, -1].min() > 80 and errors[:, [tanh, relu], -1].max() < 20),
            f"error {errors[:, sigmoid, -1].min():.0f} % at least, {errors[:, [tanh, relu], -1].max():.0f} % at most",
        ),
    ]


def _dead_claims(settings: Settings, results: Sequence[Result]) -> list[Claim]:
    start = 100 * stacked(results, "dead_at_start").mean(axis=0)
    dead = 100 * stacked(results, "dead_trained").mean(axis=2)
    return [
        Claim(
            "at the start more ReLU units are dead in the upper layers than in the lower ones",
            bool(start[-3:].mean() > start[:3].mean()),
            f"{start[:3].mean():.0f} % of the lowest three layers, {start[-3:].mean():.0f} % of the highest three",
        ),
        Claim(
            "a large learning rate kills ReLU units",
            bool((dead[:, -1] > 2 * dead[:, 0]).all()),
            f"{dead[:, 0].mean():.0f} % with {settings['dead_rates'][0]}, "
            f"{dead[:, -1].mean():.0f} % with {settings['dead_rates'][-1]}",
        ),
    ]


def draw(settings: Settings, norms: Array, errors: Array, results: Sequence[Result]) -> Figure:
    """Gradients over the depth and over the layers, errors after training, dead units."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.1), layout="constrained")
    panels = figure.subplots(1, 4)
    depths = settings["depths"]
    panels[0].set(
        xlabel="hidden layers", ylabel="gradient norm, lowest layer", yscale="log", title="at the start"
    )
    panels[1].set(
        xlabel="layer",
        ylabel="gradient norm",
        yscale="log",
        title=f"{depths[-1]} hidden layers, at the start",
    )
    panels[2].set(xlabel="hidden layers", ylabel="test error (%)", ylim=(0, 100), title="after training")
    for i, (name, color) in enumerate(zip(KINDS.values(), COLORS, strict=False)):
        _line(panels[0], depths, norms[:, i, :, 0], name, color)
        _line(panels[1], range(1, depths[-1] + 2), norms[:, i, -1], name, color)
        _line(panels[2], settings["trained_depths"], errors[:, i], name, color)
    panels[2].set_xticks(settings["trained_depths"])
    dead = 100 * stacked(results, "dead_trained")
    for layer in range(dead.shape[2]):
        _line(panels[3], settings["dead_rates"], dead[:, :, layer], f"layer {layer + 1}", f"C{layer + 2}")
    panels[3].set(xlabel="learning rate of Adam", ylabel="dead ReLU units (%)", xscale="log", ylim=(0, 102))
    panels[3].set_title("after training")
    for panel in panels:
        panel.title.set_fontsize(10)
        panel.grid(alpha=0.3)
    panels[0].legend()
    panels[3].legend()
    return figure


def _line(axes: Axes, at: Any, values: Array, label: str, color: str) -> None:
    """A line for the mean over the seeds [seeds, n], and a point for each of them."""
    centre = values.mean(axis=0) if axes.get_yscale() == "linear" else np.exp(np.log(values).mean(axis=0))
    axes.plot(at, centre, color=color, label=label)
    for one in values:
        axes.plot(at, one, ".", color=color, markersize=4)


TOPIC = Topic("depth", "vanishing gradients, dead units", settings, run, report, check, seconds=14)
