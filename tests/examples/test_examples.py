"""Every example does what it says. Time is virtual where there are no sockets."""

import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from beamlike import application, call, exit, io, processes, receive, run, self_pid, send, spawn, whereis

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _path_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def load(name: str) -> Any:
    """The example's module, loaded as `beamlike run` does."""
    application.load(EXAMPLES / f"{name}.py")
    return sys.modules[name]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_example_says_how_to_run_it(name: str) -> None:
    assert f"beamlike run examples/{name}.py" in load(name).__doc__


@pytest.mark.parametrize(
    ("name", "arguments", "seed", "last_line"),
    [
        ("dining_philosophers", [], 1, r"\w+ +ate 10 times"),
        ("ping_pong", ["1000"], None, r"1,000 rounds in \d+\.\d\d s: [\d,]+ messages a second"),
        ("rate_limiter", [], 1, r" 1\.\d\d s  (ada|bob)  has a token"),
        ("word_count", ["0.5"], None, r"totals are right: [\d,]+ words, [\d,]+ different ones"),
    ],
)
def test_every_example_that_ends_prints_what_it_found(
    name: str,
    arguments: list[str],
    seed: int | None,
    last_line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    assert run(load(name).main, seed=seed) in (None, 0)
    assert re.fullmatch(last_line, capsys.readouterr().out.splitlines()[-1])


# --- rate_limiter ---------------------------------------------------------------------------------------------------------


def test_the_bucket_serves_its_burst_at_once_and_then_at_its_rate() -> None:
    served = run(load("rate_limiter").serve, {"ada": 5.0}, 5, 4.0, 2, seed=1)
    assert served == [("ada", 0.0, True), ("ada", 0.0, True), ("ada", 0.25, True), ("ada", 0.5, True), ("ada", 0.75, True)]


@pytest.mark.parametrize("seed", range(3))
def test_clients_take_turns_and_the_hasty_one_gives_up(seed: int) -> None:
    served = run(load("rate_limiter").serve, {"ada": 5.0, "bob": 5.0, "eve": 0.1}, 2, 1.0, 1, seed=seed)
    granted = [seconds for _, seconds, is_served in served if is_served]
    assert granted == [0.0, *[float(n) for n in range(1, len(granted))]]  # one at once, then one a second
    assert Counter(name for name, _, is_served in served if is_served and name != "eve") == {"ada": 2, "bob": 2}
    assert [name for name, _, is_served in served if not is_served] == ["eve"] * (2 - sum(s[0] == "eve" and s[2] for s in served))


def test_a_run_with_the_same_seed_is_the_same_run() -> None:
    serve = load("rate_limiter").serve
    assert len({tuple(run(serve, {"ada": 0.3, "bob": 0.3, "eve": 0.1}, 4, seed=7)) for _ in range(3)}) == 1


# --- dining_philosophers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_all_philosophers_eat_and_never_two_with_the_same_fork(seed: int) -> None:
    dinner = load("dining_philosophers")
    events = run(dinner.dine, 20, seed=seed)
    assert Counter(events) == {(name, what): 20 for name in dinner.PHILOSOPHERS for what in ("eats", "thinks")}
    eating: set[int] = set()
    seats = len(dinner.PHILOSOPHERS)
    for name, what in events:
        seat = dinner.PHILOSOPHERS.index(name)
        if what == "thinks":
            eating.remove(seat)
        else:
            assert not eating & {(seat - 1) % seats, (seat + 1) % seats}
            eating.add(seat)


def test_the_fork_of_a_philosopher_who_dies_is_free_again() -> None:
    dinner = load("dining_philosophers")

    async def main() -> str:
        fork = await dinner.Fork.start_link()

        async def holder(audience: Any) -> None:
            await call(fork, "take")
            send(audience, "taken")
            await receive()

        first = spawn(holder, self_pid())
        await receive()
        exit(first, "kill")
        return str(await call(fork, "take"))

    assert run(main, seed=1) == "yours"


# --- word_count -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_totals_are_right_though_workers_crash_and_are_killed(tmp_path: Path, seed: int) -> None:
    counting = load("word_count")
    path = tmp_path / "text.txt"
    counting.make_text(path, 2, seed)

    async def main() -> tuple[dict[str, int], Any]:
        total = await counting.count_words(path, seed, self_pid())
        while True:
            progress = await receive(counting.Progress)
            if progress.pieces_done == progress.pieces:
                return total, progress

    total, last = run(main)
    assert total == Counter(counting.WORD.findall(path.read_text().lower()))
    assert last.crashes > 0
    assert last.kills > 0
    assert last.restarts > 0


def test_pieces_are_the_whole_file_cut_at_ends_of_lines(tmp_path: Path) -> None:
    counting = load("word_count")
    path = tmp_path / "text.txt"
    counting.make_text(path, 0.3, 1)
    text = path.read_bytes()
    pieces = counting.cut(path)
    assert b"".join(text[piece.offset : piece.offset + piece.length] for piece in pieces) == text
    assert all(text[piece.offset + piece.length - 1 :][:1] == b"\n" for piece in pieces)
    assert len(pieces) > 5


def test_the_text_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    counting = load("word_count")
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        counting.make_text(tmp_path / name, 0.1, seed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes() != (tmp_path / "other").read_bytes()


# --- chat_room ------------------------------------------------------------------------------------------------------------


class Member:
    """Somebody with a socket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.rest = b""

    async def line(self) -> str | None:
        """The next line; None at the end."""
        while b"\n" not in self.rest:
            data = await self.stream.receive_some()
            if not data:
                return None
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    async def type(self, text: str) -> None:
        await self.stream.send_all(f"{text}\n".encode())


Join = Callable[[str], Coroutine[Any, Any, Member]]


@asynccontextmanager
async def room_with_three() -> AsyncIterator[tuple[Join, Member, Member, Member]]:
    """Ada, Bob and Eve, who have read that they are all there; and how to join them."""
    port = await load("chat_room").open_room(0)

    async def join(name: str) -> Member:
        member = Member(await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)))
        assert await member.line() == "your name?"
        await member.type(name)
        return member

    async with io(), AsyncExitStack() as stack:
        with trio.fail_after(30):
            ada, bob, eve = members = [await join(name) for name in ("ada", "bob", "eve")]
            for number, member in enumerate(members):
                assert await member.line() == "* welcome"
                for other in ("ada", "bob", "eve")[number + 1 :]:
                    assert await member.line() == f"* {other} has joined"
            yield join, ada, bob, eve


def in_room(talk: Callable[[Join, Member, Member, Member], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with room_with_three() as (join, ada, bob, eve):
            await talk(join, ada, bob, eve)

    run(main)


def test_what_one_member_says_all_members_read() -> None:
    async def talk(join: Join, ada: Member, bob: Member, eve: Member) -> None:
        await ada.type("hello")
        assert [await member.line() for member in (ada, bob, eve)] == ["ada: hello"] * 3

    in_room(talk)


def test_who_leaves_is_seen_to_leave() -> None:
    async def talk(join: Join, ada: Member, bob: Member, eve: Member) -> None:
        await eve.stream.aclose()
        assert await ada.line() == await bob.line() == "* eve has left"
        assert set((await call("room", "members")).values()) == {"ada", "bob"}

    in_room(talk)


def test_a_connection_that_is_killed_is_closed_and_the_others_go_on() -> None:
    async def talk(join: Join, ada: Member, bob: Member, eve: Member) -> None:
        pids = {name: pid for pid, name in (await call("room", "members")).items()}
        exit(pids["bob"], "kill")
        assert await bob.line() is None
        assert await ada.line() == await eve.line() == "* bob has left"
        await eve.type("poor bob")
        assert await ada.line() == await eve.line() == "eve: poor bob"

    in_room(talk)


def test_a_name_that_is_taken_may_be_chosen_anew() -> None:
    async def talk(join: Join, ada: Member, bob: Member, eve: Member) -> None:
        other = await join("ada")
        assert await other.line() == "* the name ada is taken"
        await other.type("grace")
        assert await other.line() == "* welcome"
        assert await ada.line() == "* grace has joined"

    in_room(talk)


def test_a_room_that_is_killed_is_open_again_for_those_who_come_back() -> None:
    async def talk(join: Join, ada: Member, bob: Member, eve: Member) -> None:
        room = whereis("room")
        assert room is not None
        exit(room, "kill")
        assert [await member.line() for member in (ada, bob, eve)] == [None] * 3

    in_room(talk)


def test_no_process_is_left_when_all_have_gone() -> None:
    async def talk(join: Join, ada: Member, bob: Member, eve: Member) -> None:
        before = len(processes())
        for member in (ada, bob, eve):
            await member.stream.aclose()
        while len(processes()) > before - 3:
            await trio.lowlevel.checkpoint()

    in_room(talk)


def test_the_program_takes_connections_until_ctrl_c_and_closes_them() -> None:
    command = [sys.executable, "-m", "boot", "run", str(EXAMPLES / "chat_room.py"), "0"]
    with subprocess.Popen(command, cwd=EXAMPLES.parent, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            port = int(program.stdout.readline().rpartition(" ")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                lines = connection.makefile("r")
                assert lines.readline() == "your name?\n"
                connection.sendall(b"ada\n")
                assert lines.readline() == "* welcome\n"
                program.send_signal(signal.SIGINT)
                assert lines.readline() == ""
                lines.close()
            assert program.wait(timeout=30) == 130
        finally:
            program.kill()
