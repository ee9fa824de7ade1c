"""Tables and claims: ours beside the paper's. A claim rests on the mean over the seeds unless it says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..experiment import Claim, Report, Result, Table, mean, spread
from . import figures

# Test error on MNIST in percent, of nets of so many hidden layers: table 1.
PAPER_DEPTH, PAPER_HIDDEN = 5, 1000
PAPER = {
    ("softsign", "standard"): 1.64,
    ("softsign", "normalised"): 1.72,
    ("tanh", "standard"): 1.76,
    ("tanh", "normalised"): 1.64,
    ("sigmoid", "standard"): 2.21,
}
SINGULAR_VALUES = {"standard": 0.5, "normalised": 0.8}
INITS = tuple(SINGULAR_VALUES)
# The top layer of sigmoids is saturated with a mean below LOW and a deviation below FLAT; it has recovered when the
# deviation is above WIDE.
LOW, FLAT, WIDE = 0.1, 0.03, 0.1

Results = Mapping[str, Result]


def report(settings: Mapping[str, Any], results: Results) -> Report:
    """All that is to be shown."""
    rows = [(activation, init) for activation, init in settings["table"]["rows"]]
    claims = [*saturation_claims(settings, results), *start_claims(results)]
    return Report(
        tables=[
            errors_table(settings, rows, results),
            start_table(results),
            saturation_table(settings, results),
        ],
        claims=[*claims, *training_claims(rows, results), *table_claims(rows, results)],
        figures=drawings(settings, rows, results),
        notes=notes(settings),
    )


def of(results: Results, prefix: str) -> list[Result]:
    """The results of PREFIX-seedS, seed by seed."""
    return [result for key, result in results.items() if key.startswith(f"{prefix}-seed")]


def name_of(activation: str, init: str) -> str:
    """As in the paper's table: N is the normalised init."""
    return activation + (" N" if init == "normalised" else "")


def errors_table(settings: Mapping[str, Any], rows: Sequence[tuple[str, str]], results: Results) -> Table:
    """Table 1, the column of MNIST."""
    lines = []
    for activation, init in rows:
        cells = of(results, f"{activation}-{init}")
        test = [100 * cell["test_error"] for cell in cells]
        valid = [100 * float(np.min(np.asarray(cell["validation_error"], np.float64))) for cell in cells]
        epoch = mean(cell["best_epoch"] for cell in cells)
        paper = PAPER.get((activation, init))
        lines.append([name_of(activation, init), paper, mean(test), spread(test), mean(valid), epoch])
    columns = ["units", "paper, test %", "ours, test %", "spread", "validation %", "best epoch"]
    depth = settings["table"]["depth"]
    note = "N: normalised init."
    if depth != PAPER_DEPTH:
        note += f" The paper's nets have {PAPER_DEPTH} hidden layers."
    return Table(f"Table 1: error with {depth} hidden layers", columns, lines, note)


def start_table(results: Results) -> Table:
    """Deviations by layer before any step, and the Jacobians' singular values."""
    lines: list[list[Any]] = []
    for init in INITS:
        values = layers_at_start(results, init)
        for statistic, title in (
            ("deviation", "activations"), ("delta", "back-propagated gradients"), ("gradient", "weight gradients"),
        ):  # fmt: skip
            lines.append([init, title, *map(float, values[statistic])])
        singular = values["singular_values"]
        lines.append([init, "mean singular value of the Jacobian", None, *map(float, singular)])
    depth = len(lines[0]) - 2
    columns = ["init", "deviation of", *(f"layer {layer + 1}" for layer in range(depth))]
    return Table("Layers of tanh before any step", columns, lines)


def layers_at_start(results: Results, init: str) -> dict[str, npt.NDArray[np.float64]]:
    """Statistics by layer, mean over the seeds."""
    cells = [cell[init] for cell in of(results, "start")]
    return {
        key: np.mean([np.asarray(cell[key], np.float64) for cell in cells], axis=0)
        for cell in cells
        for key in cell
    }


