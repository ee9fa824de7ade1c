"""The paper's table beside ours, what the seeds' nets say together, what of it holds, and the figures."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..experiment import Claim, Report, Result, Settings, Table, mean, spread
from . import nets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 1.12  # a test error may be this times the paper's, 6 images in 10,000


def make_report(settings: Settings, results: Mapping[str, Result]) -> Report:
    """The paper's table beside ours."""
    by_net = {net: [r for r in results.values() if r["net"] == net] for net in settings["nets"]}
    first = next(iter(results.values()))
    return Report(
        [table(settings, by_net), *committees(settings, by_net)],
        claims(settings, by_net),
        {
            "errors": functools.partial(draw_curves, by_net),
            "deformed": functools.partial(draw_deformed, first["deformed"]),
            "misclassified": functools.partial(draw_misclassified, first),
        },
        notes(settings, first["side"]),
    )


def percent(results: Sequence[Result], key: str) -> list[float]:
    """100 times these numbers."""
    return [100 * result[key] for result in results]


def table(settings: Settings, by_net: Mapping[int, Sequence[Result]]) -> Table:
    """A row a net."""
    columns = (
        "net", "hidden layers", "weights (M)", "test % at best validation: paper", "ours", "spread",
        "best test %: paper", "ours ", "hours then", "seconds now",
    )  # fmt: skip
    rows = []
    for net, results in by_net.items():
        at_best, best, hours, _ = nets.PAPER[net]
        error, lowest = percent(results, "test_error"), percent(results, "best_test_error")
        rows.append(
            [
                str(net),
                ", ".join(map(str, nets.NETS[net])),
                results[0]["weights"] / 1e6,
                at_best,
                mean(error),
                spread(error),
                best,
                mean(lowest),
                hours,
                mean(result["seconds"] for result in results),
            ]
        )
    note = (
        "Best test % is the lowest of all epochs: the paper gives it, and nothing was chosen by it. Hours then: "
        "on a GTX 280. Seconds now: of training, deformation and validation."
    )
    return Table("MNIST" if settings["data"] == "mnist" else settings["data"], columns, rows, note)


def committees(settings: Settings, by_net: Mapping[int, Sequence[Result]]) -> list[Table]:
    """What the seeds' nets say together, their outputs averaged; no table where there is one seed."""
    rows = []
    for net, results in by_net.items():
        if len(results) > 1:
            averaged = np.mean([result["test_outputs"] for result in results], axis=0)
            error = 100 * float(np.mean(averaged.argmax(1) != results[0]["test_labels"]))
            rows.append([str(net), str(len(results)), mean(percent(results, "test_error")), error])
    if not rows:
        return []
    outputs = "Probabilities" if settings["loss"] == nets.LOSSES[0] else "Outputs"
    note = (
        f"{outputs} of nets that differ in their seed alone, averaged. Of seven such nets 0.31 % is "
        "usually cited (Ciresan and others 2012)."
    )
    return [Table("Committees", ("net", "members", "a member's test %", "the committee's"), rows, note)]


def claims(settings: Settings, by_net: Mapping[int, Sequence[Result]]) -> list[Claim]:
    """What can be judged by the nets that were trained."""
    errors = {net: mean(percent(results, "test_error")) for net, results in by_net.items()}
    found = []
    if settings["data"] == "mnist":  # whose errors the paper's are
        worst = max(errors.values())
        text = "On deformed digits plain nets err on less than 1 %"
        found.append(Claim(text, worst < 1, f"at most {worst:.2f} %"))
        for net, error in errors.items():
            most = MARGIN * nets.PAPER[net][0]
            text = f"Net {net} errs on {nets.PAPER[net][0]} % of the test digits"
            found.append(Claim(text, error <= most, f"{error:.3f} %, wanted at most {most:.3f}"))
    if 4 in errors and len(errors) > 1:
        rest = min(error for net, error in errors.items() if net != 4)
        which = (
            "the five" if set(errors) == set(nets.PAPER) else f"those trained ({', '.join(map(str, errors))})"
        )
        figure = f"{errors[4]:.2f} %, the next {rest:.2f} %"
        found.append(Claim(f"Net 4 is the best of {which}", errors[4] < rest, figure))
    return found


