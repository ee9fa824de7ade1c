"""Pruning by magnitude: the smallest weights become 0 and stay 0 in whatever training follows.

Refs   LeCun et al., "Optimal brain damage", 1989; Han et al., "Learning both weights and connections", NeurIPS 2015;
       Zhu & Gupta, "To prune, or not to prune", 2017.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._numbers import as_number
from .._through import host
from .layers import Dense

if TYPE_CHECKING:
    from .network import Network

SCOPES = ("global", "layer")
Masks = dict[int, npt.NDArray[np.bool_]]


def weight_indices(net: Network) -> list[int]:
    """Where the weights [I,O] are among ``net.parameters``, layer by layer; the rest are biases."""
    indices, index = [], 0
    for layer in net.layers:
        if isinstance(layer, Dense):
            indices.append(index)
            index += 2 if layer.bias else 1
    return indices


def masks(net: Network) -> Masks:
    """What `Network.masks` gives: by parameter index, True where a weight lives; empty if nothing is pruned."""
    return {index: host(mask) != 0 for index, mask in net.engine.masks().items()}


def sparsity(net: Network) -> float:
    """Share of the weights (biases left out) that is pruned."""
    sizes = {index: net.parameters[index].size for index in weight_indices(net)}
    pruned = sum(int(mask.size - np.count_nonzero(mask)) for mask in masks(net).values())
    return pruned / sum(sizes.values())


def prune(net: Network, fraction: float, scope: str = "global") -> None:
    """What `Network.prune` does."""
    fraction = as_number(fraction, "prune: fraction")
    if not 0 <= fraction < 1:
        raise ValueError(f"prune: fraction is {fraction:g}; wanted 0 or more, below 1")
    if scope not in SCOPES:
        raise ValueError(f"prune: scope is {scope!r}; choices: {', '.join(SCOPES)}")
    sizes = {index: host(net.parameters[index]) for index in weight_indices(net)}
    for index, weights in sizes.items():
        if not np.isfinite(weights).all():
            raise ValueError(f"prune: weights {index} hold NaN or infinities; wanted finite numbers")
    old = masks(net)
    magnitudes = {
        index: np.where(old.get(index, True), np.abs(weights), -1.0) for index, weights in sizes.items()
    }
    groups = [list(magnitudes)] if scope == "global" else [[index] for index in magnitudes]
    new: Masks = {}
    for group in groups:
        values = np.concatenate([magnitudes[index].ravel() for index in group])
        gone = int(np.count_nonzero(values < 0))
        count = min(round(fraction * len(values)), max(gone, len(values) - 1))  # below 1: one at least lives
        if gone > count:
            what = "the net" if scope == "global" else f"layer {list(magnitudes).index(group[0])}"
            raise ValueError(
                f"prune: fraction is {fraction:g}; {gone} of the {len(values)} weights of {what} are pruned "
                f"already: wanted at least {gone / len(values)}"
            )
        lives = _largest(values, len(values) - count)
        ends = np.cumsum([magnitudes[index].size for index in group])
        for index, part in zip(group, np.split(lives, ends[:-1]), strict=True):
            new[index] = part.reshape(magnitudes[index].shape)
    net.engine.set_masks({index: mask for index, mask in new.items() if not mask.all()})


def _largest(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.bool_]:
    """True at the ``count`` largest of values[n]; of equals at the limit the first ones."""
    lives = np.zeros(len(values), bool)
    if count == 0:
        return lives
    limit = np.partition(values, len(values) - count)[len(values) - count]
    lives[values > limit] = True
    equal = np.flatnonzero(values == limit)
    lives[equal[: count - int(np.count_nonzero(lives))]] = True
    return lives


@dataclass(frozen=True)
class Pruned:
    """One point of a curve of size against error.

    Attributes
    ----------
    fraction : float
        Share of the weights that is pruned.
    weights : int
        How many live, biases left out.
    error, loss : float or None, float
        Of the validation samples, after fine-tuning; regression has no error.
    error_before, loss_before : float or None, float
        The same right after pruning.
    net : Network
        With these weights.
    """

    fraction: float
    weights: int
    error: float | None
    loss: float
    error_before: float | None
    loss_before: float
    net: Network = field(repr=False)


def pruning_curve(
    net: Network,
    x: Any,
    y: Any,
    validation: tuple[Any, Any],
    fractions: Iterable[float] = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98),
    scope: str = "global",
    **fine_tuning: Any,
) -> list[Pruned]:
    """Prune a trained net step by step, fine-tune it after each, and note its size and validation error.

    Parameters
    ----------
    net : Network
        Trained. It stays as it is: copies are pruned, each from the one before.
    x, y
        Training samples, as `Network.fit` takes them.
    validation : (x, y)
        Samples the errors are of: choose a size by them and keep the test samples for the end.
    fractions : iterable of float
        Shares of the weights to prune, rising; 0 is the net as it came, not fine-tuned.
    scope : "global" or "layer"
        See `Network.prune`.
    **fine_tuning
        ``optimizer``, ``epochs``, ``batch_size`` and whatever else `Network.fit` takes, for each fraction above 0.

    Returns
    -------
    list of Pruned
        One for each fraction.

    Raises
    ------
    TypeError, ValueError
        If the fractions do not rise, or what `Network.prune` and `Network.fit` raise.

    Examples
    --------
    >>> from deltarule import nn
    >>> x = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(int)  # six of the features say nothing
    >>> net = nn.mlp([8, 20, 2], "relu", seed=0)
    >>> history = net.fit(x[:150], y[:150], nn.Adam(0.01), epochs=30, batch_size=10)
    >>> curve = pruning_curve(net, x[:150], y[:150], (x[150:], y[150:]), [0, 0.8], optimizer=nn.Adam(0.01))
    >>> [(point.fraction, point.weights) for point in curve], net.sparsity
    ([(0.0, 200), (0.8, 40)], 0.0)
    """
    if not isinstance(fractions, Iterable):
        raise TypeError(f"pruning_curve: fractions is {fractions!r}; wanted a list such as [0, 0.5, 0.9]")
    if not isinstance(validation, (tuple, list)) or len(validation) != 2:
        raise ValueError(f"pruning_curve: validation is a {type(validation).__name__}; wanted a pair (x, y)")
    fractions = list(fractions)
    rising = [as_number(fraction, "pruning_curve: a fraction") for fraction in fractions]
    if not rising or rising != sorted(set(rising)):
        raise ValueError(f"pruning_curve: fractions are {fractions}; wanted one or more, rising")
    settings: Mapping[str, Any] = {"validation": validation, **fine_tuning}
    total = sum(net.parameters[index].size for index in weight_indices(net))
    curve = []
    for fraction in rising:
        net = copy.deepcopy(net)
        if fraction > 0:
            net.prune(fraction, scope)
        loss_before, error_before = loss, error = net.evaluate(*validation)
        if fraction > 0:
            net.fit(x, y, **settings)
            loss, error = net.evaluate(*validation)
        living = total - round(net.sparsity * total)
        curve.append(Pruned(net.sparsity, living, error, loss, error_before, loss_before, net))
    return curve
