"""Rendezvous hashing: who of several has a key. When one of them is lost, only its keys move; when it is back, only these move back.

Highest random weight, Thaler and Ravishankar 1998. The same on every node and in every run, unlike Python's `hash`.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def rendezvous(key: str | bytes, names: Iterable[str]) -> str:
    """The name that has the key. ValueError if there are no names."""
    names = list(names)
    if not names:
        raise ValueError("rendezvous: there are no names to choose from")
    packed = key.encode() if isinstance(key, str) else key
    return max(names, key=lambda name: (blake2b(packed, key=blake2b(name.encode(), digest_size=16).digest(), digest_size=8).digest(), name))
