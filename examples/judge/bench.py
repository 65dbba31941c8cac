"""The bench: a queue of submissions, which is bounded, and the judges who take from it."""

from collections import deque
from typing import Any

from problems import Problem
from verdicts import judge

from beamlike import NOREPLY, Caller, Down, GenServer, Pid, cast, monitor, record, reply, self_pid

BUSY = "busy"
FAILED = "failed"


@record
class Submission:
    """A solution to judge."""

    problem: Problem
    source: str


class Queue(GenServer):
    """Hands submissions to judges who are idle. Asked `Submission`, it answers with the results, or `BUSY` if `most` wait already.

    If the judge of a submission dies the answer is `FAILED`: whatever killed it is not tried on another.
    """

    async def init(self, most: int) -> None:
        self.most = most
        self.waiting: deque[tuple[Submission, Caller]] = deque()
        self.idle: deque[Pid] = deque()
        self.busy: dict[Pid, Caller] = {}

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case Submission():
                if not self.idle and len(self.waiting) >= self.most:
                    return BUSY
                self.waiting.append((request, caller))
                self.go_on()
                return NOREPLY
        raise ValueError(f"Queue takes a Submission, not {request!r}")

    async def handle_cast(self, request: Any) -> None:
        match request:
            case ("ready", Pid() as judge):
                monitor(judge)
                self.idle.append(judge)
            case ("judged", Pid() as judge, results):
                reply(self.busy.pop(judge), results)
                self.idle.append(judge)
        self.go_on()

    async def handle_info(self, message: Any) -> None:
        match message:
            case Down(_, judge, _):
                if judge in self.busy:
                    reply(self.busy.pop(judge), FAILED)
                else:
                    self.idle.remove(judge)

    def go_on(self) -> None:
        """Hand out what can be handed out."""
        while self.waiting and self.idle:
            submission, caller = self.waiting.popleft()
            judge = self.idle.popleft()
            self.busy[judge] = caller
            cast(judge, submission)


class Judge(GenServer):
    """Judges one submission after the other."""

    async def init(self) -> None:
        cast("queue", ("ready", self_pid()))

    async def handle_cast(self, request: Any) -> None:
        match request:
            case Submission(problem, source):
                cast("queue", ("judged", self_pid(), await judge(problem, source)))
