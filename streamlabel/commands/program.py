"""How every command ends: an exit code, and one readable sentence instead of a traceback."""

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from streamlabel.errors import StreamlabelError

__all__ = ["Program"]

_INTERRUPTED = 130


class Program(TyperGroup):
    """The group of all commands; maps errors to exit codes.

    ``STREAMLABEL_DEBUG=1`` lets errors through, with their tracebacks.
    """

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 typer's signature
        """Run the command that was asked for."""
        if os.environ.get("STREAMLABEL_DEBUG") == "1":
            return super().invoke(ctx)
        code = 1
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            code = _INTERRUPTED
        except StreamlabelError as error:
            _say(str(error))
            code = error.exit_code
        except BrokenPipeError:
            # whoever read our output (head) has enough; nothing may be flushed to it any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            _say(f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}")
        raise typer.Exit(code)


def _say(message: str) -> None:
    for line in message.splitlines():
        typer.echo(f"streamlabel: {line}", err=True)
