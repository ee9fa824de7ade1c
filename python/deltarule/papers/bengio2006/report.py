"""The table beside the paper's, what of it holds, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ... import plots
from ..experiment import Claim, Report, Result, Settings, Table, mean, spread
from .cells import TITLES, few_counts, sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Train, validation and test error in %, as usually cited. Denoising came later (Vincent et al. 2008).
PAPER: dict[str, tuple[float, float, float]] = {
    "shallow": (0.004, 1.8, 1.9),
    "none": (0.004, 2.1, 2.4),
    "supervised": (0.0, 1.7, 2.0),
    "autoencoder": (0.0, 1.4, 1.4),
    "dbn": (0.0, 1.2, 1.2),
}
MARKS = {
    "dbn": 1.4,
    "supervised": 2.0,
    "none": 2.4,
    "shallow": 1.9,
}  # test error in % that a full run should reach
DATA = {"mnist": "MNIST", "digits": "scikit-learn's digits"}
IDEAS = ("none", "supervised", "dbn")
FEWER = 0.75  # of the error without pre-training, with 1,000 labels

Errors = dict[str, list[float]]


def make_report(settings: Settings, results: Mapping[str, Result]) -> Report:
    """Tables, claims and figures of the results by key."""
    runs = by_model(settings, results)
    test = {name: percent(records, "test_error") for name, records in runs.items()}
    few = few_errors(results)
    codes = [result for key, result in results.items() if key.startswith("codes-")]
    figures = {"errors": partial(draw_errors, test), "validation": partial(draw_validation, runs)}
    if few["none"]:
        figures["few-labels"] = partial(draw_few, few)
    if codes and codes[0]["codes"].shape[1] == 2:
        figures["codes"] = partial(draw_codes, codes[0])
    if codes:
        figures["reconstructions"] = partial(draw_reconstructions, codes[0])
    return Report(
        tables=[main_table(settings, runs), *([few_table(settings, few)] if few["none"] else [])],
        claims=[*ordering_claims(test), *mark_claims(settings, test), *few_claims(few)],
        figures=figures,
        notes=[
            "Every training stops, and is chosen, by the error on the validation images; so were the settings. "
            "The test images are looked at once, after that.",
            "Weights start uniform in +-1 / sqrt(inputs) in every model.",
            *size_notes(settings),
        ],
    )


def size_notes(settings: Settings) -> list[str]:
    """Where the images are too few for the settings."""
    train, validation = sizes(settings, settings["images"])
    notes = []
    if (train, validation) != (settings["train"], settings["validation"]):
        notes.append(
            f"Of {settings['images']:,} images {train:,} are trained on and {validation:,} choose, a sixth at most; "
            f"the settings say {settings['train']:,} and {settings['validation']:,}."
        )
    left = [n for n in settings["few"]["labels"] if n not in few_counts(settings, settings["images"])]
    if left:
        notes.append(f"Too many labels for so few images, left out: {', '.join(f'{n:,}' for n in left)}.")
    return notes


def by_model(settings: Settings, results: Mapping[str, Result]) -> dict[str, list[Result]]:
    """The results of each model, seed by seed."""
    return {
        name: [result for key, result in results.items() if key.startswith(f"{name}-seed")]
        for name in settings["models"]
    }


def percent(records: Sequence[Result], key: str) -> list[float]:
    """One number of every seed, in %."""
    return [100 * float(record[key]) for record in records]


def few_errors(results: Mapping[str, Result]) -> dict[str, dict[int, list[float]]]:
    """Test errors in % by model, number of labels and seed."""
    found: dict[str, dict[int, list[float]]] = {"shallow": {}, "none": {}, "dbn": {}}
    for key, result in results.items():
        if not key.startswith("few-"):
            continue
        for name, errors in found.items():
            for count, record in result[name].items():
                errors.setdefault(int(count), []).append(100 * float(record["test_error"]))
    return found


def main_table(settings: Settings, runs: Mapping[str, Sequence[Result]]) -> Table:
    """Errors of every model, mean and spread over the seeds, beside the paper's."""
    rows = []
    for name, records in runs.items():
        test = percent(records, "test_error")
        paper = PAPER.get(name)
        rows.append(
            [
                TITLES[name],
                *(mean(percent(records, key)) for key in ("train_error", "validation_error")),
                mean(test),
                spread(test),
                "-" if paper is None else " / ".join(f"{value:g}" for value in paper),
                mean(float(record["best_epoch"]) for record in records),
                mean(float(record["seconds"]) for record in records) if "seconds" in records[0] else None,
            ]
        )
    return Table(
        f"Error on {DATA.get(settings['data'], settings['data'])} in %",
        [
            "model",
            "train",
            "validation",
            "test",
            "spread",
            "paper: train / valid / test",
            "best epoch",
            "seconds",
        ],
        rows,
        "Spread: standard deviation of the test error over the seeds. The paper's figures as usually cited; "
        "denoising auto-encoders came with Vincent et al. 2008.",
    )


def few_table(settings: Settings, few: Mapping[str, Mapping[int, Sequence[float]]]) -> Table:
    """Test errors with few labels."""
    rows = []
    for count, without in few["none"].items():
        trained = few["dbn"][count]
        ratio = mean(trained) / mean(without) if mean(without) > 0 else None
        errors = [number for name in few for number in (mean(few[name][count]), spread(few[name][count]))]
        rows.append([count, *errors, ratio])
    train, validation = sizes(settings, settings["images"])
    judges = min(settings["few"]["validation"], validation)
    return Table(
        "Few labels: test error in %",
        ["labels", *(column for name in few for column in (TITLES[name], "spread")), "DBN / no pre-training"],
        rows,
        f"The DBN is pre-trained on {train + validation:,} images without labels. Every net here is stopped, and "
        f"chosen, by the error on {judges:,} more labelled images.",
    )


