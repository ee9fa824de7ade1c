"""What ``deltarule train`` was asked for: checked, completed from the data, stored with the run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import nn
from ..data import Dataset
from .files import write_json

FILE_NAME = "settings.json"
OPTIMIZERS = {optimizer.kind: optimizer for optimizer in nn.optimizers.OPTIMIZERS}
LEARNING_RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adam": 2e-3, "adamw": 2e-3}
SCHEDULES = (
    "constant",
    "step[:EVERY:FACTOR]",
    "exponential[:FACTOR]",
    "cosine[:END]",
    "warmup[:EPOCHS[:THEN]]",
)
BATCH_SIZE = 64
DROPOUT = 0.2
PATIENCE = 10


@dataclass(frozen=True)
class Settings:
    """The options of one run; None means "choose from the data", and `completed` fills it in."""

    data: str
    data_dir: str | None
    label: str | None
    regression: bool
    hidden: tuple[int, ...]
    activation: str
    loss: str | None
    optimizer: str
    lr: float | None
    schedule: str
    epochs: int
    batch_size: int | None
    dropout: float | None
    weight_decay: float | None
    validation: float
    early_stopping: int | None
    seed: int
    device: str
    precision: str
    data_sha256: str | None = None

    def completed(self, dataset: Dataset, samples: int) -> Settings:
        """The settings with nothing left open, for `samples` training samples of `dataset`.

        Raises
        ------
        ValueError
            If options do not fit each other or the data.
        """
        if self.early_stopping and self.validation == 0:
            raise ValueError("--early-stopping watches the validation part: give --validation above 0")
        if self.batch_size is not None and self.batch_size > samples:
            raise ValueError(f"--batch-size {self.batch_size} is more than the {samples} training samples")
        labelled = dataset.train.y.ndim == 1
        if self.loss == "softmax_cross_entropy" and not labelled:
            raise ValueError(
                f"--loss softmax_cross_entropy wants class labels, {dataset.name} has target columns; "
                "use squared_error, or binary_cross_entropy for targets of 0 and 1"
            )
        if self.loss == "binary_cross_entropy" and not labelled:
            parts = (dataset.train.y, dataset.test.y)
            low, high = min(float(y.min()) for y in parts), max(float(y.max()) for y in parts)
            if low < 0 or high > 1:
                raise ValueError(
                    "--loss binary_cross_entropy wants targets from 0 to 1, "
                    f"those of {dataset.name} go from {low:g} to {high:g}; use squared_error"
                )
        return dataclasses.replace(
            self,
            data=_absolute_if_path(self.data),
            data_dir=None if self.data_dir is None else str(Path(self.data_dir).absolute()),
            loss=self.loss or _loss_for(dataset),
            lr=LEARNING_RATES[self.optimizer] if self.lr is None else self.lr,
            dropout=self._dropout_rate(labelled),
            early_stopping=self._patience(labelled),
            batch_size=self.batch_size or min(BATCH_SIZE, samples),
            data_sha256=dataset.sha256(),
        )

    def _dropout_rate(self, labelled: bool) -> float:
        """0.2 for class labels; its noise on the outputs is more than the squared error bears."""
        if self.dropout is not None:
            return self.dropout
        return DROPOUT if labelled and self.loss != "squared_error" else 0.0

    def _patience(self, labelled: bool) -> int:
        """Epochs of early stopping, 0 for none.

        Small tables of real targets are overfitted within the default epochs; the weights of the best epoch
        are wanted there. Labelled images gain more from training to the end of the schedule.
        """
        if self.early_stopping is not None:
            return self.early_stopping
        return PATIENCE if not labelled and self.validation > 0 else 0

    def make_optimizer(self) -> Any:
        """The optimiser of `nn` with this learning rate and weight decay."""
        assert self.lr is not None  # completed
        options = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return OPTIMIZERS[self.optimizer](self.lr, **options)

    def make_network(self, inputs: int, outputs: int) -> nn.Network:
        """The untrained net inputs-hidden-outputs."""
        assert self.loss is not None  # completed
        assert self.dropout is not None
        return nn.mlp(
            [inputs, *self.hidden, outputs],
            activation=self.activation,
            loss=self.loss,
            dropout=self.dropout,
            device=self.device,
            precision=self.precision,
            seed=self.seed,
        )

    def save(self, folder: Path) -> None:
        """Store the settings in a run folder."""
        write_json(folder / FILE_NAME, dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Settings:
        """Read the settings of a run folder; ValueError if they are not ours."""
        path = folder / FILE_NAME
        if not path.is_file():
            raise ValueError(f"--resume {folder}: no {FILE_NAME} there; the folder of a run is wanted")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["hidden"] = tuple(content["hidden"])
            return cls(**content)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: not the settings of a run of this version ({error})") from error


def column_of(label: str | None) -> str | int | None:
    """What --label names: a column by its name, or by its number."""
    return int(label) if label is not None and label.isdecimal() else label


def parse_hidden(text: str) -> tuple[int, ...]:
    """Turn "300-100" into (300, 100) and "none" into ()."""
    if text == "none":
        return ()
    sizes = text.split("-")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ValueError(f"{text!r} is not a list of layer sizes such as 300-100, or none")
    return tuple(int(size) for size in sizes)


def parse_schedule(text: str, epochs: float) -> Any:
    """Turn "cosine", "step:10:0.5", "warmup:2:cosine" into a schedule of `nn`.

    Raises
    ------
    ValueError
        For an unknown name or arguments that are not numbers; the message lists the forms.
    """
    name, *arguments = text.split(":")
    try:
        if name == "warmup":
            warmup = float(arguments[0]) if arguments else 1.0
            rest = ":".join(arguments[1:]) or "constant"
            # What follows has the epochs that are left, so that a cosine still ends with the training.
            return nn.Warmup(warmup, parse_schedule(rest, max(epochs - warmup, 1.0)))
        numbers = [float(argument) for argument in arguments]
        if name == "constant" and not numbers:
            return nn.Constant()
        if name == "step" and len(numbers) in (0, 2):
            return nn.Step(*(numbers or (epochs / 3, 0.3)))
        if name == "exponential" and len(numbers) <= 1:
            return nn.Exponential(*(numbers or (0.95,)))
        if name == "cosine" and len(numbers) <= 1:
            return nn.Cosine(epochs, *numbers)
    except ValueError as error:
        raise ValueError(f"{text!r} ({error}); the forms are {', '.join(SCHEDULES)}") from error
    raise ValueError(f"{text!r} is not one of {', '.join(SCHEDULES)}")


def _loss_for(dataset: Dataset) -> str:
    if dataset.train.y.ndim == 1:
        return "softmax_cross_entropy"
    # Targets with class names are the 0/1 columns of a multi-label problem.
    return "squared_error" if dataset.classes is None else "binary_cross_entropy"


def _absolute_if_path(source: str) -> str:
    """A data source as it is found from any working directory."""
    return str(Path(source).absolute()) if Path(source).exists() else source
