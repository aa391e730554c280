"""Maps errors of all commands to an exit code and one sentence instead of a traceback."""

import os
import sys
from pathlib import Path
from typing import Any, Final, cast

import typer
from typer.core import TyperGroup

from streamlabel.config.masking import mask_credentials
from streamlabel.consumer.core.causes import first_cause
from streamlabel.errors import ConfigError, StreamlabelError
from streamlabel.extras import missing_package
from streamlabel.models.devices.torch_import import no_autoload

__all__ = ["Program"]

_INTERRUPTED: Final = 130

# typer handles wrong usage, --help and exit codes. Since 0.26 it has its own copy of click, so the
# base class of these errors is looked up by name.
_CLICK_ERROR: Final = cast(
    "type[Exception]", next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
)
_TYPERS_OWN: Final = (typer.Exit, typer.Abort, _CLICK_ERROR)


class Program(TyperGroup):
    """The group of all commands; maps errors to exit codes.

    ``STREAMLABEL_DEBUG=1`` lets errors through, with their tracebacks.
    """

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 typer's signature
        """Run the requested command."""
        no_autoload()
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
    """Print the error; return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    if isinstance(error, StreamlabelError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # the reader of our output (head) has closed it; nothing may be flushed to it any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif isinstance(error, ImportError) and (said := missing_package(error, what="this command")):
        _say(said)
        return ConfigError.exit_code
    elif isinstance(error, OSError):
        _say(f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}")
    else:
        # without its message, which may contain the text of a record
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
    for line in mask_credentials(message).splitlines():
        typer.echo(f"streamlabel: {line}", err=True)
