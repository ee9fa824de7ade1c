"""What is measured: activations, gradients and Jacobians, layer by layer, at the start and while a net trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import data, nn
from ..._through import host
from ..experiment import Result
from ..work import Work

Array = npt.NDArray[Any]

INITS: dict[str, nn.init.Initializer] = {"standard": nn.init.Standard(), "normalised": nn.init.Glorot()}
PIXELS = ("unit", "standardised")
HELD_OUT = 1 / 6  # of the training part, at its end: 10,000 of MNIST's
BINS = 100
LOW = {"sigmoid": 0.0}  # f(-inf); -1 for the others. f(inf) is 1
NEAR = 0.05  # of the range of f: so near to an end of it a unit counts as saturated


def statistics(net: nn.Network, x: Any, y: Any) -> dict[str, list[float]]:
    """Of every hidden layer, over the examples x[N,I] and the units, or the weights.

    Activations: mean, standard deviation, 98th percentile, and the share of saturated ones. Gradients: deviation of
    the back-propagated ones (of an example's own loss), and of the weights' (of the mean loss).
    """
    found: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for layer, values in zip(net.layers, activations(net, x), strict=False):
        assert isinstance(layer, nn.Dense)
        low = LOW.get(layer.activation, -1.0)
        margin = NEAR * (1 - low)
        found["mean"].append(float(values.mean(dtype=np.float64)))
        found["deviation"].append(float(values.std(dtype=np.float64)))
        found["percentile"].append(float(np.percentile(values, 98)))
        found["saturated"].append(float(((values < low + margin) | (values > 1 - margin)).mean()))
    found["delta"] = [float(values.std(dtype=np.float64)) for values in deltas(net, x, y)]
    found["gradient"] = [float(values.std(dtype=np.float64)) for values in weight_gradients(net, x, y)]
    return found


STATISTICS = ("mean", "deviation", "percentile", "saturated", "delta", "gradient")


def activations(net: nn.Network, x: Any) -> list[Array]:
    """Of the hidden layers, [N,O] each."""
    return [host(values) for values in net.activations(x)[:-1]]


def deltas(net: nn.Network, x: Any, y: Any) -> list[Array]:
    """Of the hidden layers: gradients of each example's loss with respect to z = h W + b, [N,O] each."""
    return [host(values) * len(x) for values in net.deltas(x, y)[:-1]]


def weight_gradients(net: nn.Network, x: Any, y: Any) -> list[Array]:
    """Of the hidden layers, of the mean loss, [I,O] each."""
    return [host(values) for values in net.gradients(x, y)[:-2:2]]


def singular_values(net: nn.Network, x: Any) -> list[float]:
    """Of dy_l/dy_(l-1) = diag(1 - y_l^2) W_l^T, for the layers 2... of a net of tanh: the mean, also over x[N,I]."""
    found = []
    weights = [host(parameter).astype(np.float64) for parameter in net.parameters[:-2:2]]
    for w, values in zip(weights[1:], activations(net, x)[1:], strict=True):
        found.append(float(np.mean([_singular_values(w * (1 - y.astype(np.float64) ** 2)) for y in values])))
    return found


def _singular_values(j: Array) -> Array:
    """Of j[I,O], the min(I,O) first: roots of the eigenvalues of j^T j, in a quarter of the time; 1e-8 off at 0."""
    small = j @ j.T if len(j) <= j.shape[1] else j.T @ j
    values: Array = np.sqrt(np.maximum(np.linalg.eigvalsh(small), 0))
    return values


class Watch(nn.Callback):
    """The `statistics` of a net before the first and after every epoch, on examples x[N,I] with labels y[N]."""

    def __init__(self, x: Array, y: Array) -> None:
        self.x, self.y = x, y
        self.records: list[dict[str, list[float]]] = []

    def __repr__(self) -> str:
        return f"Watch({len(self.x)} examples)"

    def on_train_begin(self, net: nn.Network, history: nn.History) -> None:
        """Forget an earlier training; look at the net as it starts."""
        self.records = [statistics(net, self.x, self.y)]

    def on_epoch_end(self, net: nn.Network, history: nn.History) -> None:
        """Look at the net."""
        self.records.append(statistics(net, self.x, self.y))

    def state(self) -> dict[str, Any]:
        """The statistics so far."""
        return dict(self.series())

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        count = len(state[STATISTICS[0]])
        self.records = [{name: state[name][i].tolist() for name in STATISTICS} for i in range(count)]

    def series(self) -> dict[str, Array]:
        """Every statistic over the time, [epochs + 1, hidden layers]."""
        return {name: np.array([record[name] for record in self.records]) for name in STATISTICS}


def parts(work: Work) -> tuple[data.Samples, data.Samples, data.Samples]:
    """Training, validation and test part."""
    images = work.images()
    rest = len(images.train) - round(HELD_OUT * len(images.train))
    return images.train.take(slice(0, rest)), images.train.take(slice(rest, None)), images.test


def build(
    work: Work, part: Mapping[str, Any], activation: str, init: str, depth: int, seed: int
) -> nn.Network:
    """A net for the images, of ``part["hidden"]`` units a layer; it takes the pixels as ``part["pixels"]`` says.

    "unit": from 0 to 1; "standardised": by their mean and deviation.
    """
    images = work.images()
    sizes = [images.inputs, *[part["hidden"]] * depth, images.outputs]
    net = nn.mlp(sizes, activation, init=INITS[init], seed=seed, device=work.device, precision=work.precision)
    x = parts(work)[0].x
    if part["pixels"] == "unit":
        net.standardize(np.zeros(images.inputs), np.full(images.inputs, 1 / x.max()))
    else:
        scaling = data.Standardizer.fit(x, kind="global")
        net.standardize(scaling.shift, scaling.scale)
    return net


def examples(work: Work) -> data.Samples:
    """Those of the test part on which nets are watched."""
    return parts(work)[2].take(slice(0, work.settings["examples"]))


def start(work: Work, seed: int) -> Result:
    """Figures 6, 7 and 8: nets of tanh before any step, by either init."""
    part, seen = work.settings["start"], examples(work)
    nets = {name: build(work, part, "tanh", name, part["depth"], seed) for name in INITS}
    result: dict[str, Any] = {}
    few = seen.x[: part["jacobian_examples"]]
    for name, net in nets.items():
        result[name] = {**statistics(net, seen.x, seen.y), "singular_values": singular_values(net, few)}
    kinds: dict[str, Callable[[nn.Network], list[Array]]] = {
        "activations": lambda net: activations(net, seen.x),
        "deltas": lambda net: deltas(net, seen.x, seen.y),
        "gradients": lambda net: weight_gradients(net, seen.x, seen.y),
    }
    for kind, of in kinds.items():
        result |= histograms(kind, {name: of(net) for name, net in nets.items()})
    return result


def histograms(kind: str, values: Mapping[str, list[Array]]) -> dict[str, Array]:
    """KIND.INIT.edges [BINS + 1] and KIND.INIT [layers, BINS], densities.

    Both inits have the same edges, but for the gradients of weights, which are of another size in each.
    """
    widest = {name: max(float(layer.std()) for layer in layers) for name, layers in values.items()}
    found: dict[str, Array] = {}
    for name, layers in values.items():
        end = 3 * (widest[name] if kind == "gradients" else max(widest.values()))
        edges = np.linspace(-end, end, BINS + 1)
        width = edges[1] - edges[0]
        # Of all values, also of those beyond the edges.
        counts = [np.histogram(layer, edges)[0] / (layer.size * width) for layer in layers]
        found |= {f"{kind}.{name}": np.array(counts), f"{kind}.{name}.edges": edges}
    return found


def watch_saturation(work: Work, depth: int, seed: int) -> Result:
    """Figure 2: layers of sigmoids while they train."""
    part = work.settings["saturation"]
    part = {**part, "pixels": part["pixels"][work.images().name]}
    net = build(work, part, "sigmoid", "standard", depth, seed)
    return train(work, net, part["rate"], part["updates"])


def table_net(work: Work, activation: str, init: str, seed: int) -> Result:
    """A net of table 1: the weights of its best epoch by validation error, tested once."""
    part = work.settings["table"]
    net = build(work, part, activation, init, part["depth"], seed)
    rate, updates = part["rates"][activation], part["updates"]
    best = nn.EarlyStopping(patience=updates)  # never stops, keeps the best
    result = train(work, net, rate, updates, part["last_rate"], best)
    test = parts(work)[2]
    return {**result, "test_error": 1 - net.score(test.x, test.y), "best_epoch": best.lowest_epoch}


def train(
    work: Work, net: nn.Network, rate: float, updates: int, last: float = 1.0, *callbacks: nn.Callback
) -> dict[str, Any]:
    """So many updates by minibatches, rounded to whole epochs, the rate decaying to ``last`` of itself."""
    training, validation, _ = parts(work)
    batch_size, seen = work.settings["batch_size"], examples(work)
    epochs = max(1, round(updates * batch_size / len(training)))
    watch = Watch(seen.x, seen.y)
    history = work.fit(
        net,
        training.x,
        training.y,
        optimizer=nn.SGD(rate),
        epochs=epochs,
        batch_size=batch_size,
        validation=(validation.x, validation.y),
        schedule=None if last == 1.0 else nn.Exponential(last ** (1 / epochs)),
        callbacks=[watch, *callbacks],
    )
    steps = -(-len(training) // batch_size)
    return {
        **watch.series(),
        "updates": np.arange(epochs + 1) * steps,
        "train_loss": np.array(history["train_loss"]),
        "validation_error": np.array(history["validation_error"]),
    }
