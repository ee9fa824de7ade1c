"""The pieces of work: one net and seed each, trained on digits deformed afresh in every epoch."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import data, nn
from ...data import augment
from ..experiment import Cell, Result, Settings
from ..work import Work
from . import nets

VARIANTS = 8  # of each digit in the picture of deformed ones
MOST_WRONG = 60  # misclassified digits that are drawn


def all_cells(settings: Settings, seeds: Sequence[int]) -> list[Cell]:
    """A training for each net and seed."""
    nets.check(settings)
    return [
        Cell(
            f"net{net}-seed{seed}",
            f"net {net}, seed {seed}",
            functools.partial(train, net=net, seed=seed),
            nets.PAPER[net][3],
        )
        for net in settings["nets"]
        for seed in seeds
    ]


def train(work: Work, net: int, seed: int) -> Result:
    """Train one net; errors, curves and pictures."""
    settings = work.settings
    side, samples, test = padded(work.images())
    white = float(samples.x.max())
    rule = nets.deformation(settings, side)
    made = nets.build(settings, work, net, side * side, white, seed)
    made.image_shape = side, side
    count = settings["validation"] or len(samples)
    held = samples.x[:count], samples.y[:count]
    tests = TestError(test.x, test.y)
    schedule = nets.SCHEDULES[settings["schedule"]](
        settings["last_rate"] / settings["rate"], settings["epochs"]
    )
    optimizer = nets.OPTIMIZERS[settings["optimizer"]](settings["rate"])
    best = nn.EarlyStopping("validation_error", patience=settings["epochs"])
    history = work.fit(
        made, samples.x, samples.y, optimizer=optimizer, epochs=settings["epochs"],
        batch_size=settings["batch_size"], validation=held, schedule=schedule, callbacks=[best, tests], augment=rule,
    )  # fmt: skip
    assert history.best is not None  # EarlyStopping's
    guesses = made.forward(test.x) if made.loss == "squared_error" else made.predict_proba(test.x)
    wrong = np.flatnonzero(guesses.argmax(1) != test.y)
    shown = wrong[:MOST_WRONG]
    return {
        "net": net,
        "weights": sum(math.prod(parameter.shape) for parameter in made.parameters),
        "test_error": len(wrong) / len(test),
        "best_test_error": min(tests.errors),
        "validation_error": history.best["validation_error"],
        "best_epoch": history.best["epoch"],
        "seconds": math.fsum(history["seconds"]),
        "side": side,
        "train_errors": np.array(history["train_error"]),
        "validation_errors": np.array(history["validation_error"]),
        "test_errors": np.array(tests.errors),
        "test_outputs": guesses,
        "test_labels": test.y,
        "wrong_images": (test.x[shown] * (255 / white)).astype(np.uint8),
        "wrong_labels": test.y[shown],
        "wrong_guesses": np.argsort(-guesses[shown], axis=1, kind="stable")[:, :2],
        "deformed": pictures(samples, rule, side, white),
    }


class TestError(nn.Callback):
    """Keeps the test error of every epoch, for the learning curves; it chooses nothing."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y
        self.errors: list[float] = []

    def __repr__(self) -> str:
        return "TestError()"

    def on_train_begin(self, net: nn.Network, history: nn.History) -> None:
        """Forget an earlier training."""
        self.errors = []

    def on_epoch_end(self, net: nn.Network, history: nn.History) -> None:
        """One more."""
        self.errors.append(net.evaluate(self.x, self.y)[1] or 0.0)

    def state(self) -> dict[str, Any]:
        """The errors so far."""
        return {"errors": list(self.errors)}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.errors = list(state["errors"])


def padded(dataset: data.Dataset) -> tuple[int, data.Samples, data.Samples]:
    """Side of the images, a pixel more than they had, training and test part."""
    height, width = dataset.image_shape or (0, 0)
    if height != width or height == 0:
        raise ValueError(f"ciresan2010: images of {dataset.name} are {dataset.image_shape}; wanted squares")
    shape = (height + 1, width + 1)
    train, test = (data.Samples(augment.pad(part.x, shape), part.y) for part in (dataset.train, dataset.test))
    return height + 1, train, test


def pictures(samples: data.Samples, rule: augment.Compose, side: int, white: float) -> npt.NDArray[np.uint8]:
    """The first image of each class, then deformations of it, uint8 [10, 1 + VARIANTS, side, side]."""
    index = np.array([np.flatnonzero(samples.y == label)[0] for label in range(10)])
    x, y = samples.x[index], samples.y[index]
    whole = [x, *(rule(x, seed=0, epoch=epoch, labels=y) for epoch in range(VARIANTS))]
    images = np.stack([np.clip(part * (255 / white), 0, 255).astype(np.uint8) for part in whole], 1)
    return images.reshape(10, 1 + VARIANTS, side, side)
