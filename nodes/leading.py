"""Fellows of whom one decides at a time: the one on the conductor's node.

Theory of operation. Whoever is on the eldest node asks all its fellows, and leads when all have answered. To answer is to *obey*: from
then on a fellow acts on what this leader decides and on nobody else's decisions, until it answers another. It answers only who is the
eldest by its own knowledge; so it has taken all that a former leader had sent before that died. Two can think that they lead, but no
fellow obeys both, and who leads knows all that its fellows have done under others. An elder node that comes up late takes the role over
in the same way; if it dies before all have answered it, those who have go back to one that never stopped to lead, and say so, to be asked.

What a process wants decided it asks by `ask_leader`: the question is kept, and put again to each new leader, until it is answered. So it
never hangs while this node lives, and a leader may be asked the same twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beamlike import Continue, Pid, Ref, make_ref, record, self_pid, send
from beamlike.seam import NodeId
from nodes.fellows import Fellow
from nodes.here import joined


@record
class Question:
    """The eldest asks: what is there with you? Whoever answers obeys it."""

    leader: Pid
    round: int


@record
class Report:
    """The answer."""

    fellow: Pid
    round: int
    report: Any


@record
class Deserted:
    """To the eldest: this fellow obeyed another, which is lost, and waits to be asked."""

    fellow: Pid


@record
class Asked:
    """A fellow wants something decided."""

    fellow: Pid
    ref: Ref
    request: Any
    again: bool  # it was put to a former leader too, who may have acted on it


@record
class Decided:
    """The leader's answer."""

    leader: Pid
    ref: Ref
    value: Any


class Led(Fellow):
    """A fellow that leads, or obeys one that does."""

    def __init__(self) -> None:
        super().__init__()
        self.obeys: Pid | None = None  # perhaps itself, before it leads
        self.leads = False
        self.round = 0  # of our own asking
        self.reports: dict[Pid, Any] = {}  # answers of this round
        self.questions: dict[Pid, Question] = {}  # of who is not the eldest yet by what we know
        self.sought: Pid | None = None  # the eldest, told that we wait to be asked
        self.asked: dict[Ref, tuple[Any, Callable[[Any], None]]] = {}
        self.put: set[Ref] = set()  # those that a leader was asked
        self.early: list[Asked] = []  # for when we lead, and know who is there

    # --- what subclasses are ---

    def report(self) -> Any:
        """Hook: what a new leader must know of this fellow."""

    def begin_to_lead(self, reports: dict[Pid, Any]) -> None:
        """Hook: this process leads now; all fellows that are there have reported."""

    def fellow_reported(self, pid: Pid, report: Any) -> None:
        """Hook: another fellow obeys us, while we lead."""

    def decide(self, asked: Asked) -> None:
        """Hook, of the leader: answer by `decided`, now or later."""

    # --- asking ---

    def ask_leader(self, request: Any, then: Callable[[Any], None]) -> None:
        """Have something decided; then call `then` with the leader's answer."""
        ref = make_ref()
        self.asked[ref] = request, then
        self._put(ref)

    def is_there(self, asked: Asked) -> bool:
        """Is who asks still a fellow, or ourselves?"""
        return asked.fellow == self_pid() or asked.fellow in self.fellows.values()

    def decided(self, asked: Asked, value: Any) -> None:
        """Answer a fellow."""
        send(asked.fellow, Decided(self_pid(), asked.ref, value))

    def _put(self, ref: Ref) -> None:
        if self.obeys is not None and (self.leads or self.obeys != self_pid()):
            again = ref in self.put
            self.put.add(ref)
            send(self.obeys, Asked(self_pid(), ref, self.asked[ref][0], again))

    def _put_all(self) -> None:
        for ref in self.asked:
            self._put(ref)

    # --- who leads ---

    def nodes_changed(self) -> None:
        """See the module."""
        me = self_pid()
        membership = joined().membership
        if not membership.is_settled:
            return
        eldest = membership.conductor()
        if eldest != me.origin:
            question = next((each for pid, each in self.questions.items() if pid.origin == eldest), None)
            if question is not None:
                del self.questions[question.leader]
                self.obeys, self.leads, self.sought = question.leader, False, None
                self.early.clear()
                send(question.leader, Report(me, question.round, self.report()))
                self._put_all()
            elif self.obeys is not None and self.obeys.origin != eldest and self.obeys not in self.fellows.values():
                self._seek(eldest)
            return
        if self.obeys != me:
            self.obeys, self.leads = me, False
            self.round += 1
            self.reports.clear()
            self.tell_all(Question(me, self.round))
        if not self.leads and self.knows_all() and all(pid in self.reports for pid in self.fellows.values()):
            self.leads = True
            reports, self.reports = self.reports, {}
            self.begin_to_lead(reports)
            self._put_all()
        if self.leads and self.knows_all():
            early, self.early = self.early, []
            for asked in early:
                self.decide(asked)

    def _seek(self, eldest: NodeId) -> None:
        """Whom this fellow obeyed is lost. The eldest may have led all the time, and not know."""
        pid = self.fellows.get(eldest)
        if pid is not None and pid != self.sought:
            self.sought = pid
            send(pid, Deserted(self_pid()))

    def fellow_joined(self, pid: Pid) -> None:
        """Whoever comes is asked."""
        if self.obeys == self_pid():
            send(pid, Question(self_pid(), self.round))

    def fellow_left(self, pid: Pid) -> None:
        """Whoever has gone is not waited for."""
        self.reports.pop(pid, None)
        self.questions.pop(pid, None)
        if self.sought == pid:
            self.sought = None
        self.early = [asked for asked in self.early if asked.fellow != pid]

    async def handle_rest(self, message: Any) -> Continue | None:
        """What leaders and those who obey say to each other."""
        match message:
            case Question(leader):
                self.questions[leader] = message
                self.nodes_changed()
            case Deserted(fellow):
                if self.obeys == self_pid() and fellow in self.fellows.values():
                    send(fellow, Question(self_pid(), self.round))
            case Report(fellow, round, report):
                if round == self.round and self.obeys == self_pid() and fellow in self.fellows.values():
                    if self.leads:
                        self.fellow_reported(fellow, report)
                    else:
                        self.reports[fellow] = report
                        self.nodes_changed()
            case Asked():
                if self.leads and self.knows_all():
                    self.decide(message)
                elif self.obeys == self_pid():
                    self.early.append(message)
            case Decided(leader, ref, value):
                if leader == self.obeys and ref in self.asked:
                    self.put.discard(ref)
                    self.asked.pop(ref)[1](value)
            case _:
                return await super().handle_rest(message)
        return None
