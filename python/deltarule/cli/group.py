"""The click group that holds the subcommands."""

from __future__ import annotations

import click

from .. import __version__
from .info import info
from .predict import predict
from .reproduce import reproduce
from .train import train


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deltarule")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Train deep neural nets at the speed of the hardware, and use them.

    \b
    deltarule train                                  a deep net on scikit-learn's digits
    deltarule train --data mnist --hidden 300-100    the same on MNIST
    deltarule predict runs/NAME/model.safetensors digit.png
    deltarule reproduce lecture                      a classic result, redone
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (train, predict, info, reproduce):
    group.add_command(command)
