"""Reports unknown environment variables that begin with STREAMLABEL_: probably typing errors.

Kubernetes sets variables of this kind for every service whose name begins with ``streamlabel``;
these are ignored.
"""

import difflib
import re
from collections.abc import Iterator, Mapping

from streamlabel.config.catalog import ENV_PREFIX, entries, env_name

__all__ = ["OWN_NAMES", "is_service_link", "unknown_names"]

# Variables of streamlabel that are not settings.
OWN_NAMES = ("STREAMLABEL_CONFIG", "STREAMLABEL_DEBUG", "STREAMLABEL_SECRETS_DIR")
# Variables of the tests and benchmarks, which pass their environment on to the program.
_DEVELOPMENT = re.compile(r"STREAMLABEL_(TEST_\w+|REQUIRE_ALL|DATA)")

_LINK = re.compile(
    r"STREAMLABEL(_\w+)?_"
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK_PORT = re.compile(r"STREAMLABEL(_\w+)?_PORT")
_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


def is_service_link(name: str, value: str) -> bool:
    """Return True for a variable that Kubernetes sets for a service: host, ports, addresses.

    ``STREAMLABEL_PORT`` is such a variable only if its value is an address
    (``tcp://10.0.0.1:80``).
    """
    upper = name.upper()
    if _LINK.fullmatch(upper):
        return True
    return bool(_LINK_PORT.fullmatch(upper) and _ADDRESS.match(value))


def unknown_names(variables: Mapping[str, str], *, where: str) -> Iterator[str]:
    """Yield a message for every unknown name that begins with ``STREAMLABEL_``.

    Names with the prefix of settings are checked where settings are read, not here.

    Args:
        variables: name -> value.
        where: what has these names: "variable" or "secret file".
    """
    for name, value in sorted(variables.items()):
        upper = name.upper()
        if not upper.startswith("STREAMLABEL_") or upper.startswith(ENV_PREFIX):
            continue
        if upper in OWN_NAMES or _DEVELOPMENT.fullmatch(upper) or is_service_link(name, value):
            continue
        yield f"{name}: unknown {where}; {_advice(upper)}"


def _advice(name: str) -> str:
    own = difflib.get_close_matches(name, OWN_NAMES, n=1, cutoff=0.8)
    if own:
        return f"did you mean {own[0]}?"
    names = {_letters(env_name(entry.path)): env_name(entry.path) for entry in entries()}
    names |= {_letters(entry.path[-1]): env_name(entry.path) for entry in reversed(entries())}
    wanted = _letters(name.removeprefix("STREAMLABEL_"))
    close = difflib.get_close_matches("streamlabel" + wanted, names, n=1, cutoff=0.9)
    close = close or difflib.get_close_matches(wanted, names, n=1, cutoff=0.8)
    if close:
        return f"did you mean {names[close[0]]} (two underscores between the parts)?"
    return (
        f"settings begin with {ENV_PREFIX}, with two underscores; rename it if it is not meant for"
        " this program"
    )


def _letters(name: str) -> str:
    return name.replace("_", "").lower()
