"""What supervisors are asked, and what they answer: both ends agree on it here."""

from __future__ import annotations

from typing import Any, Literal

from beamlike import reports
from beamlike.behaviours.child import Kind, spec_of
from beamlike.exits import format_reason
from beamlike.hot.calls import call
from beamlike.hot.ids import Pid
from beamlike.records import record

Status = Literal["running", "stopped", "restarting", "held"]

RUNNING: Status = "running"
STOPPED: Status = "stopped"
RESTARTING: Status = "restarting"
HELD: Status = "held"


class ChildError(RuntimeError):
    """A supervisor refused what it was asked for.

    `reason`: `not_found`, `already_present`, `("already_started", pid)`, `running`, `restarting`, `max_children`, `unknown_request`,
    `bad_request`, `bad_spec`, or `cannot_be_sent`.
    """

    def __init__(self, text: str, reason: Any) -> None:
        super().__init__(text)
        self.reason = reason


class ChildStartError(ChildError):
    """A child did not start. `id` is the child's, `reason` what its start ended with, as an exit reason; the text has both."""

    def __init__(self, id: Any, reason: Any) -> None:
        super().__init__(f"child {reports.shown(id)} did not start: {format_reason(reason)}", reason)
        self.id = id


@record
class ChildInfo:
    """What `which_children` tells of one child. `pid` is None unless `status` is `running`; an `id` that cannot be sent is text."""

    id: Any
    pid: Pid | None
    status: Status
    type: str
    restart: str


async def ask(supervisor: Any, *request: Any) -> Any:
    """Ask a supervisor, for as long as it takes. Raises: ChildError, ChildStartError; CallError if the supervisor is not there or ends."""
    match await call(supervisor, request, timeout=None):
        case ("ok", value):
            return value
        case ("start_error", id_, reason):
            raise ChildStartError(id_, reason)
        case ("error", text, reason):
            raise ChildError(text, reason)
        case other:
            raise TypeError(f"{supervisor!r} is no supervisor: it answered {other!r}")


class Face:
    """What a supervisor of either kind can be asked, by pid or name.

    What asks waits for as long as it takes. Besides what is said of each, all raise CallError if the supervisor is not there or ends
    meanwhile, BadNameError if nobody has the name, and CapabilityError if an exclusion refuses the caller to send there. While a
    supervisor starts or stops a child it answers nobody, as in OTP: an `init` should be quick, and `handle_continue` do what takes long.
    """

    child_type: Kind = "supervisor"

    @staticmethod
    async def start_child(supervisor: Any, child: Any) -> Pid:
        """Add a child and start it. Returns its pid, or IGNORE if it declined.

        The child is no stronger than who asked for it: it gets the caller's exclusions as well as the supervisor's (C8).

        Raises:
            ChildError: the supervisor cannot have such a child (`bad_spec`), or has it (`("already_started", pid)`, `already_present`), or
                has `max_children`.
            ChildStartError: it did not start; the spec is not kept.
            TypeError, ValueError: it is no child, or its spec cannot be sent: `start` and `args` travel as a message.
        """
        return await ask(supervisor, "start_child", spec_of(child))  # type: ignore[no-any-return]

    @staticmethod
    async def which_children(supervisor: Any) -> list[ChildInfo]:
        """All children; of a Supervisor in the order of their start. Unlike Erlang, where the last one comes first."""
        return await ask(supervisor, "which_children")  # type: ignore[no-any-return]

    @staticmethod
    async def count_children(supervisor: Any) -> dict[str, int]:
        """How many there are: `specs`, of which `active` ones run; `supervisors` and `workers` among the specs."""
        return await ask(supervisor, "count_children")  # type: ignore[no-any-return]

    @staticmethod
    async def clear_hold(supervisor: Any) -> None:
        """Restart what is held, and count restarts from zero again (S10)."""
        await ask(supervisor, "clear_hold")
