"""TLS: a context from the settings, certificates that are renewed, and messages for handshakes.

A context is used for every connection of a client. When the files of its certificate change, they
are loaded into it again, so that later connections show the new one: open ones are not affected.
"""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Never
from weakref import WeakKeyDictionary

import structlog

from streamlabel.config.kafka import SecuritySettings
from streamlabel.consumer.core.ports import Clock
from streamlabel.errors import ConfigError

__all__ = ["causes_of", "renew_certificates", "tls_cause", "tls_context", "watch_certificates"]

_log = structlog.get_logger(__name__)

# Certificates are renewed days before they expire, and a connection that is opened with the old one
# in between works.
_LOOK_S: Final = 10.0

# OpenSSL's codes for problems of a broker's certificate (X509_V_ERR_*).
_EXPIRED: Final = 10
_NOT_YET: Final = 9
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME: Final = frozenset({62, 64})
# A broker's refusals of our certificate, by the last part of the alert.
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": "it requires a client certificate; set cert_file and key_file",
    "BAD_CERTIFICATE": "it requires another client certificate; check cert_file and key_file",
    "CERTIFICATE_EXPIRED": "the certificate in cert_file has expired",
    "CERTIFICATE_UNKNOWN": "it does not accept the certificate in cert_file",
    "UNKNOWN_CA": "it does not know the authority that signed the certificate in cert_file",
    "HANDSHAKE_FAILURE": "it requires a client certificate, or has no cipher in common with us",
    "PROTOCOL_VERSION": "it supports no version of TLS that we support",
}


def tls_context(security: SecuritySettings) -> ssl.SSLContext:
    """Return a context that verifies the brokers; reads files.

    Raises:
        ConfigError: a file cannot be used; names the setting.
    """
    context = _loaded(security)
    _KNOWN[context] = (security, _version(security))
    return context


_Version = tuple[tuple[int, int, int] | None, ...]
_KNOWN: Final[WeakKeyDictionary[ssl.SSLContext, tuple[SecuritySettings, _Version]]] = (
    WeakKeyDictionary()
)


def renew_certificates() -> int:
    """Load the files of all contexts again that have changed; return how many contexts. Blocks.

    Files that do not fit together, because only one of two is written yet, are tried again the next
    time; the certificate before is used until then. An authority is added, none is taken away.
    """
    renewed = 0
    for context, (security, seen) in list(_KNOWN.items()):
        version = _version(security)
        if version == seen:
            continue
        try:
            _loaded(security)  # into another context first: a failure halfway would spoil this one
            if security.ca_file is not None:
                context.load_verify_locations(security.ca_file)
            _load_chain(context, security)
        except (ConfigError, OSError) as error:
            _log.warning("certificate_not_renewed", why=str(error))
            continue
        _KNOWN[context] = (security, version)
        renewed += 1
    return renewed


async def watch_certificates(clock: Clock) -> Never:
    """Renew certificates whose files change, until cancelled."""
    while True:
        await clock.sleep(_LOOK_S)
        if renewed := await asyncio.to_thread(renew_certificates):
            _log.info("certificate_renewed", contexts=renewed)


def _version(security: SecuritySettings) -> _Version:
    paths = (security.ca_file, security.cert_file, security.key_file)
    return tuple(None if path is None else _stat(path) for path in paths)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:  # it is being replaced
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _loaded(security: SecuritySettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=security.ca_file)
    except OSError as error:  # includes ssl.SSLError
        why = error.strerror or "not PEM"  # OpenSSL's own errors have no strerror
        wanted = "PEM of the authority that signed the brokers"
        raise _unusable("ca_file", why, wanted) from error
    _load_chain(context, security)
    return context


def _load_chain(context: ssl.SSLContext, security: SecuritySettings) -> None:
    if security.cert_file is None or security.key_file is None:
        return
    _read("cert_file", security.cert_file, "-BEGIN CERTIFICATE-")
    key = _read("key_file", security.key_file, "PRIVATE KEY-")
    password = security.key_password
    try:
        context.load_cert_chain(
            security.cert_file,
            security.key_file,
            # without a password, OpenSSL would ask for one on the terminal
            _no_password if password is None else password.get_secret_value(),
        )
    except OSError as error:
        raise _unusable_pair(error, is_locked="ENCRYPTED" in key) from error


def _read(name: str, path: Path, expected: str) -> str:
    wanted = "a certificate and its key, each as PEM,"
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise _unusable(name, error.strerror or "unreadable", wanted) from error
    if expected not in text:
        raise _unusable(name, "it contains none", wanted)
    return text


def _no_password() -> str:
    raise ConfigError(
        "kafka.security.key_file is encrypted: set kafka.security.key_password, in the environment"
        " or as a file in STREAMLABEL_SECRETS_DIR"
    )


def _unusable(name: str, why: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"kafka.security.{name} cannot be used ({why}); give {wanted} that this user can read"
    )


def _unusable_pair(error: OSError, *, is_locked: bool) -> ConfigError:
    reason = getattr(error, "reason", None) or error.strerror or "not PEM"
    if reason == "KEY_VALUES_MISMATCH":
        why = "the key is not that of the certificate"
        return ConfigError(f"kafka.security: cert_file and key_file do not match: {why}")
    if is_locked:
        return ConfigError("kafka.security.key_password does not open key_file")
    return ConfigError(f"kafka.security: cert_file and key_file cannot be used ({reason})")


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its chain of causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def tls_cause(error: BaseException) -> str | None:
    """Return what failed in TLS, to follow "HOST:PORT "; None if nothing did, or it is unknown."""
    for each in causes_of(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return _verification(each)
        if isinstance(each, ssl.SSLError) and "ALERT" in (each.reason or ""):
            _, _, alert = str(each.reason).partition("ALERT_")
            advice = next((text for end, text in _ALERTS.items() if alert.endswith(end)), None)
            return f"ends TLS with the alert {alert}" + (f": {advice}" if advice else "")
    return None


def _verification(error: ssl.SSLCertVerificationError) -> str:
    code, words = error.verify_code, error.verify_message.rstrip(".")
    if code == _EXPIRED:
        return "shows a certificate that has expired"
    if code == _NOT_YET:
        return "shows a certificate that is not valid yet; check the clocks"
    if code in _UNTRUSTED:
        return (
            "shows a certificate of an authority that we do not trust"
            f" ({words}); set kafka.security.ca_file to the authority that signed the brokers"
        )
    if code in _OTHER_NAME:
        return (
            f"shows a certificate for another host ({words}); use a name that is in it in"
            " kafka.bootstrap_servers and in the brokers' advertised.listeners"
        )
    return f"shows a certificate that cannot be verified ({words})"