def notes(settings: Settings, side: int) -> list[str]:
    """What differs from the paper, or is not known of it; for images of so many pixels a side."""
    output = (
        "linear, softmax and cross-entropy"
        if settings["loss"] == nets.LOSSES[0]
        else "scaled tanh, squared error"
    )
    way = (
        "On-line, one image an update, as in the paper"
        if settings["batch_size"] == 1
        else f"Mini-batches of {settings['batch_size']}, where the paper trained on-line"
    )
    fall = (
        "by a constant factor an epoch, as in the paper,"
        if settings["schedule"] == "exponential"
        else "as half a cosine"
    )
    few = settings["validation"] is not None and settings["validation"] < settings["images"]
    count = f"the first {settings['validation']:,}" if few else f"all {settings['images']:,}"
    sigma, alpha = (settings[name] * side / nets.PAPER_SIDE for name in ("sigma", "alpha"))
    as_set = f" (set: {settings['sigma']:g} and {settings['alpha']:g} for a side of {nets.PAPER_SIDE}, here {side})"
    scaled = "" if side == nets.PAPER_SIDE else as_set
    return [
        f"{way}; {settings['optimizer']}, rate {settings['rate']:g} falling {fall} to {settings['last_rate']:g} "
        f"in {settings['epochs']} epochs (the paper's are not known).",
        f"Output layer and loss of the paper are not known here for certain; these are: {output}.",
        f"Elastic displacements: sigma {sigma:.3g}, alpha {alpha:.3g} px{scaled}, for "
        "a Gaussian whose taps sum to 1 in each direction; the paper's alpha is for a normalisation it does not give.",
        f"Validation: {count} of the training images, undeformed; all of them are trained on, deformed.",
        "Energy is left out: it was not measured.",
    ]


def draw_curves(by_net: Mapping[int, Sequence[Result]]) -> Figure:
    """Errors over the epochs: training on deformed images, validation, test; a panel a net."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(by_net), 4), layout="constrained")
    axes = figure.subplots(1, len(by_net), squeeze=False, sharey=True)[0]
    names = {
        "train": "training, deformed",
        "validation": "validation: training images undeformed",
        "test": "test",
    }
    for axis, (net, results) in zip(axes, by_net.items(), strict=True):
        for key, color in zip(names, ("tab:blue", "tab:orange", "tab:green"), strict=True):
            for number, result in enumerate(results):
                errors = 100 * np.asarray(result[f"{key}_errors"])
                label = names[key] if number == 0 else None
                axis.plot(
                    np.arange(1, len(errors) + 1), np.maximum(errors, 1e-3), color=color, lw=1, label=label
                )
        axis.axhline(nets.PAPER[net][0], color="0.5", ls="--", lw=1, label="the paper's test error")
        axis.set(yscale="log", xlabel="epoch", title=f"net {net}: {', '.join(map(str, nets.NETS[net]))}")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.legend(fontsize=8)
    axes[0].set_ylabel("error (%)")
    return figure


def draw_deformed(images: npt.NDArray[np.uint8]) -> Figure:
    """A row a digit: as it is, then as it was seen in the first epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(images.shape[1], len(images)), layout="constrained")
    axes = figure.subplots(len(images), images.shape[1], squeeze=False)
    for row, digit in zip(axes, images, strict=True):
        for axis, image in zip(row, digit, strict=True):
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
    axes[0][0].set_title("original", fontsize=9)
    for epoch in range(1, images.shape[1]):
        axes[0][epoch].set_title(f"epoch {epoch}", fontsize=9)
    return figure


def draw_misclassified(result: Result) -> Figure:
    """Misclassified test digits: the label above, the two best guesses below."""
    from matplotlib.figure import Figure

    count, columns = len(result["wrong_labels"]), 10
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(columns, 1.35 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    side = result["side"]
    for axis in axes:
        axis.axis("off")
    for number in range(count):
        axes[number].imshow(
            result["wrong_images"][number].reshape(side, side), cmap="gray_r", vmin=0, vmax=255
        )
        one, two = result["wrong_guesses"][number]
        axes[number].set_title(f"{result['wrong_labels'][number]}", fontsize=9)
        axes[number].text(
            0.5, -0.02, f"{one}   {two}", transform=axes[number].transAxes, ha="center", va="top", fontsize=9
        )
    return figure
