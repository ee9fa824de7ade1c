"""One training run: its data, its net, and the folder with all that comes out of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core, data, nn, plots
from .._through import host
from ..data import Dataset, Samples, Standardizer
from ..data.samples import part_of
from .files import write_json
from .report import Task, measure, per_class_lines
from .settings import FILE_NAME as SETTINGS
from .settings import Settings, column_of, parse_schedule

MODEL = "model.safetensors"
CHECKPOINT = "checkpoint.safetensors"
HISTORY = "history.json"
REPORT = "report.json"
LEARNING_CURVE = "learning_curve.png"
CONFUSION = "confusion.png"
PREDICTIONS = "predictions.png"


@dataclass(frozen=True)
class TargetScale:
    """Real targets t are trained as (t - shift) / scale, so that one learning rate fits every unit."""

    shift: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, targets: NDArray[Any]) -> TargetScale:
        """Mean and standard deviation of `targets` [n,k]; a constant column keeps scale 1."""
        deviation = targets.std(axis=0, dtype=np.float64)
        return cls(targets.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))

    def apply(self, targets: NDArray[Any]) -> NDArray[np.float64]:
        """`targets` [n,k] as they are trained."""
        return (targets - self.shift) / self.scale

    def fold_into(self, net: nn.Network) -> None:
        """Change the last (linear) layer so that the net gives values in the units of the data."""
        weights, bias = net.parameters[-2:]
        weights[...] = (host(weights) * self.scale).astype(weights.dtype)
        bias[...] = (host(bias) * self.scale + self.shift).astype(bias.dtype)


@dataclass
class Job:
    """A run that is ready to start or to go on."""

    settings: Settings
    folder: Path
    dataset: Dataset
    training: Samples
    validation: Samples | None
    net: nn.Network
    task: Task
    target_scale: TargetScale | None

    def clear_folder(self) -> None:
        """Take away what would make an earlier run in this folder look like this one.

        Its model and figures stay until this one's replace them.
        """
        for name in (CHECKPOINT, REPORT):
            (self.folder / name).unlink(missing_ok=True)

    def train(self, progress: bool, resume: bool) -> nn.History:
        """Train, with a checkpoint after every epoch; `resume` goes on from the last one."""
        settings = self.settings
        assert settings.batch_size is not None  # `plan` has completed them
        callbacks: list[nn.Callback] = [nn.Checkpoint(self.folder / CHECKPOINT)]
        if settings.early_stopping:
            monitor = "validation_loss" if self.task is Task.VALUES else "validation_error"
            callbacks.append(nn.EarlyStopping(monitor=monitor, patience=settings.early_stopping))
        validation = None
        if self.validation is not None:
            validation = (self.validation.x, self._targets(self.validation))
        return self.net.fit(
            self.training.x,
            self._targets(self.training),
            optimizer=settings.make_optimizer(),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            validation=validation,
            schedule=parse_schedule(settings.schedule, settings.epochs),
            callbacks=callbacks,
            progress=progress,
            resume=self.folder / CHECKPOINT if resume else None,
        )

    def save_model(self) -> Path:
        """Write the model as it is now, in the units of the data; the net is not for training after this."""
        if self.target_scale is not None:
            self.target_scale.fold_into(self.net)
            self.target_scale = None
        self.net.save(self.folder / MODEL)
        return self.folder / MODEL

    def finish(self, history: nn.History) -> dict[str, Any]:
        """Write model, history and figures; return the numbers, which report.json keeps as well."""
        self.save_model()
        write_json(self.folder / HISTORY, {"epochs": history.epochs})
        test = measure(self.net, self.dataset.test, self.task, self.dataset.classes)
        figures = self._draw(history, test.outputs)
        names = [MODEL, HISTORY, *figures, CHECKPOINT, SETTINGS, REPORT]
        seconds = sum(epoch["seconds"] for epoch in history.epochs)
        report = {
            "test_error": test.error,
            "train_error": measure(self.net, self.training, self.task).error,
            "validation_error": (
                None if self.validation is None else measure(self.net, self.validation, self.task).error
            ),
            "epochs": len(history.epochs),
            "seconds": seconds,
            "samples_per_second": len(self.training) * len(history.epochs) / seconds if seconds > 0 else None,
            "parameters": self._parameter_count(),
            "device": self.settings.device,
            "isa": _core.isa(),
            "threads": _core.num_threads(),
            "precision": self.settings.precision,
            "seed": self.settings.seed,
            "files": [str(self.folder / name) for name in names],
            "data": self.settings.data,
            test.detail_name: test.details,
        }
        # Last, because its presence says that the run is finished.
        write_json(self.folder / REPORT, report)
        return report

    def describe(self) -> str:
        """Data and net, in two lines."""
        settings, data_set = self.settings, self.dataset
        validation = 0 if self.validation is None else len(self.validation)
        goal = f"{self.net.outputs} {self.task.value}"
        sizes = "-".join(map(str, (self.net.inputs, *settings.hidden, self.net.outputs)))
        parts = (
            f"{len(self.training)} training, {validation} validation and {len(data_set.test)} test samples"
        )
        return (
            f"{data_set.name}: {parts} of {self.net.inputs} inputs, {goal}\n"
            f"{sizes} {settings.activation}, {self._parameter_count()} parameters, {settings.loss}, "
            f"{settings.optimizer} {settings.lr:g} {settings.schedule}, {settings.epochs} epochs, "
            f"minibatches of {settings.batch_size}; "
            f"{settings.device} {_core.isa()}, {_core.num_threads()} threads"
        )

    def summary(self, report: dict[str, Any]) -> str:
        """The numbers of `finish` as text."""
        unit = (
            "of the variance unexplained"
            if self.task is Task.VALUES
            else f"of {len(self.dataset.test)} samples"
        )
        validation = report["validation_error"]
        lines = [f"test error        {report['test_error']:8.2%} {unit}"]
        if validation is not None:
            lines.append(f"validation error  {validation:8.2%}")
        lines.append(f"train error       {report['train_error']:8.2%}")
        lines += per_class_lines(report)
        rate = report["samples_per_second"]
        speed = "" if rate is None else f", {rate:,.0f} samples/s"
        lines.append(f"{report['epochs']} epochs in {report['seconds']:.1f} s{speed}")
        lines.append("written:")
        lines += [f"  {name}" for name in report["files"]]
        return "\n".join(lines)

    def _targets(self, samples: Samples) -> NDArray[Any]:
        return samples.y if self.target_scale is None else self.target_scale.apply(samples.y)

    def _parameter_count(self) -> int:
        return sum(int(np.prod(parameter.shape)) for parameter in self.net.parameters)

    def _draw(self, history: nn.History, outputs: NDArray[Any]) -> list[str]:
        """Draw the figures that fit the task; their file names."""
        plots.save(plots.learning_curve(history.epochs, title=self.folder.name), self.folder / LEARNING_CURVE)
        test = self.dataset.test
        if self.task is Task.CLASSES:
            assert self.dataset.classes is not None
            shape = self.dataset.image_shape
            figure = plots.confusion(
                test.y, outputs, self.dataset.classes, images=test.x if shape else None, image_shape=shape
            )
            plots.save(figure, self.folder / CONFUSION)
            return [LEARNING_CURVE, CONFUSION]
        if self.task is Task.VALUES:
            plots.save(plots.predictions(test.y, outputs), self.folder / PREDICTIONS)
            return [LEARNING_CURVE, PREDICTIONS]
        return [LEARNING_CURVE]


def plan(settings: Settings, folder: Path, data_dir: str | None = None, progress: bool | str = False) -> Job:
    """Load the data and build the net of `settings`; `data_dir` says where the data lie now.

    Raises
    ------
    ValueError, OSError, DeviceError
        If data, options or device are not usable; nothing has been written by then.
    """
    try:
        dataset = data.load(
            settings.data,
            data_dir=data_dir or settings.data_dir,
            label=column_of(settings.label),
            regression=True if settings.regression else None,
            progress=progress,
        )
    except (TypeError, ModuleNotFoundError) as error:
        # A dtype that is no number, a package that is not installed: the user's to mend, like a ValueError.
        raise ValueError(str(error)) from error
    training, validation = dataset.train, None
    if dataset.classes is not None and len(dataset.classes) == 1:
        raise ValueError(f"{settings.data} has one class only, {dataset.classes[0]!r}; wanted two or more")
    if settings.validation > 0:
        _check_validation(settings.validation, len(training))
        training, validation = training.split(settings.validation, settings.seed)
    settings = dataclasses.replace(settings, data_dir=data_dir or settings.data_dir)
    settings = settings.completed(dataset, len(training))
    task = Task.of(dataset, settings.loss)
    net = settings.make_network(dataset.inputs, dataset.outputs)
    kind = "global" if dataset.image_shape is not None else "feature"
    standardizer = Standardizer.fit(training.x, kind=kind)
    net.standardize(standardizer.shift, standardizer.scale)
    net.classes = None if dataset.classes is None else list(dataset.classes)
    net.feature_names = None if dataset.feature_names is None else list(dataset.feature_names)
    net.image_shape = dataset.image_shape
    net.pixel_max = float(dataset.train.x.max()) if dataset.image_shape is not None else None
    scale = TargetScale.fit(training.y) if task is Task.VALUES else None
    return Job(settings, folder, dataset, training, validation, net, task, scale)


def _check_validation(fraction: float, count: int) -> None:
    """Raise ValueError if such a part of the training samples has none, or all."""
    if not part_of(count, fraction):
        raise ValueError(
            f"--validation {fraction:g} of {count} training samples leaves one side without; "
            "wanted more samples, another part, or --validation 0"
        )
