"""``streamlabel health``: request a probe of the service on this machine."""

from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from streamlabel.commands.options import ConfigFile, Overrides, load_settings

if TYPE_CHECKING:
    from streamlabel.config.settings import HttpSettings

__all__ = ["health"]

# Address for requests to a service that listens on all addresses.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 not bound


def health(
    config: ConfigFile = None,
    overrides: Overrides = None,
    *,
    probe: Annotated[
        Literal["livez", "readyz", "startupz"],
        typer.Option(
            help="Probe to request. livez: the service makes progress; readyz: it is able to"
            " work; startupz: the model is loaded."
        ),
    ] = "livez",
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, metavar="SECONDS", help="How long to wait for the answer."
        ),
    ] = 5.0,
) -> None:
    """Request a health probe of the service on this machine; exit code 0 if it passes, else 1.

    The port comes from the configuration, so use the same file and environment as the service. The
    checks that fail are printed. An invalid configuration also gives exit code 1, because container
    health checks know no other codes.

    \b
    Examples:
      streamlabel health -c streamlabel.yaml
      streamlabel health -c streamlabel.yaml --probe readyz
    """  # noqa: D301 \b keeps the lines as they are
    from streamlabel.commands.terminal import say
    from streamlabel.errors import ConfigError

    try:
        http = load_settings(config, overrides).settings.http
        status, said = _ask(http, probe, timeout_s=timeout_s)
    except ConfigError as error:
        say(f"streamlabel: {error}")
        raise typer.Exit(1) from None
    typer.echo(said.strip())
    raise typer.Exit(0 if status == 200 else 1)


def _ask(http: "HttpSettings", probe: str, *, timeout_s: float) -> tuple[int, str]:
    """Return status and body; 0 and the reason if there is no answer.

    Raises:
        ConfigError: with these settings the service has no probes.
    """
    from http.client import HTTPConnection, HTTPException

    from streamlabel.errors import ConfigError

    if not http.enabled:
        raise ConfigError("http.enabled: is false, so there are no probes; set it to true")
    if http.port == 0:
        raise ConfigError("http.port: is 0, so the port is known only from the log; set a port")
    host = _LOOPBACK.get(http.host, http.host)
    # not urllib, which would use the proxy of the environment
    connection = HTTPConnection(host, http.port, timeout=timeout_s)
    try:
        connection.request("GET", f"/{probe}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", errors="replace")
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return 0, f"no answer from {host}:{http.port}: {why}"
    finally:
        connection.close()
