"""Network endpoints: a host and a port, either of which may be any.

Hosts are compared as written: names without regard to case and a final dot, addresses in canonical form ("::1" is
"0:0:0:0:0:0:0:1", an IPv4 address mapped into IPv6 is the IPv4 address). No name is looked up: whoever connects looks
it up first, checks the address and connects to that address (C5).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TypeAlias

from caps.matching import EVERYTHING, Cover, Matching, Operands, integer, text

Endpoint: TypeAlias = tuple[str | None, int | None]
"""(host, port); None is any."""

ANY: Endpoint = (None, None)


class EndpointCover(Cover[Endpoint]):
    """Endpoints, without those that a more general one covers."""

    __slots__ = ()

    def overlaps(self, access: Endpoint) -> Operands | None:
        host, port = access
        if host is not None and port is not None:
            return next((term for term in generalisations(access) if term in self.operands), None)
        for term in self.operands:
            if (host is None or term[0] is None or term[0] == host) and (port is None or term[1] is None or term[1] == port):
                return term
        return None

    def contains(self, access: Endpoint) -> bool:
        return any(term in self.operands for term in generalisations(access))


class Endpoints(Matching[Endpoint]):
    """A term and an access are `(host, port)`; None or "all" is any, in an access too: a socket bound to all
    addresses is an access to each."""

    expected_term = expected_access = "host | None, port | None with 0 <= port < 65536 (None or 'all': any)"

    def term(self, operands: Operands) -> Operands:
        return self.access(operands)

    def access(self, what: Operands) -> Endpoint:
        if len(what) != 2:
            raise ValueError(f"{len(what)} operands instead of 2")
        host, port = what
        return (
            None if host is None or host == "all" else canonical_host(text(host, "host")),
            None if port is None or port == "all" else port_number(port),
        )

    def cover(self, operands: frozenset[Operands]) -> Cover[Endpoint]:
        if ANY in operands:
            return EVERYTHING
        return EndpointCover(frozenset(term for term in operands if not any(g in operands for g in generalisations(term) if g != term)))


def generalisations(endpoint: Operands) -> tuple[Operands, ...]:
    """All that covers this endpoint, itself included, ANY not."""
    host, port = endpoint
    return (host, port), (None, port), (host, None)


def port_number(value: object) -> int:
    port = integer(value, "port")
    if not 0 <= port < 65536:
        raise ValueError(f"port is {port}")
    return port


@lru_cache(maxsize=1024)
def canonical_host(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:  # a name
        name = host.rstrip(".").lower()
        if not name:
            raise ValueError(f"host is {host!r}") from None
        return name
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
