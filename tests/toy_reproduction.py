"""A small experiment, and `deltarule` with it: ``python toy_reproduction.py reproduce toy --out F``."""

import sys
import types

import numpy as np
from deltarule import data, nn, papers
from deltarule.papers.experiment import Cell, Claim, Experiment, Report, Table, mean, spread

runs = []  # keys of the cells that have run in this process
SETTINGS = {"epochs": 3, "hidden": [8]}


def settings(quick):
    return {**SETTINGS, "rate": 0.1 if quick else 0.05}


def train(work, seed):
    """Two trainings, the second on the outputs of the first; noise makes the rows unequal."""
    runs.append(f"net-seed{seed}")
    x = np.random.default_rng(seed).standard_normal((4000, 16)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    first = nn.mlp([16, *work.settings["hidden"], 2], "tanh", seed=seed, device=work.device)
    options = {"epochs": work.settings["epochs"], "batch_size": 20}
    rate = work.settings["rate"]
    work.fit(first, x, y, name="first", optimizer=nn.Momentum(rate), validation=(x[:500], y[:500]), **options)
    second = nn.mlp([2, 4, 2], "tanh", seed=seed, device=work.device)
    history = work.fit(second, first.forward(x), y, name="second", optimizer=nn.Adam(rate), **options)
    return {
        "error": history["train_error"][-1],
        "nothing": float("nan"),
        "losses": np.array(history["train_loss"]),
        "weights": np.asarray(second.parameters[0]),
    }


def cells(settings, seeds):
    return [Cell(f"net-seed{s}", f"net, seed {s}", lambda work, s=s: train(work, s), 2.0) for s in seeds]


def report(settings, results):
    from matplotlib.figure import Figure

    errors = [result["error"] for result in results.values()]

    def curve():
        figure = Figure()
        axes = figure.subplots()
        for result in results.values():
            axes.plot(result["losses"])
        return figure

    rows = [["net", 0.5, mean(errors), spread(errors)]]
    return Report(
        [Table("Errors", ["model", "paper", "ours", "spread"], rows)],
        [Claim("a net learns", mean(errors) < 0.6, f"error {mean(errors):.3f}")],
        {"curve": curve},
        ["a note"],
    )


EXPERIMENT = Experiment("toy", "A toy", "Nobody, 1900", settings, cells, report, needs_images=False)


def look(work):
    images = work.images()
    assert isinstance(images, data.Dataset)
    return {"name": images.name, "pixels": images.inputs}


PICTURES = Experiment(
    "pictures", "Images", "Nobody, 1901", lambda quick: {},
    lambda settings, seeds: [Cell("look", "look", look)],
    lambda settings, results: Report([Table("Data", ["name"], [[settings["data"]]])], []),
)  # fmt: skip


def register(patch=setattr, item=sys.modules.__setitem__):
    """Add the experiments to `papers`."""
    patch(papers, "NAMES", (*papers.NAMES, "toy", "pictures"))
    for experiment in (EXPERIMENT, PICTURES):
        module = types.ModuleType(experiment.name)
        module.EXPERIMENT = experiment
        item(f"deltarule.papers.{experiment.name}", module)


if __name__ == "__main__":
    from deltarule.cli import main

    epochs, *arguments = sys.argv[1:]
    SETTINGS["epochs"] = int(epochs)
    register()
    sys.exit(main(arguments))
