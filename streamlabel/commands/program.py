"""How every command ends: an exit code, and one readable sentence instead of a traceback."""

import os
import sys
from pathlib import Path
from typing import Any, Final, cast

import typer
from typer.core import TyperGroup

from streamlabel.consumer.causes import first_cause
from streamlabel.errors import StreamlabelError

__all__ = ["Program"]

_INTERRUPTED: Final = 130

# Wrong usage, --help and exit codes are typer's business. It has brought its own copy of click
# since 0.26, so the root of these errors is found by name.
_CLICK_ERROR: Final = cast(
    "type[Exception]", next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
)
_TYPERS_OWN: Final = (typer.Exit, typer.Abort, _CLICK_ERROR)


class Program(TyperGroup):
    """The group of all commands; maps errors to exit codes.

    ``STREAMLABEL_DEBUG=1`` lets errors through, with their tracebacks.
    """

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 typer's signature
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except _TYPERS_OWN:
            raise
        except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:
            if os.environ.get("STREAMLABEL_DEBUG") == "1":
                raise
            cause = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
        raise typer.Exit(_report(cause))


def _report(error: BaseException) -> int:
    """Say what went wrong; return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    if isinstance(error, StreamlabelError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # whoever read our output (head) has enough; nothing may be flushed to it any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif isinstance(error, OSError):
        _say(f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}")
    else:
        # not its message: it may hold the text of a record
        _say(
            f"internal error: {type(error).__name__}{_place(error)}. This is a bug: please report"
            " it, with the traceback that STREAMLABEL_DEBUG=1 shows"
        )
    return 1


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" in {Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"


def _say(message: str) -> None:
    for line in message.splitlines():
        typer.echo(f"streamlabel: {line}", err=True)
