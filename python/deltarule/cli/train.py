"""``deltarule train``: from a data set to a trained net, its figures and its numbers."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from .. import _core, nn
from . import run
from .files import check_writable, choose_folder, find_run, prepare_folder, require, write_json
from .settings import LEARNING_RATES, OPTIMIZERS, PATIENCE, SCHEDULES, Settings, parse_hidden, parse_schedule

# With --resume everything else comes from the run itself.
GIVEN_WITH_RESUME = {"resume", "threads", "json_path", "quiet", "data_dir"}


class FiniteRange(click.FloatRange):
    """A range without NaN, which no comparison keeps out, and without infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn the text of an option into a number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number", param, ctx)
        return number


def _hidden(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return parse_hidden(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(short_help="Train a deep net; write model and figures.")
@click.option("--data", default="digits", show_default=True, metavar="SOURCE",
              help="digits, mnist, fashion-mnist, a folder of IDX files, a .npz, a .csv.")  # fmt: skip
@click.option("--data-dir", metavar="DIR", help="Folder that holds the files of mnist or fashion-mnist.")
@click.option("--label", metavar="COLUMN", help="Label column of a .csv, name or number.")
@click.option(
    "--regression", is_flag=True, help="The labels of a file are real targets, though whole numbers."
)
@click.option("--hidden", default="300-100", show_default=True, metavar="SIZES", callback=_hidden,
              help="Units of the hidden layers; none for a linear net.")  # fmt: skip
@click.option("--activation", default="relu", show_default=True, type=click.Choice(_core.activations()),
              metavar="NAME", help=f"Of the hidden layers: {', '.join(_core.activations())}.")  # fmt: skip
@click.option("--loss", type=click.Choice(_core.losses()), metavar="NAME",
              help=f"One of {', '.join(_core.losses())}. [default: chosen from the data]")  # fmt: skip
@click.option("--optimizer", default="adam", show_default=True, type=click.Choice(list(OPTIMIZERS)))
@click.option("--lr", type=FiniteRange(min=0, min_open=True), metavar="RATE",
              help="Learning rate. [default: "
              + ", ".join(f"{name} {rate:g}" for name, rate in LEARNING_RATES.items()) + "]")  # fmt: skip
@click.option("--schedule", default="cosine", show_default=True, metavar="NAME",
              help=f"Of the learning rate over the epochs: {', '.join(SCHEDULES)}.")  # fmt: skip
@click.option("--epochs", default=30, show_default=True, type=click.IntRange(min=1))
@click.option("--batch-size", type=click.IntRange(min=1), help="Samples a step. [default: 64]")
@click.option("--dropout", type=FiniteRange(0, 1, max_open=True),
              metavar="RATE", help="Part of the hidden units left out at each step. "
              "[default: 0.2 for classes, 0 with the squared error]")  # fmt: skip
@click.option("--weight-decay", type=FiniteRange(min=0), metavar="FACTOR",
              help="Of weights alone, not of biases. [default: 0.01 for adamw, else 0]")  # fmt: skip
@click.option("--validation", default=0.1, show_default=True, type=FiniteRange(0, 1, max_open=True),
              metavar="PART", help="Part of the training samples kept for validation.")  # fmt: skip
@click.option("--early-stopping", is_flag=False, flag_value=PATIENCE, type=click.IntRange(min=0),
              metavar="[EPOCHS]", help="Stop after so many epochs without progress in validation and "
              "take the best weights; 0: never. [default: 10 for real targets, else 0]")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--device", default="cpu", show_default=True, metavar="NAME",
              help="cpu, cuda, cuda:1; \"deltarule info\" lists those of this machine.")  # fmt: skip
@click.option("--precision", default="highest", show_default=True,
              type=click.Choice(["highest", "high", "medium"]), help="Of matrix products.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="The result is the same for every number.")
@click.option("--out", metavar="NAME", help="Folder to write: runs/NAME, or a path with a slash as it is. "
              "[default: data, date and seed]")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Allow --out to replace an earlier run.")
@click.option("--json", "json_path", metavar="FILE", help="Write the numbers to FILE as JSON ('-': stdout).")
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with an interrupted run: its folder or checkpoint, or NAME of runs/NAME.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> int:
    """Train a deep net and write model, figures and numbers to runs/NAME/.

    \b
    deltarule train
    deltarule train --data mnist --hidden 300-100 --epochs 20 --json mnist.json
    deltarule train --data table.csv --label price --hidden 64-64 --early-stopping
    deltarule train --resume runs/NAME
    """
    require(["matplotlib", "tqdm"])
    if options["json_path"] is not None:
        check_writable(options["json_path"], "--json")
    if options["threads"] is not None:
        _core.set_num_threads(options["threads"])
    job = _resumed_job(ctx, options) if options["resume"] is not None else _new_job(ctx, options)
    say = _silent if options["quiet"] or options["json_path"] == "-" else click.echo
    return _carry_out(job, options, say)


def _new_job(ctx: click.Context, options: dict[str, Any]) -> run.Job:
    names = Settings.__dataclass_fields__.keys() & options.keys()
    settings = Settings(**{name: options[name] for name in names})
    try:
        parse_schedule(settings.schedule, settings.epochs)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=ctx, param_hint="'--schedule'") from error
    folder = choose_folder(options["out"], settings.data, settings.seed, options["overwrite"])
    job = run.plan(settings, folder, progress=not options["quiet"])
    prepare_folder(folder)
    job.clear_folder()
    job.settings.save(folder)
    return job


def _resumed_job(ctx: click.Context, options: dict[str, Any]) -> run.Job:
    given = [
        f"--{name.replace('_', '-')}"
        for name in options
        if name not in GIVEN_WITH_RESUME and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
    ]
    if given:
        raise ValueError(f"--resume goes on with the settings of the run; leave out {', '.join(given)}")
    folder = find_run(options["resume"])
    settings = Settings.load(folder)
    if (folder / run.REPORT).is_file():
        raise ValueError(f"--resume {folder}: the run is finished, its numbers are in {folder / run.REPORT}")
    if not (folder / run.CHECKPOINT).is_file():
        raise ValueError(f"--resume {folder}: no {run.CHECKPOINT} there, the run stopped before its first")
    job = run.plan(settings, folder, data_dir=options["data_dir"], progress=not options["quiet"])
    if job.settings.data_sha256 != settings.data_sha256:
        raise ValueError(f"--resume {folder}: {settings.data} is not the data the run was started on")
    prepare_folder(folder)
    return job


def _carry_out(job: run.Job, options: dict[str, Any], say: Callable[[str], None]) -> int:
    """Train, then write and print the results; the exit code."""
    from . import INTERRUPTED, USER_MISTAKE

    say(job.describe())
    progress = sys.stderr.isatty() and not options["quiet"]
    try:
        history = job.train(progress=progress, resume=options["resume"] is not None)
    except nn.DivergedError as error:
        job.save_model()
        click.echo(
            f"deltarule train: error: {error}; last good weights are in {job.folder / run.MODEL}", err=True
        )
        return USER_MISTAKE
    except KeyboardInterrupt:
        click.echo(_interrupted(job), err=True)
        return INTERRUPTED
    report = job.finish(history)
    say(job.summary(report))
    if options["json_path"] is not None:
        write_json(options["json_path"], report)
    return 0


def _interrupted(job: run.Job) -> str:
    if not (job.folder / run.CHECKPOINT).is_file():
        return "interrupted before the first checkpoint"
    command = f"deltarule train --resume {shlex.quote(str(job.folder))}"
    return f"interrupted; the state is in {job.folder / run.CHECKPOINT}. Go on with:\n  {command}"


def _silent(_: str) -> None:
    pass
