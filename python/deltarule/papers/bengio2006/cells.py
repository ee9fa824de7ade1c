"""The pieces of work: one model and seed each, the few labels of one seed, and the code plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import nn, pretrain
from ...data import Dataset, Samples
from ..experiment import Cell, Result
from ..work import Work

Settings = Mapping[str, Any]
FEW = 1000  # labels for which few.fit counts epochs
COST = {"shallow": 0.3, "none": 2.0, "few": 1.0, "codes": 0.2}
TITLES = {
    "shallow": "shallow net",
    "none": "deep net, no pre-training",
    "supervised": "deep net, supervised pre-training",
    "autoencoder": "deep net, auto-encoders",
    "denoising": "deep net, denoising auto-encoders",
    "dbn": "deep net, DBN",
}


def all_cells(settings: Settings, seeds: Sequence[int]) -> list[Cell]:
    """Every model for every seed, then the few labels, then the code plane of the first seed."""
    check_corruption(settings)
    made = []
    for seed in seeds:
        for name in settings["models"]:
            run = partial(train_model, name=name, seed=seed)
            made.append(Cell(f"{name}-seed{seed}", f"{TITLES[name]}, seed {seed}", run, COST.get(name, 1.0)))
        run = partial(train_few, seed=seed)
        made.append(Cell(f"few-seed{seed}", f"few labels, seed {seed}", run, COST["few"]))
    run = partial(draw_codes, seed=seeds[0])
    made.append(Cell(f"codes-seed{seeds[0]}", "deep auto-encoder", run, COST["codes"]))
    return made


def check_corruption(settings: Settings) -> None:
    """Raise ValueError unless there is a share of corrupted pixels for every hidden layer."""
    layers = len(settings["hidden"])
    for name, how in settings["models"].items():
        shares = how.get("pretrain", {}).get("corruption")
        if shares is not None and (len(shares) < layers or not all(0 <= share < 1 for share in shares)):
            raise ValueError(
                f"bengio2006: models.{name}.pretrain.corruption is {shares}; "
                f"wanted a number in [0, 1) for each of {layers} hidden layers"
            )


def sizes(settings: Settings, images: int) -> tuple[int, int]:
    """How many of so many images are trained on, and how many choose: a sixth at most."""
    validation = min(settings["validation"], images // 6)
    return min(settings["train"], images - validation), validation


def parts(images: Dataset, settings: Settings) -> tuple[Samples, Samples]:
    """The images to train on and those to choose by, the same for every seed."""
    whole = images.train
    count, validation = sizes(settings, len(whole))
    rest, held_out = whole.split(validation / len(whole), seed=0)
    return rest if count == len(rest) else rest.split(count / len(rest), seed=0)[1], held_out


def new_net(work: Work, images: Dataset, hidden: Sequence[int], seed: int) -> nn.Network:
    """Sigmoid layers with weights uniform in +-1 / sqrt(inputs), as was the custom; pixels from 0 to 1."""
    layers = [*(nn.Dense(units, "sigmoid") for units in hidden), nn.Dense(images.outputs)]
    net = nn.Network(
        layers,
        images.inputs,
        init=nn.init.Standard(),
        device=work.device,
        precision=work.precision,
        seed=seed,
    )
    white = float(images.train.x.max())
    net.standardize(np.zeros(images.inputs), np.full(images.inputs, 1 / white))
    return net


def method(
    name: str, how: Settings, layers: int
) -> list[pretrain.RBM | pretrain.AutoEncoder | pretrain.Supervised]:
    """How each layer is trained first."""
    if name == "supervised":
        return [pretrain.Supervised()] * layers
    if name == "dbn":
        return [pretrain.RBM()] * layers
    corruption = how.get("corruption", [0.0] * layers)
    return [pretrain.AutoEncoder(corruption=corruption[index]) for index in range(layers)]


def train_first(
    work: Work, net: nn.Network, name: str, x: Any, y: Any, how: Settings, layers: int
) -> list[dict[str, Any]]:
    """Pre-train the lowest ``layers`` of a net; the records of the epochs."""
    path = work.folder / "pretraining.safetensors"
    trained = pretrain.greedy(
        net,
        x,
        method(name, how, layers),
        y=y if name == "supervised" else None,
        layers=layers,
        optimizer=nn.Momentum(how["lr"], how["momentum"]),
        epochs=how["epochs"],
        batch_size=min(how["batch_size"], len(x)),
        progress=work.progress,
        checkpoint=path,
        resume=path if path.is_file() else None,
    )
    return trained.epochs


def fine_tune(
    work: Work, net: nn.Network, train: Samples, held_out: Samples, how: Settings, name: str = "fit"
) -> Result:
    """Train the whole net; the weights are those of the best epoch on the validation images."""
    path = work.folder / f"{name}.safetensors"
    # Ctrl-C writes a checkpoint whatever `every` is; the epochs on few images take less than the file.
    saving = nn.Checkpoint(path, every=max(1, 50000 // len(train)))
    history = net.fit(
        train.x,
        train.y,
        nn.SGD(how["lr"]),
        epochs=how["epochs"],
        batch_size=min(how["batch_size"], len(train)),
        validation=(held_out.x, held_out.y),
        schedule=nn.Cosine(how["epochs"]) if how.get("decay") else None,
        callbacks=[nn.EarlyStopping("validation_error", patience=how["patience"]), saving],
        progress=work.progress,
        resume=path if path.is_file() else None,
    )
    best = history.best or history.epochs[-1]
    return {
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "train_error": net.evaluate(train.x, train.y)[1],
        "validation_error": best["validation_error"],
        "validation_errors": history["validation_error"],
        "train_losses": history["train_loss"],
    }


def train_model(work: Work, name: str, seed: int) -> Result:
    """One row of the table, for one seed."""
    images, settings = work.images(), work.settings
    train, held_out = parts(images, settings)
    how = settings["models"][name]
    hidden = settings["hidden"][:1] if name == "shallow" else settings["hidden"]
    net = new_net(work, images, hidden, seed)
    first = []
    if "pretrain" in how:
        first = train_first(work, net, name, train.x, train.y, how["pretrain"], len(hidden))
    result = fine_tune(work, net, train, held_out, how["fit"])
    return {**result, "pretraining": first, "test_error": net.evaluate(images.test.x, images.test.y)[1]}


def few_counts(settings: Settings, images: int) -> list[int]:
    """The numbers of labels that leave most of the images used without."""
    train, validation = sizes(settings, images)
    return [n for n in settings["few"]["labels"] if n < train and 2 * n <= train + validation]


def as_many_updates(how: Settings, labels: int) -> dict[str, Any]:
    """``how`` with epochs and patience for so many labels that take the updates which they take for `FEW`.

    >>> as_many_updates({"lr": 0.3, "epochs": 200, "patience": 80}, 100)
    {'lr': 0.3, 'epochs': 2000, 'patience': 800}
    """
    return {**how, **{name: math.ceil(how[name] * FEW / labels) for name in ("epochs", "patience")}}


def train_few(work: Work, seed: int) -> Result:
    """Few labels: a shallow net, a deep one, and a deep one pre-trained as a DBN on all images without labels."""
    images, settings = work.images(), work.settings
    train, held_out = parts(images, settings)
    hidden, few = settings["hidden"], settings["few"]
    unlabelled = np.concatenate([train.x, held_out.x])
    judges = held_out.take(slice(0, few["validation"]))
    trained = new_net(work, images, hidden, seed)
    train_first(work, trained, "dbn", unlabelled, None, few["pretrain"], len(hidden))
    start = [parameter.copy() for parameter in trained.parameters]
    result: dict[str, Any] = {name: {} for name in few["fit"]}
    for count in few_counts(settings, len(images.train)):
        labelled = train.split(count / len(train), seed=seed)[1]
        for name, how in few["fit"].items():
            net = new_net(work, images, hidden[:1] if name == "shallow" else hidden, seed)
            if name == "dbn":
                for parameter, value in zip(net.parameters, start, strict=True):
                    parameter[...] = value
            record = fine_tune(work, net, labelled, judges, as_many_updates(how, count), f"{name}-{count}")
            test_error = net.evaluate(images.test.x, images.test.y)[1]
            result[name][str(count)] = {**record, "test_error": test_error}
    return result


def draw_codes(work: Work, seed: int) -> Result:
    """A deep auto-encoder down to two numbers an image: the codes of test images, and what comes back of some."""
    images, how = work.images(), work.settings["codes"]
    train, _ = parts(images, work.settings)
    depth = len(how["hidden"])
    layers = [nn.Dense(units, "sigmoid") for units in how["hidden"][:-1]] + [nn.Dense(how["hidden"][-1])]
    net = nn.Network(
        layers, images.inputs, "squared_error", device=work.device, precision=work.precision, seed=seed
    )
    white = float(images.train.x.max())
    net.standardize(np.zeros(images.inputs), np.full(images.inputs, 1 / white))
    methods = [*[pretrain.RBM()] * (depth - 1), pretrain.AutoEncoder()]
    path = work.folder / "pretraining.safetensors"
    rate, momentum = how["pretrain"]["lr"], how["pretrain"]["momentum"]
    trained = pretrain.greedy(
        net,
        train.x,
        methods,
        layers=depth,
        optimizer=[*[nn.Momentum(rate, momentum)] * (depth - 1), nn.Momentum(rate / 10, momentum)],
        epochs=how["pretrain"]["epochs"],
        batch_size=how["pretrain"]["batch_size"],
        progress=work.progress,
        checkpoint=path,
        resume=path if path.is_file() else None,
    )
    deep = pretrain.unroll(net, trained)
    targets = (train.x / white).astype(np.float32)
    history = work.fit(
        deep,
        train.x,
        targets,
        optimizer=nn.Adam(how["fit"]["lr"]),
        epochs=how["fit"]["epochs"],
        batch_size=how["fit"]["batch_size"],
    )
    shown = images.test.take(slice(0, 2000))
    some = first_of_each(shown.y)
    return {
        "loss": history["train_loss"],
        "codes": pretrain.codes(deep, shown.x, depth),
        "labels": shown.y,
        "originals": (shown.x[some] / white).astype(np.float32),
        "reconstructions": pretrain.reconstruct(deep, shown.x[some]),
        "image_shape": list(images.image_shape or (1, images.inputs)),
    }


def first_of_each(y: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The index of the first sample of every class."""
    return np.unique(y, return_index=True)[1].astype(np.int64)
