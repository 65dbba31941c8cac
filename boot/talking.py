"""The prompt on a console: as that of `beamlike shell`, with the same evaluator, in the node that has the console."""

from __future__ import annotations

from functools import partial
from typing import Any

from beamlike import Exit, Pid, process_flag, receive, self_pid, send, spawn_link
from boot.inputs import Inputs, NotPythonError
from drivers import Action, Console
from nodes.seam import Shell

SHOWN = "beamlike.console.shown"


async def talk(console: Console, name: str) -> None:
    """Have evaluated what is typed, in a process of its own, until Ctrl-D or SystemExit. In the process that has opened the console.

    What other processes of the shell print while a line is awaited is shown with the next output, as in `beamlike shell`.
    """
    shell = spawn_link(_evaluator, self_pid())
    inputs = Inputs(name)
    while (line := await console.read_line(inputs.prompt)) is not Action.CLOSE:
        if isinstance(line, Action):
            inputs.forget()
            await console.write("KeyboardInterrupt\n")
            continue
        try:
            source = inputs.add(line)
        except NotPythonError as error:
            await console.write(f"{error}\n")
            continue
        outcome = None if source is None else await _evaluate(console, shell, source)
        if outcome == "interrupted":
            await console.write("KeyboardInterrupt\n")
        if outcome == "left":
            return


async def _evaluate(console: Console, shell: Pid, source: str) -> str:
    """The outcome. After Ctrl-C nothing of what was printed is shown any more."""
    send(shell, ("request", ("run", source)))
    is_interrupted = False
    while True:
        match await console.receive(partial(_is_from, shell)):
            case Action.INTERRUPT:
                is_interrupted = True
                send(shell, ("request", ("interrupt",)))
            case (_, ("output", str(text))):
                if not is_interrupted:
                    await console.write(text)
                send(shell, SHOWN)
            case (_, ("done", str(outcome))):
                send(shell, SHOWN)
                return outcome


def _is_from(shell: Pid, message: Any) -> bool:
    return type(message) is tuple and len(message) == 2 and message[0] == shell


async def _evaluator(console: Pid) -> None:
    """The process that keeps the names. It prints no faster than the console shows, and ends with it."""
    process_flag("label", "console")

    async def write(answer: tuple[Any, ...]) -> None:
        send(console, (self_pid(), answer))
        message = await receive(lambda each: each == SHOWN or (type(each) is Exit and each.sender == console))
        if message != SHOWN:
            send(self_pid(), message)  # the shell ends when it sees it

    await Shell(write).run()
