"""Accepts the account name that a trusted proxy puts into a header, from its addresses only."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from streamlabel.errors import ConfigError

__all__ = ["TrustedProxy"]

_MAX_CHARACTERS = 200  # of an account name


@dataclass(frozen=True, slots=True)
class TrustedProxy:
    """A proxy that has signed in everybody whose requests it passes on.

    Attributes:
        header: lower-case name, for example x-forwarded-user.
        networks: whose requests may bear it. It is ignored in all others.
    """

    header: str
    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, header: str, addresses: Sequence[str]) -> "TrustedProxy":
        """Return the proxy of a header and its addresses or networks.

        Raises:
            ConfigError: an address is none, or there is none.
        """
        if not addresses:
            raise ConfigError(
                f"the header {header} is trusted from no address; list the proxy's addresses"
            )
        try:
            return cls(header.lower(), tuple(ip_network(each, strict=False) for each in addresses))
        except ValueError as error:
            raise ConfigError(f"addresses of the trusted proxy: {error}") from error

    def name_in(self, headers: Sequence[tuple[bytes, bytes]], *, client: str | None) -> str | None:
        """Return the account name of a request; None if it is not from the proxy, or has none.

        Args:
            headers: as in ASGI: lower-case names.
            client: address of the peer; what other headers say about it is ignored.
        """
        if client is None or not self.is_trusted(client):
            return None
        found = [value for name, value in headers if name == self.header.encode("latin-1")]
        if len(found) != 1:  # two: one of them is not from the proxy
            return None
        name = found[0].decode("utf-8", "replace").strip()
        return name if 0 < len(name) <= _MAX_CHARACTERS else None

    def address_in(
        self, headers: Sequence[tuple[bytes, bytes]], *, client: str | None
    ) -> str | None:
        """Return whose address a request comes from; None: not known.

        Of requests that the proxy passes on it is the last one in X-Forwarded-For that is not a
        proxy's: what stands before it, anybody may have written.

        Args:
            headers: as in ASGI: lower-case names.
            client: address of the peer.
        """
        if client is None or not self.is_trusted(client):
            return client
        given = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        for part in reversed(given.decode("latin-1").split(",")):
            try:
                address = str(ip_address(part.strip()))
            except ValueError:
                return None
            if not self.is_trusted(address):
                return address
        return None

    def is_trusted(self, client: str) -> bool:
        """Return whether an address is one of the proxy."""
        try:
            address = ip_address(client)
        except ValueError:  # a Unix socket
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.networks)
