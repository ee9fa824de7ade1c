"""Figures of a training run: learning curve, confusion matrix with the worst samples, predicted values, pruning.

Every function returns a matplotlib Figure that belongs to no window, so it works without a display;
`save` writes it. matplotlib comes with ``pip install 'deltarule[train]'``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._atomic import replace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from .nn import Pruned

TRAIN_COLOR, VALIDATION_COLOR = "tab:blue", "tab:orange"
RIGHT_COLOR, WRONG_COLOR = "0.25", "tab:red"
# More classes than this leave no room for a number in each cell.
MOST_NUMBERED_CLASSES = 20


def save(figure: Figure, path: str | Path) -> Path:
    """Write `figure` to `path` through a temporary name, so that a full disk leaves the old file."""
    path = Path(path)
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format=path.suffix[1:] or "png")
    replace(path, content.getvalue())
    return path


def learning_curve(epochs: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Draw loss, and error where there is one, of the training and validation samples over the epochs.

    Parameters
    ----------
    epochs : sequence of dict
        ``History.epochs``: one dictionary an epoch with the keys ``train_loss``, ``train_error``,
        ``validation_loss`` and ``validation_error``; errors are fractions, None or NaN where there is none.
    title : str
        Line above the figure.

    Raises
    ------
    ValueError
        If `epochs` is empty.
    """
    from matplotlib.figure import Figure

    if not epochs:
        raise ValueError("learning_curve: no epochs to draw")
    errors = [key for key in ("train_error", "validation_error") if np.any(_series(epochs, key) > 0)]
    panels = 2 if errors else 1
    figure = Figure(figsize=(5.5 * panels, 4), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _curves(axes[0], epochs, "loss", 1.0)
    axes[0].set_ylabel("loss")
    if _positive(axes[0]):
        axes[0].set_yscale("log")
    if errors:
        _curves(axes[1], epochs, "error", 100.0)
        axes[1].set_ylabel("error (%)")
        axes[1].set_ylim(bottom=0)
    if title:
        figure.suptitle(title)
    return figure


def confusion(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    images: ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    worst: int = 20,
) -> Figure:
    """Draw the confusion matrix and, where the samples are images, the worst-classified of them.

    Each image carries its true label and the two best guesses with their probabilities, in red if the best
    is wrong.

    Parameters
    ----------
    labels : array [n] of int
        True class of each sample, an index into `classes`.
    probabilities : array [n,k]
        Probability of each class for each sample.
    classes : sequence of str
        The k names.
    images : array [n,h*w], optional
        The samples.
    image_shape : (h, w), optional
        Rows and columns of an image.
    worst : int
        How many images at most.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    from matplotlib.figure import Figure

    true = np.asarray(labels)
    guess = np.asarray(probabilities)
    if guess.shape != (len(true), len(classes)):
        raise ValueError(
            f"confusion: probabilities are {guess.shape}; {len(true)} labels and {len(classes)} classes "
            f"want ({len(true)}, {len(classes)})"
        )
    if images is None or image_shape is None:
        figure = Figure(figsize=(6.5, 6), layout="constrained")
        _matrix(figure.subplots(), true, guess, classes)
        return figure
    figure = Figure(figsize=(14, 6.5), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(6, 7))[0]
    _matrix(left.subplots(), true, guess, classes)
    _gallery(right, np.asarray(images), image_shape, true, guess, classes, worst)
    return figure


def predictions(targets: ArrayLike, values: ArrayLike, most: int = 9) -> Figure:
    """Draw predicted `values` [n,k] against true `targets` [n,k], a panel for each of `most` targets."""
    from matplotlib.figure import Figure

    true, guess = np.asarray(targets), np.asarray(values)
    if true.ndim != 2 or guess.shape != true.shape:
        raise ValueError(
            f"predictions: values are {guess.shape}, targets {true.shape}; both must be the same (n, k)"
        )
    count = min(true.shape[1], most)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.5 * columns, 4.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, panel in enumerate(axes):
        if index >= count:
            panel.set_axis_off()
            continue
        low = min(true[:, index].min(), guess[:, index].min())
        high = max(true[:, index].max(), guess[:, index].max())
        panel.plot([low, high], [low, high], color="0.6", linewidth=1)
        panel.plot(true[:, index], guess[:, index], ".", color=TRAIN_COLOR, markersize=4, alpha=0.6)
        panel.set_xlabel("true")
        panel.set_ylabel("predicted")
        panel.set_title(f"target {index}" if count > 1 else "")
    return figure


def reconstructions(
    originals: ArrayLike, reconstructed: ArrayLike, image_shape: tuple[int, int], most: int = 10
) -> Figure:
    """Draw images [n,h*w], those an auto-encoder made of them [n,h*w] below: the first `most` of them.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    """
    from matplotlib.figure import Figure

    above, below = np.asarray(originals), np.asarray(reconstructed)
    if above.ndim != 2 or below.shape != above.shape:
        raise ValueError(
            f"reconstructions: reconstructions are {below.shape}, originals {above.shape}; "
            "both must be the same (n, h*w)"
        )
    count = min(len(above), most)
    if count == 0:
        raise ValueError("reconstructions: no images to draw")
    figure = Figure(figsize=(1.1 * count, 2.4), layout="constrained")
    panels = figure.subplots(2, count, squeeze=False)
    for row, images in enumerate((above, below)):
        for column, panel in enumerate(panels[row]):
            panel.imshow(images[column].reshape(image_shape), cmap="gray_r")
            panel.set_xticks([])
            panel.set_yticks([])
    panels[0][0].set_ylabel("original")
    panels[1][0].set_ylabel("reconstruction")
    return figure


def code_plane(
    codes: ArrayLike, labels: ArrayLike | None = None, classes: Sequence[str] | None = None
) -> Figure:
    """Draw codes [n,2] as points of the plane, in a colour for each of their `labels` [n].

    Raises
    ------
    ValueError
        If the codes are not pairs, or labels are not one a code.
    """
    from matplotlib.figure import Figure

    points = np.asarray(codes)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"code_plane: codes are {points.shape}; wanted (n, 2)")
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axes = figure.subplots()
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=4, color=TRAIN_COLOR)
    else:
        true = np.asarray(labels)
        if true.shape != (len(points),):
            raise ValueError(
                f"code_plane: labels are {true.shape}; wanted ({len(points)},), one for each code"
            )
        for label in np.unique(true):
            chosen = points[true == label]
            name = str(label) if classes is None else classes[int(label)]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=4, color=f"C{int(label) % 10}", label=name)
        axes.legend(markerscale=3)
    axes.set_xlabel("code 1")
    axes.set_ylabel("code 2")
    return figure


def pruning_curve(points: Sequence[Pruned], title: str = "") -> Figure:
    """Draw validation error (loss, for regression) over the weights that live, pruned and fine-tuned.

    Parameters
    ----------
    points : sequence of Pruned
        What `deltarule.nn.pruning_curve` gave.
    title : str
        Line above the figure.

    Raises
    ------
    ValueError
        If there are no points.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    if not points:
        raise ValueError("pruning_curve: no points to draw")
    errors = points[0].error is not None
    weights = [point.weights for point in points]
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    series = [("right after pruning", "_before", "0.6", "--"), ("fine-tuned", "", VALIDATION_COLOR, "-")]
    for label, suffix, color, style in series:
        values = [getattr(point, ("error" if errors else "loss") + suffix) for point in points]
        shown = [100 * value for value in values] if errors else values
        axes.plot(weights, shown, style, color=color, marker="o", markersize=4, label=label)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xticks(weights, [f"{point.weights:,}\n{point.fraction:.0%}" for point in points], fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("weights that live, share pruned")
    axes.set_ylabel("validation error (%)" if errors else "validation loss")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    if title:
        figure.suptitle(title)
    return figure


def confusion_matrix(labels: ArrayLike, guesses: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count [k,k]: row is the true class, column the guessed one.

    >>> confusion_matrix([0, 1, 1], [0, 1, 0], 2).tolist()
    [[1, 0], [1, 1]]
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(guesses)), 1)
    return counts


def worst_classified(labels: ArrayLike, probabilities: ArrayLike, count: int) -> NDArray[np.int64]:
    """Indices of the `count` samples whose true class got the lowest probability, lowest first.

    >>> worst_classified([0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], 2).tolist()
    [1, 2]
    """
    true = np.asarray(labels)
    given = np.asarray(probabilities)[np.arange(len(true)), true]
    return np.argsort(given, kind="stable")[:count].astype(np.int64)


def _series(epochs: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    return np.array([np.nan if epoch.get(key) is None else epoch[key] for epoch in epochs], dtype=np.float64)


def _curves(axes: Axes, epochs: Sequence[Mapping[str, Any]], what: str, unit: float) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = np.arange(1, len(epochs) + 1)
    # One epoch is a point, which a line alone would not show.
    marker = "o" if len(epochs) <= 30 else ""
    for part, color in (("train", TRAIN_COLOR), ("validation", VALIDATION_COLOR)):
        values = unit * _series(epochs, f"{part}_{what}")
        if np.isfinite(values).any():
            last = values[np.isfinite(values)][-1]
            text = f"{part} {last:.2f} %" if what == "error" else f"{part} {last:.3g}"
            axes.plot(numbers, values, color=color, marker=marker, markersize=3, label=text)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()


def _positive(axes: Axes) -> bool:
    """Whether a logarithmic scale shows every value of the curves and has a decade to show."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.get_lines()])
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() > 10 * values.min())


def _matrix(axes: Axes, true: NDArray[Any], guess: NDArray[Any], classes: Sequence[str]) -> None:
    best = guess.argmax(axis=1)
    counts = confusion_matrix(true, best, len(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The diagonal would drown the errors, so colour shows the share of errors and the diagonal stays white.
    errors = share * (1 - np.eye(len(classes)))
    axes.imshow(np.ma.masked_equal(errors, 0), cmap="Reds", vmin=0, vmax=max(errors.max(), 0.01))
    if len(classes) <= MOST_NUMBERED_CLASSES:
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                dark = errors[row, column] > 0.6 * max(errors.max(), 0.01)
                weight = "bold" if row == column else "normal"
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", weight=weight,
                          fontsize=9, color="white" if dark else "black")  # fmt: skip
        rotation = 90 if max(map(len, map(str, classes))) > 3 else 0
        axes.set_xticks(range(len(classes)), classes, rotation=rotation)
        axes.set_yticks(range(len(classes)), classes)
    wrong = int((best != true).sum())
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{wrong} of {len(true)} test samples wrong: {wrong / max(len(true), 1):.2%}")


def _gallery(
    figure: SubFigure,
    images: NDArray[Any],
    shape: tuple[int, int],
    true: NDArray[Any],
    guess: NDArray[Any],
    classes: Sequence[str],
    worst: int,
) -> None:
    """Fill `figure` with the worst-classified images, five in a row."""
    chosen = worst_classified(true, guess, worst)
    rows = max(1, -(-len(chosen) // 5))
    panels = figure.subplots(rows, 5, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, index in zip(panels, chosen, strict=False):
        panel.imshow(images[index].reshape(shape), cmap="gray_r")
        order = np.argsort(-guess[index], kind="stable")[:2]
        guesses = ", ".join(f"{classes[k]} {guess[index, k]:.0%}" for k in order)
        color = RIGHT_COLOR if order[0] == true[index] else WRONG_COLOR
        panel.set_title(f"true {classes[true[index]]}\n{guesses}", fontsize=8, color=color)
    figure.suptitle("worst classified: true label, best two guesses", fontsize=11)
