"""A WebAssembly component as the program of a cell: what Python becomes by componentize-py, see docs/wasm-cells.md.

Its world is examples/wasm/python/cell.wit. It is given the source to load, and then each message and call as it comes.
"""

from __future__ import annotations

from typing import Any, Final

from wasmtime import Engine, Store
from wasmtime.component import Component, Linker

from beamlike import pack
from cells.inside.imports import SELF, Exit, exit_with
from cells.inside.mail import Mail
from nodes.seam import Kind

IMPORTS: Final = ("send", "reply", "log", "exit")


def run_component(engine: Engine, store: Store, mail: Mail, source: bytes, args: tuple[Any, ...]) -> None:
    """Compile, link and load, and pass on what comes, until it ends.

    Args:
        args: the source that it is to load; the others are its first message.

    Raises: Exit, WasmtimeError, Trap.
    """
    text, *rest = args or (None,)
    if type(text) is not str:
        raise Exit(("invalid", f"a component is given the source that it loads as its first argument, not {text!r:.80}"))
    component = Component(engine, source)
    for wanted in component.type.imports(engine):
        if wanted not in IMPORTS:
            raise Exit(("capability_violation", "import", wanted))

    def send(_: Any, to: int, message: bytes) -> None:
        if to == SELF:
            mail.waiting.append((Kind.SEND, 0, bytes(message)))
        else:
            mail.send(to, bytes(message))

    def exit(_: Any, status: int) -> None:  # noqa: A001
        raise exit_with(status)

    linker = Linker(engine)
    with linker.root() as root:
        root.add_func("send", send)
        root.add_func("reply", lambda _, number, message: mail.reply(number, bytes(message)))
        root.add_func("log", lambda _, text: mail.log(text.encode()))
        root.add_func("exit", exit)
    instance = linker.instantiate(store, component)
    load, on_message = (instance.get_func(store, name) for name in ("load", "on-message"))
    if load is None or on_message is None:
        raise Exit(("invalid", "it exports no functions load and on-message"))
    load(store, text)
    mail.keep((Kind.SEND, 0, pack(tuple(rest))))
    while (record := mail.receive(None)) is not None:
        on_message(store, *record)
