"""Network endpoints: a host and a port, either of which may be any.

Hosts are compared as written: names without regard to case and a final dot, addresses in canonical form ("::1" is
"0:0:0:0:0:0:0:1", an IPv4 address mapped into IPv6 is the IPv4 address). No name is looked up: whoever connects looks
it up first, checks the address and connects to that address (C5).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import TypeAlias

from caps.matching import EVERYTHING, Cover, Matching, Operands, integer, text

Endpoint: TypeAlias = tuple[str | None, int | None]
"""(host, port); None is any."""

ANY: Endpoint = (None, None)


Aliases: TypeAlias = tuple[Endpoint, ...]
"""One endpoint, by all names of its host."""


class EndpointCover(Cover[Aliases]):
    """Endpoints, without those that a more general one covers. One that goes by several hosts is in it if it is by any of them."""

    __slots__ = ()

    def overlaps(self, access: Aliases) -> Operands | None:
        return next((term for each in access if (term := self._overlaps(each)) is not None), None)

    def contains(self, access: Aliases) -> bool:
        return any(term in self.operands for each in access for term in generalisations(each))

    def _overlaps(self, access: Endpoint) -> Operands | None:
        host, port = access
        if host is not None and port is not None:
            return next((term for term in generalisations(access) if term in self.operands), None)
        for term in self.operands:
            if (host is None or term[0] is None or term[0] == host) and (port is None or term[1] is None or term[1] == port):
                return term
        return None


class Endpoints(Matching[Aliases]):
    """A term and an access are `(host, port)`; None or "all" is any, in an access too: a socket bound to all
    addresses is an access to each.

    An access may give, after the port, what else the host is known as: the address that its name stands for. An exclusion of any of
    these refuses it, and an only entry for any of these permits it.
    """

    expected_term = "host | None, port | None with 0 <= port < 65536 (None or 'all': any)"
    expected_access = expected_term + ", and what else the host is known as"

    def access(self, what: Operands) -> Aliases:
        if len(what) < 2:
            raise ValueError(f"{len(what)} operands instead of 2 or more")
        host, port, *others = what
        return tuple([self.endpoint(each, port) for each in (host, *others)])

    def term(self, operands: Operands) -> Operands:
        if len(operands) != 2:
            raise ValueError(f"{len(operands)} operands instead of 2")
        return self.endpoint(*operands)

    def endpoint(self, host: object, port: object) -> Endpoint:
        return (
            None if host is None or host == "all" else canonical_host(text(host, "host")),
            None if port is None or port == "all" else port_number(port),
        )

    def cover(self, operands: frozenset[Operands]) -> Cover[Aliases]:
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


_NAME = re.compile(r"[^\s/:@]+")  # whatever a resolver may know; but no network and no URL


@lru_cache(maxsize=1024)
def canonical_host(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:  # a name
        name = host.rstrip(".").lower()
        if not name or not _NAME.fullmatch(name):
            raise ValueError(f"host is {host!r}, expected a name or an address (a network, or a URL, is neither)") from None
        return name
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
