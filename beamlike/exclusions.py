"""Whose exclusions count now: those of the process, and of those on whose behalf it acts for a while (C8).

Theory of operation. A record has the layers that count, so that what runs for every message looks at one field. While a process acts
`under` more, a request's or a child's, these are the joint ones, and its Extra has its own; whatever is added meanwhile is added to its
own, and the joint ones are made anew. What it has spawned meanwhile keeps what it got. A trio task or a thread that it has started
meanwhile may run on when it acts for itself again: therefore the additional layers are a context variable as well, which tasks and
threads copy, and whoever acts for a process otherwise than by being stepped is under both.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import caps
from beamlike import trio_mode
from beamlike.exits import CallError
from beamlike.extras import extra
from beamlike.hot import scheduler
from beamlike.hot.calls import Call, Cast, joined, refuse_by
from beamlike.hot.process import Process, set_layers
from beamlike.records import record


@record
class Refused:
    """What a guarded server answers when the exclusions of who made a request refuse something of it: a CallError `("refused", text)`."""

    text: str


refuse_by(Refused)

on_behalf: ContextVar[caps.Layers] = ContextVar("beamlike_on_behalf", default=())


def layers_elsewhere() -> caps.Layers:
    """The exclusions of the trio task or thread that runs, also of a thread that has outlived its node; nobody's are `()`."""
    process = trio_mode.current_in_trio.get()
    return () if process is None else layers_of(process)


def layers_of(process: Process) -> caps.Layers:
    """The exclusions under which the caller, who acts for the process, is now."""
    return process.layers if process is scheduler.stepped() else joined(process.layers, on_behalf.get())


def inherited_from(process: Process) -> caps.Layers:
    """The exclusions of what it spawns now."""
    layers = layers_of(process)
    return layers if process.extra is None else joined(layers, process.extra.bequest)


def own_layers(process: Process) -> caps.Layers:
    """Its own, whatever it is under now."""
    return process.extra.own_layers if process.extra is not None and process.extra.under else process.layers


def add(process: Process, layers: caps.Layers) -> bool:
    """Tighten a process by these. Did that add anything?"""
    own = own_layers(process)
    more = joined(own, layers)
    if more is own:
        return False
    if process.extra is not None and process.extra.under:
        process.extra.own_layers = more
        _count(process)
    else:
        set_layers(process, more)
    return True


def limited_request(message: Any, layers: caps.Layers, destination: Any) -> Any:
    """What was made earlier, as it goes now that its sender has these layers: a request carries them."""
    return scheduler.stamped(message, layers, destination) if type(message) in (Call, Cast) else message


class Under:
    """While a `with` block lasts, the calling process acts under these layers as well.

    `bequest`: whatever it spawns gets these besides, and they do not limit it itself: a child that may spawn nothing can be started.
    """

    __slots__ = ("before", "bequest", "layers", "process")

    def __init__(self, process: Process, layers: caps.Layers, bequest: caps.Layers = ()) -> None:
        self.process = process
        self.layers = layers
        self.bequest = bequest

    def __enter__(self) -> None:
        more = extra(self.process)
        if not more.under:
            more.own_layers = self.process.layers
        more.under = (*more.under, self)
        self.before = on_behalf.get()
        on_behalf.set(joined(self.before, self.layers))
        _count(self.process)

    def __exit__(self, *error: object) -> None:
        more = extra(self.process)
        more.under = tuple(each for each in more.under if each is not self)
        on_behalf.set(self.before)  # not by a token: in the other mode the context may be another
        _count(self.process)


def _count(process: Process) -> None:
    """Make its layers anew."""
    more = extra(process)
    layers, more.bequest = more.own_layers, ()
    for each in more.under:
        layers = joined(layers, each.layers)
        more.bequest = joined(more.bequest, each.bequest)
    set_layers(process, layers)
    if more.bequest:
        process.is_restrained = True


def is_refused_for_another(process: Process, error: BaseException) -> bool:
    """Was this refused, and not by the process's own exclusions, but by those of who made the request that it handles? Asked when it acts
    for itself again. A guarded server that it has asked on behalf of that client, and that has refused, does not say whose they were."""
    if not layers_of_request(process):
        return False
    if isinstance(error, CallError):
        return type(error.reason) is tuple and error.reason[:1] == ("refused",)
    if not isinstance(error, caps.CapabilityError) or any(error.exclusion in layer.terms for layer in process.layers):
        return False
    return caps.permits(process.layers, error.kind, *error.what)


def refusal(error: Exception) -> str:
    """Of such an error the words of who has refused."""
    return str(error.reason[1] if isinstance(error, CallError) else error)


def caller_layers() -> caps.Layers:
    """The exclusions of who made the request that the calling server handles: a call, or a cast. `()`: none, or it is not known.

    In `handle_call`, `handle_cast`, what they continue with, and the states of a StateMachine; they are those that counted when the
    request was made. Whoever sends anything else, which `handle_info` gets, is not known. A server asks
    `caps.permits(caller_layers(), kind, …)` to decide for itself; a `guarded` one acts under them anyway (C8).

    Raises: RuntimeError outside a process.
    """
    return layers_of_request(scheduler.current_process())


def layers_of_request(process: Process) -> caps.Layers:
    """The same, of the request that a process handles."""
    message: Any = None if process.extra is None else process.extra.last_message
    return message.layers if type(message) in (Call, Cast) else ()


scheduler.layers_elsewhere_by(layers_elsewhere)
