"""One run of a solution in a cell, and what is to be said of it."""

from time import monotonic
from typing import Any

from problems import Case, Problem

from beamlike import Exit, Stop, exit, process_flag, receive, record, self_pid
from cells import Cell, CellEnded, CellOutput

ACCEPTED = "accepted"
WRONG_ANSWER = "wrong answer"
TIME_LIMIT = "time limit"
MEMORY_LIMIT = "memory limit"
OUTPUT_LIMIT = "output limit"
RUNTIME_ERROR = "runtime error"
VIOLATION = "violation"
NOT_RUN = "not run"

MOST_DETAIL = 4000  # characters of what a solution wrote on stderr


@record
class Result:
    """What became of one case. `time`: seconds of CPU time; `memory`: the most bytes, the interpreter's own included."""

    verdict: str
    time: float = 0.0
    memory: int = 0
    detail: str = ""


async def judge(problem: Problem, source: str) -> list[Result]:
    """Run a solution against each case, until one fails. The process that calls traps exits from then on: it is linked to the cells."""
    process_flag("trap_exit", True)
    results: list[Result] = []
    for case in problem.cases:
        is_good = not results or results[-1].verdict == ACCEPTED
        results.append(await run_case(problem, case, source) if is_good else Result(NOT_RUN))
    return results


async def run_case(problem: Problem, case: Case, source: str) -> Result:
    """Run a solution against one case, in a cell of its own that knows of the input and nothing else.

    The cell is linked: it does not survive whoever waits for it. Raises: CellUnavailable.
    """
    cell = await Cell.start_link(source, None, limits=problem.limits, stdin=case.input.encode(), output=self_pid())
    is_late = False
    written = {"stdout": bytearray(), "stderr": bytearray()}

    def is_of_cell(message: Any) -> bool:
        if type(message) is Exit:
            return message.sender != cell  # a supervisor's, who stops us
        return type(message) in (CellOutput, CellEnded) and message.cell == cell

    end = monotonic() + problem.wall
    while True:
        try:
            message = await receive(is_of_cell, timeout=None if is_late else max(0.0, end - monotonic()))
        except TimeoutError:
            exit(cell, "kill")
            is_late = True
            continue
        if type(message) is CellEnded:
            break
        if type(message) is Exit:
            exit(cell, "kill")
            raise Stop(message.reason)
        written[message.stream] += message.data
    await receive(lambda each: type(each) is Exit and each.sender == cell)
    output, errors = (data.decode(errors="replace") for data in written.values())
    verdict, detail = (TIME_LIMIT, "") if is_late else of_reason(message.reason)
    if verdict == ACCEPTED and words(output) != words(case.expected):
        verdict = WRONG_ANSWER
    return Result(verdict, message.cpu, message.memory, "\n".join(filter(None, (errors[-MOST_DETAIL:], detail))))


def of_reason(reason: Any) -> tuple[str, str]:
    """The verdict over how a cell ended, its output apart, and what there is to add."""
    match reason:
        case "normal" | ("exit", 0):
            return ACCEPTED, ""
        case ("limit", "cpu"):
            return TIME_LIMIT, ""
        case ("limit", "memory"):
            return MEMORY_LIMIT, ""
        case ("limit", "output"):
            return OUTPUT_LIMIT, ""
        case ("capability_violation", *what):
            return VIOLATION, " ".join(map(str, what))
        case ((str(), str()), _):
            return RUNTIME_ERROR, ""  # its traceback is on stderr
    return RUNTIME_ERROR, f"it ended with {str(reason)[:MOST_DETAIL]}"


def words(text: str) -> list[str]:
    """Its lines, without what nobody sees."""
    return [line.rstrip() for line in text.rstrip().split("\n")]


def overall(results: list[Result]) -> Result:
    """The verdict over a solution: that of the case that failed, and the most time and memory of all."""
    failed = next((result.verdict for result in results if result.verdict != ACCEPTED), ACCEPTED)
    return Result(failed, max(result.time for result in results), max(result.memory for result in results))
