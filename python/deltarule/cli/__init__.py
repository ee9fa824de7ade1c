"""The command ``deltarule``: train, predict, info, reproduce.

Every mistake of a user ends here as one line on stderr and exit code 2. Exit code 130 is Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

USER_MISTAKE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program; those of the process by default.
    """
    try:
        import click
    except ImportError:
        return _fail("deltarule", "the command line needs click: pip install 'deltarule[train]'")
    try:
        from .. import DeviceError
        from .group import group
    except (ImportError, ValueError) as error:
        # The first question to the extension tells of a DELTARULE_ISA that is unknown or unsupported.
        return _fail("deltarule", str(error.__cause__ or error))

    try:
        code = group.main(
            args=None if argv is None else list(argv), prog_name="deltarule", standalone_mode=False
        )
        sys.stdout.flush()
        return int(code or 0)
    except click.Abort:
        return _fail("deltarule", "interrupted", INTERRUPTED)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "deltarule"
        return _fail(command, error.format_message() + _choices(error))
    except click.ClickException as error:
        return _fail("deltarule", error.format_message(), error.exit_code)
    except BrokenPipeError:
        # The reader of our output has gone (| head): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _fail("deltarule", _describe(error))
    except (ValueError, DeviceError) as error:
        return _fail("deltarule", str(error))


def _choices(error: Exception) -> str:
    """The commands there are, for an error about one that is not; of options click lists the choices."""
    from .group import group

    return f" Choices: {', '.join(group.commands)}." if "No such command" in str(error) else ""


def _describe(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _fail(command: str, message: str, code: int = USER_MISTAKE) -> int:
    print(f"{command}: error: {' '.join(message.split())}", file=sys.stderr)
    return code
