"""The online judge, with what strangers hand in: hostile programs, and hostile HTTP."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio

from beamlike import Pid, application, call, exit, io, processes, receive, run, self_pid, send, sleep, spawn, system, whereis
from cells import Limits

FOLDER = Path(__file__).parents[2] / "examples" / "judge"
PATIENCE = 60  # seconds
MEBIBYTE = 1 << 20

GOOD = "print(sum(map(int, input().split())))"
LOOT = """
import gc, sys
def loot():
    found = [str(getattr(each, "expected", "")) for each in gc.get_objects() if type(each).__name__ == "Case"]
    frame = sys._getframe()
    while frame is not None:
        found += [str(frame.f_locals[name]) for name in ("expected", "case", "problem", "secret") if name in frame.f_locals]
        frame = frame.f_back
    return found
"""

HOSTILE = {
    "slow": ("while True: pass", "time limit", ""),
    "memory bomb": ("kept = []\nwhile True: kept.append(bytearray(1 << 20))", "memory limit", "MemoryError"),
    "one big block": ("bytearray(1 << 40)", "memory limit", "MemoryError"),
    "output bomb": ("while True: print('x' * 1000)", "output limit", ""),
    "error output bomb": ("import sys\nwhile True: print('x' * 1000, file=sys.stderr)", "output limit", "x{1000}"),
    "fork bomb": ("import os\nwhile True: os.fork()", "runtime error", "PermissionError"),
    "thread bomb": ("import threading\nwhile True: threading.Thread(target=print).start()", "runtime error", "can't start new thread"),
    "execve": ("import os\nos.execv('/bin/sh', ['sh', '-c', 'id'])", "violation", "os execve"),
    "execve by ctypes": ("import ctypes\nctypes.CDLL(None).execv(b'/bin/sh', None)", "violation", "os execve"),
    "ptrace by ctypes": ("import ctypes\nctypes.CDLL(None).ptrace(16, 1, 0, 0)", "violation", "os ptrace"),
    "socket by ctypes": ("import ctypes\nprint(ctypes.CDLL(None).socket(2, 1, 0))", "wrong answer", ""),
    "file theft": ("print(open('/etc/passwd').read())", "runtime error", "PermissionError: .* no file is open to this cell"),
    "theft of the cases": (f"print(open({str(FOLDER / 'problems.py')!r}).read())", "runtime error", "PermissionError"),
    "file theft by os.open": ("import os\nprint(os.open('/etc/passwd', os.O_RDONLY))", "runtime error", "PermissionError"),
    "listing": ("import os\nprint(os.listdir('/'))", "runtime error", "PermissionError"),
    "network": ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "runtime error", "PermissionError"),
    "signals": ("import os\nos.kill(os.getppid(), 9)", "runtime error", "PermissionError|ProcessLookupError"),
    "syntax error": ("def (", "runtime error", "SyntaxError: invalid syntax"),
    "null byte": ("print(1)\0", "runtime error", "null bytes"),
    "infinite recursion": ("def f(): f()\nf()", "runtime error", "RecursionError"),
    "crash of the interpreter": ("import ctypes\nctypes.string_at(0)", "runtime error", "SIGSEGV"),
    "exit status": ("import sys\nprint(3)\nsys.exit(1)", "runtime error", "'exit', 1"),
    "loot": (LOOT + "print('\\n'.join(loot()) or 'nothing')", "wrong answer", ""),
    "environment": ("import os\nprint(dict(os.environ))", "wrong answer", ""),
}
assert len(HOSTILE) >= 20


# --- over HTTP, from outside ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge() -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The port of the example, as it is run."""
    command = [sys.executable, "-m", "boot", "run", str(FOLDER / "judge.py"), "0"]
    with subprocess.Popen(command, cwd=FOLDER.parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            assert re.fullmatch(r"the judge is at http://127\.0\.0\.1:\d+\n", line), line
            yield int(line.rpartition(":")[2]), program
        finally:
            program.kill()


@pytest.fixture
def port(judge: tuple[int, Any]) -> int:
    return judge[0]


def asked(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        is_json = answer.headers["Content-Type"] == "application/json" and content
        return answer.status, json.loads(content) if is_json else content.decode(), answer.headers
    finally:
        connection.close()


def handed_in(port: int, source: str, problem: str = "sum") -> tuple[int, Any]:
    body = json.dumps({"problem": problem, "source": source}).encode()
    status, answer, _ = asked(port, "POST", "/judge", body, Content_Type="application/json")
    return status, answer


def said(port: int, data: bytes) -> bytes:
    """What is answered to bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_good_solution_is_accepted_with_its_time_and_memory_for_each_case(port: int) -> None:
    status, answer = handed_in(port, GOOD)
    assert (status, answer["verdict"]) == (200, "accepted")
    assert [case["verdict"] for case in answer["cases"]] == ["accepted"] * 3
    for each in (answer, *answer["cases"]):
        assert 0 < each["time"] < 1
        assert MEBIBYTE < each["memory"] < 100 * MEBIBYTE


def test_a_sieve_is_fast_enough_and_divisors_are_not(port: int) -> None:
    sieve = """
n = int(input())
sieve = bytearray([1]) * max(n, 2)
sieve[:2] = b"\\0\\0"
for i in range(2, int(n**0.5) + 1):
    if sieve[i]:
        sieve[i * i :: i] = bytes(len(range(i * i, n, i)))
print(sum(sieve[:n]))
"""
    assert handed_in(port, sieve, "primes")[1]["verdict"] == "accepted"
    divisors = "n = int(input())\nprint(sum(all(i % k for k in range(2, i)) for i in range(2, n)))"
    answer = handed_in(port, divisors, "primes")[1]
    assert [case["verdict"] for case in answer["cases"]] == ["accepted"] * 3 + ["time limit", "not run"]
    assert 1 <= answer["time"] < 2


def test_a_wrong_answer_is_wrong_and_what_comes_after_it_is_not_run(port: int) -> None:
    answer = handed_in(port, "print(max(3, *map(int, input().split())))")[1]
    assert [case["verdict"] for case in answer["cases"]] == ["accepted", "wrong answer", "not run"]
    assert answer["verdict"] == "wrong answer"


def test_a_runtime_error_is_shown_with_its_traceback(port: int) -> None:
    answer = handed_in(port, "a, b = input().split()\nprint(a / b)")[1]
    assert answer["verdict"] == "runtime error"
    assert re.search(r"line 2, in <module>\n    print\(a / b\)\n.*TypeError: unsupported operand", answer["cases"][0]["detail"], re.DOTALL)


def test_20_hostile_solutions_at_once_are_judged_rightly_and_good_ones_between_them_are_accepted(port: int) -> None:
    sources = [each for source, _, _ in HOSTILE.values() for each in (source, GOOD)]
    with ThreadPoolExecutor(30) as pool:  # 32 may wait
        answers = [answer for _, answer in pool.map(lambda source: handed_in(port, source), sources)]
    assert {name: answer["verdict"] for name, answer in zip(HOSTILE, answers[::2], strict=True)} == {
        name: verdict for name, (_, verdict, _) in HOSTILE.items()
    }
    for (_, _, detail), answer in zip(HOSTILE.values(), answers[::2], strict=True):
        assert re.search(detail, answer["cases"][0]["detail"])
    assert [answer["verdict"] for answer in answers[1::2]] == ["accepted"] * len(HOSTILE)


def test_the_search_for_secrets_finds_them_where_they_are() -> None:
    """Or that it finds none in a cell would show nothing."""
    module("problems")
    names: dict[str, Any] = {}
    exec(LOOT, names)
    secret = "a frame's"
    assert {"148933", secret} <= set(names["loot"]())


def test_the_page_is_one_file_that_needs_nothing_from_elsewhere(port: int) -> None:
    status, page, headers = asked(port, "GET", "/")
    assert (status, page) == (200, (FOLDER / "page.html").read_text())
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not re.search(r"(?:src|href)\s*=|//\w|@import|innerHTML", page)


def test_the_problems_are_told_with_their_samples_alone(port: int) -> None:
    status, problems, _ = asked(port, "GET", "/problems?x")
    assert (status, [each["name"] for each in problems]) == (200, ["sum", "primes"])
    assert problems[1]["sample"] == {"input": "10\n", "output": "4"}
    assert "148933" not in json.dumps(problems)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "this is no JSON"),
        (b"\xff", 400, "this is no JSON"),
        (b"[" * 100_000, 400, "this is no JSON"),
        (b"[]", 400, "expected"),
        (b'{"problem": "sum"}', 400, "expected"),
        (b'{"problem": "sum", "source": 1}', 400, "expected"),
        (b'{"problem": "sum", "source": "\\ud800"}', 400, "the source is no text"),
        (b'{"problem": "war", "source": ""}', 404, "there is no problem 'war', but sum, primes"),
        (json.dumps({"problem": "sum", "source": "#" * (64 * 1024 + 1)}).encode(), 413, "the source has 65537 bytes: at most 65536"),
        (b" " * (128 * 1024 + 1), 413, "more than 131072 bytes"),
        (b" " * (8 << 20), 413, "more than 131072 bytes"),
    ],
)
def test_a_request_that_cannot_be_fulfilled_is_refused(port: int, body: bytes, status: int, error: str) -> None:
    answered, answer, _ = asked(port, "POST", "/judge", body, Content_Type="application/json")
    assert answered == status
    assert error in answer["error"]


def test_the_longest_source_is_judged(port: int) -> None:
    assert handed_in(port, GOOD.ljust(64 * 1024, "#"))[1]["verdict"] == "accepted"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/x", 404), ("GET", "/judge", 405), ("HEAD", "/", 405), ("POST", "/", 405), ("POST", "/judge", 415)],
)
def test_what_there_is_not_is_refused(port: int, method: str, path: str, status: int) -> None:
    assert asked(port, method, path, b"{}" if method == "POST" else b"", Content_Type="text/plain")[0] == status


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # it has no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000, b"431"),
        (b"POST /judge HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /judge HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"POST /judge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", b"400"),
        (b"POST /judge HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"POST /judge HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", b"400"),  # and no more
        (b"\0" * 1000 + b"\r\n\r\n", b"400"),
        (b"", None),
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
    ],
)
def test_malformed_http_is_answered_with_a_status_and_the_judge_goes_on(port: int, data: bytes, status: bytes | None) -> None:
    answer = said(port, data)
    assert answer.split(b" ", 2)[1:2] == ([] if status is None else [status])
    assert asked(port, "GET", "/")[0] == 200


def test_ctrl_c_ends_it_and_it_has_had_nothing_to_complain_of(judge: tuple[int, "subprocess.Popen[str]"]) -> None:
    _, program = judge
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (130, "")


# --- from inside ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _path_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def module(name: str) -> Any:
    application.load(FOLDER / "judge.py")
    return sys.modules[name]


def problem(expected: str, *, cpu: float = 0.2, wall: float = 10.0) -> Any:
    problems = module("problems")
    cases = (problems.Case("", expected),)
    return problems.Problem("quick", "Quick", "Be quick.", cases, Limits(cpu=cpu), wall)


def run_with_judge(main: Callable[[int], Coroutine[Any, Any, Any]], **options: int) -> Any:
    async def body() -> Any:
        return await main(await module("judge").open_judge(0, **options))

    return run(body)


def test_the_example_says_how_to_run_it() -> None:
    assert "beamlike run examples/judge/judge.py" in module("judge").__doc__


def test_a_solution_that_sleeps_is_ended_by_the_clock_on_the_wall() -> None:
    async def main() -> tuple[Any, list[Any]]:
        results = await module("verdicts").judge(problem("", wall=0.1), "import time\ntime.sleep(1000)")
        return results, [pid for pid in processes() if pid != self_pid()]

    (result,), left = run(main)
    assert result.verdict == "time limit"
    assert result.time < 0.2
    assert not left


def test_nor_does_one_live_longer_that_writes_now_and_then() -> None:
    async def main() -> Any:
        source = "import time\nwhile True:\n  print('.', flush=True)\n  time.sleep(0.02)"
        return await module("verdicts").judge(problem("", wall=0.3), source)

    (result,) = run(main)
    assert result.verdict == "time limit"


@pytest.mark.parametrize(
    ("output", "verdict"), [("3", "accepted"), ("3\n\n", "accepted"), ("3 \n", "accepted"), ("", "wrong answer"), ("3\n3", "wrong answer")]
)
def test_spaces_at_the_ends_of_lines_do_not_count(output: str, verdict: str) -> None:
    words = module("verdicts").words
    assert ("accepted" if words(output) == words("3") else "wrong answer") == verdict


def test_more_solutions_than_may_wait_are_refused_with_503() -> None:
    async def answered(port: int, body: bytes, statuses: list[bytes]) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            head = f"POST /judge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            await stream.send_all(head.encode() + body)
            answer = b"".join([part async for part in stream])
            assert (b"Retry-After" in answer) == (b" 503 " in answer)
            statuses.append(answer.split(b" ", 2)[1])

    async def main(port: int) -> list[bytes]:
        body = json.dumps({"problem": "quick", "source": "while True: pass"}).encode()
        statuses: list[bytes] = []
        async with io(), trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(answered, port, body, statuses)
        return statuses

    problems = module("problems").PROBLEMS
    problems["quick"] = problem("")
    try:
        statuses = run_with_judge(main, judges=1, most_waiting=1)
    finally:
        del problems["quick"]
    assert sorted(statuses) == [b"200", b"200", b"503"]


def test_a_judge_that_is_killed_takes_its_cell_along_and_another_goes_on() -> None:
    bench = module("bench")

    async def hand_in(audience: Pid, source: str) -> None:
        send(audience, await call("queue", bench.Submission(problem("good"), source), timeout=PATIENCE))

    async def main(port: int) -> tuple[Any, Any]:
        before = set(processes())
        spawn(hand_in, self_pid(), "import time\ntime.sleep(1000)")
        while not (await system.get_state("queue"))["busy"]:
            await sleep(0)
        judge = whereis("judge-1")
        assert judge is not None
        exit(judge, "kill")
        first = await receive()
        spawn(hand_in, self_pid(), "print('good')")
        second = await receive()
        while len(processes()) > len(before):
            await sleep(0)
        return first, second

    first, (second,) = run_with_judge(main, judges=1)
    assert first == bench.FAILED
    assert second.verdict == "accepted"
