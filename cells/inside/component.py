"""A WebAssembly component as the program of a cell: what Python becomes by componentize-py, see docs/wasm-cells.md.

Its world is examples/wasm/python/cell.wit. It is given the source to load, and then each message and call as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from wasmtime import Engine, Store, WasmtimeError
from wasmtime.component import Component, Func, FuncType, Instance, Linker, ListType, ValType

from beamlike import pack, unpack
from cells.inside.imports import MOST_TEXT, SELF, TOO_LONG, Exit, exit_with, handle
from cells.inside.mail import Mail
from nodes.seam import Kind

# Name: its type.
IMPORTS: Final = {
    "send": "func(s64, list<u8>) -> s32",
    "reply": "func(u64, list<u8>) -> s32",
    "log": "func(string)",
    "exit": "func(s32)",
}
EXPORTS: Final = {"load": "func(string)", "on-message": "func(u32, u64, list<u8>)"}
PART: Final = 60 * 1024  # bytes of compiled code in an answer
PATIENCE: Final = 60.0  # seconds after which nobody will ask for more of it


class Functions:
    """What a component calls. What one of them raises ends it, and is in `raised` then."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.raised: Exception | None = None

    def send(self, to: int, message: bytes) -> int:
        if len(message) > self.mail.longest:
            return TOO_LONG
        if to == SELF:
            self.mail.waiting.append((Kind.SEND, 0, message))
        else:
            self.mail.send(handle(to), message)
        return 0

    def reply(self, number: int, answer: bytes) -> int:
        if len(answer) > self.mail.longest:
            return TOO_LONG
        self.mail.reply(number, answer)
        return 0

    def log(self, text: str) -> None:
        self.mail.log(text.encode())

    def exit(self, status: int) -> None:
        raise exit_with(status)

    def guarded(self, name: str) -> Callable[..., Any]:
        """One of them, for a linker."""
        function = getattr(self, name)

        def called(_: Any, *args: Any) -> Any:
            try:
                return function(*args)
            except Exception as error:
                self.raised = error
                raise

        return called


def run_component(engine: Engine, store: Store, mail: Mail, component: Component, args: tuple[Any, ...]) -> None:
    """Link and load, and pass on what comes, until it ends.

    Args:
        args: the source that it is to load; the others are its first message.

    Raises: Exit, WasmtimeError, of a trap as well.
    """
    text, *rest = args or (None,)
    if type(text) is not str:
        raise Exit(("invalid", f"a component is given the source that it loads as its first argument, not {text!r:.80}"))
    wanted, offered = component.type.imports(engine), component.type.exports(engine)
    for name in wanted:
        if name not in IMPORTS:
            raise Exit(("capability_violation", "import", name[:MOST_TEXT]))
    _check("imports", {name: wanted[name].ty for name in wanted}, IMPORTS, wanted)
    _check("exports", {name: offered[name].ty for name in EXPORTS if name in offered}, EXPORTS, EXPORTS)
    functions = Functions(mail)
    linker = Linker(engine)
    with linker.root() as root:
        for name in IMPORTS:
            root.add_func(name, functions.guarded(name))
    try:
        _serve(store, mail, linker.instantiate(store, component), text, rest)
    except WasmtimeError:
        if functions.raised is not None:
            raise functions.raised from None
        raise


def _serve(store: Store, mail: Mail, instance: Instance, text: str, rest: list[Any]) -> None:
    load, on_message = (cast(Func, instance.get_func(store, name)) for name in EXPORTS)  # they are there: _check
    load(store, text)
    mail.keep((Kind.SEND, 0, pack(tuple(rest))))
    while (record := mail.receive(None)) is not None:
        on_message(store, *record)


def _check(does: str, types: dict[str, Any], expected: dict[str, str], names: Iterable[str]) -> None:
    """Its functions are called, and call, by their types."""
    for name in names:
        found = _written(types[name]) if name in types else "not there"
        if found != expected[name]:
            raise Exit(("invalid", f"{name}, which it {does}, is {expected[name]}, and here it is {found}"[:MOST_TEXT]))


def _written(kind: Any) -> str:
    """A type as WIT writes it; of what nothing here has, its name."""
    if isinstance(kind, FuncType):
        result = kind.result
        parameters = ", ".join(_written(parameter) for _, parameter in kind.params)
        return f"func({parameters})" + (f" -> {_written(result)}" if result is not None else "")
    if isinstance(kind, ListType):
        return f"list<{_written(kind.element)}>"
    return type(kind).__name__.lower() if isinstance(kind, ValType) else f"a {type(kind).__name__}"


def hand_out(mail: Mail, code: bytes) -> None:
    """Answer calls with the part that begins where they say, until it is all taken: what `cells.compile_component` asks."""
    while (record := mail.receive(PATIENCE)) is not None:
        kind, number, payload = record
        if kind == Kind.CALL:
            part = code[(at := unpack(payload)) : at + PART]
            mail.reply(number, pack(part))
            if not part:
                return
