"""The pages of a configuration: ``create_app``."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette

from streamlabel.config.console import ConsoleSettings
from streamlabel.config.console_rates import RateSettings
from streamlabel.config.settings import Settings
from streamlabel.console.access.one_time_link import OneTimeLink
from streamlabel.console.access.passwords import Passwords
from streamlabel.console.access.provider import Provider, ProviderOptions
from streamlabel.console.access.proxy import TrustedProxy
from streamlabel.console.access.rates import RateLimits
from streamlabel.console.access.sessions import Sessions
from streamlabel.console.access.signing_in import Access
from streamlabel.console.store.api import Store
from streamlabel.console.web.app import make_app
from streamlabel.console.web.options import PageOptions, TaskChoices
from streamlabel.console.web.rendering import Renderer, load_renderer
from streamlabel.errors import ConfigError
from streamlabel.models.calibration.calibration_file import CalibrationFile
from streamlabel.models.core.clock import Clock

__all__ = ["LOCAL_ACCOUNT", "create_app", "options_of"]

# Of the person at this machine, if nobody has to log in.
LOCAL_ACCOUNT: Final = "local"
# Name of the task in console.labels, if the stream has one only.
_ONE_TASK: Final = "default"


def _to_terminal(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def create_app(
    settings: Settings,
    store: Store,
    *,
    clock: Clock,
    renderer: Renderer | None = None,
    say: Callable[[str], None] = _to_terminal,
) -> Starlette:
    """Return the pages of a configuration.

    Args:
        settings: the whole configuration.
        store: open.
        clock: the time.
        renderer: read before; None: read now.
        say: gets the line with the link that opens the console, if ``console.auth`` is none. The
            link is a secret, so it is not logged.

    Raises:
        ConfigError: the addresses of the proxy are wrong.
    """
    chosen = settings.console
    options = options_of(settings)
    link = None
    if chosen.auth == "none":
        link = OneTimeLink(LOCAL_ACCOUNT, now_s=time.monotonic())
        base = chosen.public_url or f"http://{_shown(chosen.host)}:{chosen.port}"
        address = f"{base.rstrip('/')}/enter/{link.token}"
        say(f"Open the console within 15 minutes, on this machine, once: {address}")
    key = None if chosen.session_key is None else chosen.session_key.get_secret_value()
    access = Access(
        store=store,
        sessions=Sessions(key, secure=options.secure, max_age_s=chosen.session_hours * 3600),
        passwords=Passwords() if chosen.auth == "local" else None,
        provider=_provider(chosen),
        proxy=_proxy(chosen),
        link=link,
    )
    return make_app(
        store,
        access,
        options,
        renderer=renderer or load_renderer(),
        now=lambda: datetime.fromtimestamp(clock.epoch_ms() / 1000, UTC),
        monotonic_s=time.monotonic,
    )


def options_of(settings: Settings) -> PageOptions:
    """Return what the pages are told by the settings."""
    chosen = settings.console
    names = {*chosen.labels, *chosen.multi_label}
    key = None if chosen.session_key is None else chosen.session_key.get_secret_value()
    return PageOptions(
        tasks={
            None if name == _ONE_TASK else name: TaskChoices(
                labels=tuple(chosen.labels.get(name, ())), multiple=name in chosen.multi_label
            )
            for name in names
        },
        severe=frozenset(chosen.severe_labels),
        severe_per_day=chosen.severe_per_day,
        break_after_min=chosen.break_after_min,
        lease_s=chosen.lease_s,
        undo_s=chosen.undo_s,
        audit_overdue_h=chosen.audit_overdue_h,
        calibration=_calibration(settings),
        proxy=_behind(chosen),
        rates=_rates(chosen.rates),
        signature_secret=key,
        origins=frozenset() if chosen.public_url is None else _origin(chosen.public_url),
        secure=(chosen.public_url or "").startswith("https://"),
    )


def _rates(chosen: RateSettings) -> RateLimits:
    return RateLimits(
        decisions=chosen.decisions_per_minute,
        searches=chosen.searches_per_minute,
        requests=chosen.requests_per_minute,
        of_address=chosen.address_requests_per_minute,
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _origin(public_url: str) -> frozenset[str]:
    parts = urlsplit(public_url)
    return frozenset({f"{parts.scheme}://{parts.netloc}"})


def _calibration(settings: Settings) -> CalibrationFile | None:
    """Return the calibration in force; None without one, or if it is not here."""
    name = settings.routing.calibration
    if name is None:
        return None
    try:
        return CalibrationFile.read(Path(name))
    except (ConfigError, OSError):  # it is on the machines of the service, perhaps not on this one
        return None


def _provider(chosen: ConsoleSettings) -> Provider | None:
    oidc = chosen.oidc
    if chosen.auth != "oidc" or oidc.issuer is None or oidc.client_id is None:
        return None
    secret = oidc.client_secret
    return Provider(
        ProviderOptions(
            issuer=oidc.issuer,
            client_id=oidc.client_id,
            client_secret=None if secret is None else secret.get_secret_value(),
            claim=oidc.name_claim,
            role_claim=oidc.role_claim,
            roles=oidc.roles,
        )
    )


def _proxy(chosen: ConsoleSettings) -> TrustedProxy | None:
    """Return the proxy that signs people in."""
    return _behind(chosen) if chosen.auth == "proxy" else None


def _behind(chosen: ConsoleSettings) -> TrustedProxy | None:
    """Return the proxy in front of the console, with every way of signing in."""
    if not chosen.proxy.addresses:
        return None
    return TrustedProxy.of(chosen.proxy.user_header, chosen.proxy.addresses)