def start_claims(results: Results) -> list[Claim]:
    """Section 4.2: figures 6 to 8 and the singular values."""
    standard, normalised = (layers_at_start(results, init) for init in INITS)

    def ratio(values: npt.NDArray[np.float64], over: int, under: int) -> float:
        return float(values[over] / values[under])

    up = ratio(standard["deviation"], -1, 0), ratio(normalised["deviation"], -1, 0)
    down = ratio(standard["delta"], 0, -1), ratio(normalised["delta"], 0, -1)
    monotonic = bool(np.all(np.diff(standard["deviation"]) < 0) and np.all(np.diff(standard["delta"]) > 0))
    # The lowest layer's inputs are pixels: its gradients have another scale.
    inner = standard["gradient"][1:]
    singular = {"standard": float(standard["singular_values"].mean())}
    singular["normalised"] = float(normalised["singular_values"].mean())
    return [
        Claim(
            "Activations shrink from layer to layer under the standard init, not under the normalised (figure 6)",
            monotonic and up[0] < 0.5 and up[1] > 0.5,
            f"deviation at the top over that at the bottom {up[0]:.2f} and {up[1]:.2f}",
        ),
        Claim(
            "Gradients shrink on their way back under the standard init, not under the normalised (figure 7)",
            monotonic and down[0] < 0.5 and down[1] > 0.5,
            f"deviation at the bottom over that at the top {down[0]:.2f} and {down[1]:.2f}",
        ),
        Claim(
            "The weights' gradients do not shrink with them: about equal in all layers (figure 8)",
            bool(inner.max() / inner.min() < 2),
            f"standard init, largest deviation over smallest, layers 2 and up {inner.max() / inner.min():.2f}",
        ),
        Claim(
            "The mean singular value of a layer's Jacobian is 0.5 under the standard init, 0.8 under the normalised",
            all(abs(singular[init] - SINGULAR_VALUES[init]) <= 0.05 for init in INITS),
            " and ".join(f"{singular[init]:.2f}" for init in INITS),
        ),
    ]


def turns(result: Result) -> tuple[int | None, int | None]:
    """Updates after which the top layer of sigmoids is first seen saturated, and recovered after that, or None."""
    centre, deviation = result["mean"][:, -1], result["deviation"][:, -1]
    flat = np.flatnonzero((centre < LOW) & (deviation < FLAT))
    if not len(flat):
        return None, None
    wide = np.flatnonzero(deviation[flat[0] :] > WIDE)
    recovered = int(result["updates"][flat[0] + wide[0]]) if len(wide) else None
    return int(result["updates"][flat[0]]), recovered


def saturation_table(settings: Mapping[str, Any], results: Results) -> Table:
    """When the top layer saturates and recovers, by depth and seed."""
    lines: list[list[Any]] = []
    for depth in settings["saturation"]["depths"]:
        for cell in of(results, f"saturation-{depth}"):
            lowest = float(cell["mean"][:, -1].min())
            error = 100 * float(cell["validation_error"][-1])
            lines.append([depth, *turns(cell), lowest, error])
    columns = [
        "hidden layers",
        "saturated at update",
        "recovered at update",
        "lowest mean",
        "validation % at the end",
    ]
    note = f"Saturated: mean below {LOW}, deviation below {FLAT}; recovered: above {WIDE}; looked at once an epoch."
    return Table("Figure 2: the top layer of sigmoids, seed by seed", columns, lines, note)


def saturation_claims(settings: Mapping[str, Any], results: Results) -> list[Claim]:
    """Section 3.1."""
    claims = []
    for depth in settings["saturation"]["depths"]:
        seen = [turns(cell) for cell in of(results, f"saturation-{depth}")]
        saturated = sum(first is not None for first, _ in seen)
        recovered = sum(second is not None for _, second in seen)
        figure = f"saturated with {saturated} of {len(seen)} seeds, recovered with {recovered}"
        if depth == 4:
            text = "With 4 hidden layers of sigmoids the top one saturates at 0 and recovers (figure 2)"
            claims.append(Claim(text, saturated == recovered == len(seen), figure))
        if depth == 5:
            text = "With 5 it saturates and does not recover"
            claims.append(Claim(text, saturated == len(seen) and recovered == 0, figure))
    return claims