def apart(lower: Sequence[float], upper: Sequence[float]) -> bool:
    """Whether the means are further apart than the two spreads together; of one seed each, the order alone."""
    return mean(upper) - mean(lower) > (spread(lower) or 0.0) + (spread(upper) or 0.0)


def ordering_claims(test: Errors) -> list[Claim]:
    """What the paper is about: which idea is better than which."""
    wanted = [
        ("dbn", "supervised", "unsupervised pre-training (DBN) is better than supervised"),
        ("supervised", "none", "supervised pre-training is better than none"),
        ("dbn", "none", "unsupervised pre-training (DBN) is better than none"),
        ("dbn", "shallow", "a deep net with unsupervised pre-training (DBN) is better than a shallow one"),
        ("autoencoder", "none", "auto-encoders are better than no pre-training"),
        ("denoising", "none", "denoising auto-encoders are better than no pre-training"),
    ]
    return [
        Claim(
            text + _extent(test[better], test[worse]),
            apart(test[better], test[worse]),
            f"{shown(test[better])} against {shown(test[worse])}",
        )
        for better, worse, text in wanted
        if better in test and worse in test
    ]


def _extent(*errors: Sequence[float]) -> str:
    """What a claim of order rests on: one seed has no spread to be beyond."""
    return ", beyond the spread of the seeds" if min(map(len, errors)) > 1 else " (with one seed; no spread)"


def mark_claims(settings: Settings, test: Errors) -> list[Claim]:
    """The errors a full run on MNIST should reach."""
    if settings.get("quick") or settings.get("data", "mnist") != "mnist":
        return []
    return [
        Claim(f"{TITLES[name]}: test error at most {mark:g} %", mean(test[name]) <= mark, shown(test[name]))
        for name, mark in MARKS.items()
        if name in test
    ]


def few_claims(few: Mapping[str, Mapping[int, Sequence[float]]]) -> list[Claim]:
    """Pre-training is for few labels."""
    return [
        Claim(
            f"with {count:,} labels, pre-training lowers the error by at least a quarter",
            mean(few["dbn"][count]) <= FEWER * mean(without),
            f"{shown(few['dbn'][count])} against {shown(without)}",
        )
        for count, without in few["none"].items()
        if count == 1000
    ]


def shown(values: Sequence[float]) -> str:
    """Mean and spread as text.

    >>> shown([1.0, 2.0, 3.0]), shown([1.5])
    ('2.00 +- 1.00 %', '1.50 %')
    """
    width = spread(values)
    return f"{mean(values):.2f} %" if width is None else f"{mean(values):.2f} +- {width:.2f} %"


def draw_errors(test: Errors) -> Figure:
    """Bars of the test error: percent, lower is better; the paper's beside them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, (name, values) in enumerate(test.items()):
        color = "tab:blue" if name in IDEAS else "0.7"
        axes.bar(place, mean(values), 0.6, yerr=spread(values), color=color, capsize=4)
        axes.text(
            place, 0.05 * mean(values), f"{mean(values):.2f}", ha="center", color="white", weight="bold"
        )
        if name in PAPER:
            label = "paper, as usually cited" if place == 0 else None
            axes.plot([place - 0.35, place + 0.35], [PAPER[name][2]] * 2, color="tab:red", label=label)
    axes.set_xticks(range(len(test)), [TITLES[name].replace("deep net, ", "deep net,\n") for name in test])
    axes.tick_params(axis="x", labelsize=8)
    axes.set_ylabel("test error (%), lower is better")
    axes.legend()
    return figure


def draw_validation(runs: Mapping[str, Sequence[Result]]) -> Figure:
    """The validation error over the epochs of fine-tuning, of every model's first seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, records in runs.items():
        errors = 100 * np.array(records[0]["validation_errors"], dtype=np.float64)
        axes.plot(np.arange(1, len(errors) + 1), errors, label=TITLES[name])
    axes.set_xlabel("epoch of fine-tuning")
    axes.set_ylabel("validation error (%)")
    axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    return figure


def draw_few(few: Mapping[str, Mapping[int, Sequence[float]]]) -> Figure:
    """Test error over the number of labels."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, color in (("shallow", "0.7"), ("none", "0.4"), ("dbn", "tab:blue")):
        counts = sorted(few[name])
        means = [mean(few[name][count]) for count in counts]
        spreads = [spread(few[name][count]) or 0.0 for count in counts]
        axes.errorbar(counts, means, yerr=spreads, marker="o", capsize=3, color=color, label=TITLES[name])
    axes.set_xscale("log")
    axes.set_xticks(sorted(few["dbn"]), [f"{count:,}" for count in sorted(few["dbn"])])
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("labelled images")
    axes.set_ylabel("test error (%), lower is better")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_codes(codes: Result) -> Figure:
    """The plane of two-number codes of test images."""
    return plots.code_plane(codes["codes"], codes["labels"])


def draw_reconstructions(codes: Result) -> Figure:
    """Test images, and what came back from their two numbers."""
    height, width = codes["image_shape"]
    return plots.reconstructions(codes["originals"], codes["reconstructions"], (height, width))
