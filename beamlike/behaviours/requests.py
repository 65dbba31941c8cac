"""`Request[R]` and `call` as type checkers see them: a request that says what its answer is.

    @record
    class Balance(Request[int]):
        account: str

    money = await call(bank, Balance("me"))  # an int

At run time this `call` is `hot.calls.call` itself. A request that is no `Request` has an answer of type Any.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

R = TypeVar("R")


class Request(Generic[R]):
    """Base of records that are sent as requests and answered with an `R`. Only type checkers read the `R`; nothing checks the answer."""

    __slots__ = ()

    if TYPE_CHECKING:
        __sizeof__: None  # type: ignore[assignment]  # what makes it no `Plain`


if TYPE_CHECKING:

    class Plain(Protocol):
        """Anything but a `Request`, which would fall through to the second overload whenever its answer has the wrong type."""

        def __sizeof__(self) -> int: ...

    @overload
    def call(server: Any, request: Request[R], timeout: float | None = ...) -> Awaitable[R]: ...
    @overload
    def call(server: Any, request: Plain | None, timeout: float | None = ...) -> Awaitable[Any]: ...
    def call(server: Any, request: Any, timeout: float | None = 5.0) -> Awaitable[Any]: ...
else:
    from beamlike.hot.calls import call as call