def unevenness(results: Results, init: str) -> float:
    """Largest over smallest deviation of weight gradients, layers 2 and up; median over the second half's epochs."""
    ratios = []
    for cell in of(results, f"tanh-{init}"):
        late = cell["gradient"][len(cell["gradient"]) // 2 :, 1:]
        ratios.append(float(np.median(late.max(axis=1) / late.min(axis=1))))
    return mean(ratios)


def training_claims(rows: Sequence[tuple[str, str]], results: Results) -> list[Claim]:
    """Section 4.3: figure 9."""
    if not {("tanh", init) for init in INITS} <= set(rows):
        return []
    standard, normalised = (unevenness(results, init) for init in INITS)
    return [
        Claim(
            "Weight gradients drift apart in training under the standard init, less under the normalised (figure 9)",
            standard > normalised,
            f"largest deviation over smallest, layers 2 and up {standard:.2f} and {normalised:.2f}",
        )
    ]


def table_claims(rows: Sequence[tuple[str, str]], results: Results) -> list[Claim]:
    """Table 1."""
    errors = {row: [100 * cell["test_error"] for cell in of(results, "-".join(row))] for row in rows}
    sigmoid = errors.pop(("sigmoid", "standard"), None)
    if sigmoid is None or not errors:
        return []
    worst = max(errors, key=lambda row: mean(errors[row]))
    margin = max(spread(sigmoid) or 0.0, spread(errors[worst]) or 0.0)
    gap = mean(sigmoid) - mean(errors[worst])
    return [
        Claim(
            "Sigmoids are clearly the worst of table 1",
            gap > 2 * margin and gap > 0.1,
            f"{mean(sigmoid):.2f} % against {mean(errors[worst]):.2f} % of {name_of(*worst)}, the next",
        )
    ]


def drawings(
    settings: Mapping[str, Any], rows: Sequence[tuple[str, str]], results: Results
) -> dict[str, Any]:
    """The figures, of the first seed."""
    first = {depth: of(results, f"saturation-{depth}")[0] for depth in settings["saturation"]["depths"]}
    nets = {row: of(results, "-".join(row))[0] for row in rows}
    start = of(results, "start")[0]
    watched = {name_of(*row): nets[row] for row in nets if row[0] != "sigmoid" and row[1] == "standard"}
    tanh = {row[1]: nets[row] for row in nets if row[0] == "tanh"}
    drawn = {
        "figure2": partial(figures.saturation, first),
        "figure3": partial(figures.distribution, watched),
        "figure6": partial(figures.histograms, start, "activations", "activation"),
        "figure7": partial(figures.histograms, start, "deltas", "back-propagated gradient"),
        "figure8": partial(figures.histograms, start, "gradients", "weight gradient"),
        "figure9": partial(figures.weight_gradients, tanh),
        "learning": partial(figures.learning, {name_of(*row): net for row, net in nets.items()}),
    }
    empty = [name for name, of_rows in (("figure3", watched), ("figure9", tanh)) if not of_rows]
    return {name: draw for name, draw in drawn.items() if name not in empty}


def notes(settings: Mapping[str, Any]) -> list[str]:
    """What is not as in the paper."""
    table, saturation = settings["table"], settings["saturation"]
    found = [
        "Layers are watched on the first "
        f"{settings['examples']} test examples, once an epoch. Table 1: weights of the best epoch by validation error.",
        f"Updates of {settings['batch_size']} samples: {saturation['updates']} for figure 2, {table['updates']} for "
        "table 1, rounded to whole epochs; an epoch of the paper's figures is 20,000 updates.",
        f"Pixels, of which the paper says nothing: {pixels(settings)}. From 0 to 1, deep sigmoids stay at chance for "
        "far more updates.",
    ]
    parts = {"figure 2": saturation, "figures 6 to 8": settings["start"], "table 1": table}
    widths = [
        f"{part['hidden']} for {name}" for name, part in parts.items() if part["hidden"] != PAPER_HIDDEN
    ]
    if widths:
        found.append(f"Units in a hidden layer: {', '.join(widths)}; the paper's have {PAPER_HIDDEN}.")
    return found


def pixels(settings: Mapping[str, Any]) -> str:
    """How they come in, part by part."""
    words = {"unit": "from 0 to 1", "standardised": "standardised by one mean and deviation"}
    ways = {
        "figure 2": settings["saturation"]["pixels"][settings["data"]],
        "figures 6 to 8": settings["start"]["pixels"],
        "table 1": settings["table"]["pixels"],
    }
    return ", ".join(f"for {name} {words[way]}" for name, way in ways.items())
