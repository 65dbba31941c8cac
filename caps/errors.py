"""The error of a refused access."""

from __future__ import annotations

import errno


class CapabilityError(PermissionError):
    """An exclusion refused an access; the access did not take place (C6).

    `kind` and `what` are the access as it was asked for, `exclusion` the term that refused it, in canonical form
    (`("only", …)` where the access is not contained in what an only entry permits). `errno` is EACCES.
    """

    def __init__(self, kind: str, what: tuple[object, ...], exclusion: tuple[object, ...], message: str) -> None:
        super().__init__(errno.EACCES, message)
        self.kind = kind
        self.what = what
        self.exclusion = exclusion

    def __reduce__(self) -> tuple[object, ...]:
        # OSError would rebuild a copy from (errno, message), which this constructor does not take.
        return CapabilityError, (self.kind, self.what, self.exclusion, self.strerror)
