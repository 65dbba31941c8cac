"""Word count: a pool of workers that crash and are killed all the time, and totals that are right all the same.

It shows what supervisors are for. Nobody handles an error here: a worker that fails is gone, the supervisor puts a new one in its
place, and the coordinator, which monitors the workers, gives the piece of text to another. The tree:

    Supervisor (rest_for_one: workers without their coordinator are of no use)
    ├── coordinator     hands out pieces of the file, adds up what comes back
    └── Supervisor (one_for_one: a worker's end is its own)
        ├── worker-1
        └── …

    beamlike run examples/word_count.py [MEGABYTES]
"""

import random
import re
import sys
import tempfile
from collections import Counter, deque
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from beamlike import (
    NOREPLY,
    Caller,
    ChildSpec,
    Down,
    GenServer,
    Pid,
    Supervisor,
    blocking,
    call,
    cast,
    exit,
    monitor,
    receive,
    record,
    reply,
    self_pid,
    send,
    spawn,
    whereis,
)

WORKERS = 4
PIECE = 32 * 1024  # bytes that a worker reads at a time
WORD = re.compile(r"[a-z]+")
CRASHES = 0.05  # of all attempts at a piece end by an exception
KILLS = 0.03  # of all pieces that come back, a random worker is killed


@record
class Piece:
    """A part of the file that ends with a line, and how often it was handed out before."""

    offset: int
    length: int
    attempt: int = 0


@record
class Progress:
    """How far it is. `workers`: how many there are at the moment; `last`: what one ended with just now."""

    pieces_done: int
    pieces: int
    workers: int
    crashes: int
    kills: int
    restarts: int
    last: Any = None


class Coordinator(GenServer):
    """Hands out pieces and adds up counts. A piece counts once, however many workers died of it.

    A worker's signals come in the order in which it sent them (M1): when its Down comes, its piece has come back before, or never will.
    """

    async def init(self, pieces: tuple[Piece, ...], workers: int, audience: tuple[Pid, ...]) -> None:
        self.waiting = deque(pieces)
        self.idle: deque[Pid] = deque()
        self.busy: dict[Pid, Piece] = {}
        self.total: Counter[str] = Counter()
        self.callers: list[Caller] = []
        self.audience = audience
        self.pieces, self.done = len(pieces), 0
        self.workers, self.hired = workers, 0
        self.crashes = self.kills = 0

    async def handle_cast(self, request: Any) -> None:
        match request:
            case ("ready", worker):
                monitor(worker)
                self.hired += 1
                self.idle.append(worker)
            case ("counted", worker, counts):
                del self.busy[worker]
                self.idle.append(worker)
                self.total.update(counts)
                self.done += 1
        self.go_on()

    async def handle_info(self, message: Any) -> None:
        match message:
            case Down(_, worker, reason):
                self.crashes += reason != "killed"
                self.kills += reason == "killed"
                piece = self.busy.pop(worker, None)
                if piece is None:
                    self.idle.remove(worker)
                else:
                    self.waiting.appendleft(Piece(piece.offset, piece.length, piece.attempt + 1))
                self.go_on(reason)

    async def handle_call(self, request: Any, caller: Caller) -> Any:
        match request:
            case "total":
                self.callers.append(caller)
                self.go_on()
                return NOREPLY
        raise ValueError(f"the coordinator takes 'total', not {request!r}")

    def go_on(self, last: Any = None) -> None:
        """Hand out what can be handed out; tell how far it is."""
        while self.waiting and self.idle:
            worker, piece = self.idle.popleft(), self.waiting.popleft()
            self.busy[worker] = piece
            cast(worker, piece)
        workers = len(self.idle) + len(self.busy)
        restarts = max(0, self.hired - self.workers)
        for pid in self.audience:
            send(pid, Progress(self.done, self.pieces, workers, self.crashes, self.kills, restarts, last))
        if self.done == self.pieces:
            for caller in self.callers:
                reply(caller, dict(self.total))
            self.callers.clear()


class Worker(GenServer):
    """Counts the words of one piece after the other, unless it crashes in the middle of one."""

    async def init(self, path: str, seed: int) -> None:
        self.path = Path(path)
        self.seed = seed
        cast("coordinator", ("ready", self_pid()))

    async def handle_cast(self, request: Any) -> None:
        match request:
            case Piece() as piece:
                cast("coordinator", ("counted", self_pid(), self.count(piece)))

    def count(self, piece: Piece) -> dict[str, int]:
        """How often each word is there. Pure computation: other processes go on meanwhile, by pre-emption."""
        with self.path.open("rb") as file:
            file.seek(piece.offset)
            lines = file.read(piece.length).decode().splitlines()
        # Which attempts fail depends on the seed alone, not on who runs when.
        rng = random.Random(f"{self.seed} {piece.offset} {piece.attempt}")
        fatal = rng.randrange(len(lines)) if rng.random() < CRASHES else None
        counts: dict[str, int] = {}
        for number, line in enumerate(lines):
            if number == fatal:
                raise RuntimeError(f"injected fault in line {number} of the piece at {piece.offset}")
            for word in WORD.findall(line.lower()):
                counts[word] = counts.get(word, 0) + 1
        return counts


async def saboteur(seed: int) -> None:
    """Told of progress, kill a worker now and then."""
    rng = random.Random(seed)
    done = 0
    while True:
        progress = await receive(Progress)
        if progress.pieces_done > done:
            done = progress.pieces_done
            victim = whereis(f"worker-{rng.randint(1, WORKERS)}")
            if victim is not None and rng.random() < KILLS:
                exit(victim, "kill")


async def count_words(path: Path, seed: int, *audience: Pid) -> dict[str, int]:
    """Count the words of a file with a pool of workers, all kinds of crashes included. The audience is sent `Progress`."""
    pieces = tuple(await blocking(cut, path))
    audience = (*audience, spawn(saboteur, seed))
    workers = [ChildSpec.of(Worker, str(path), seed, id=name, name=name) for name in (f"worker-{n}" for n in range(1, WORKERS + 1))]
    await Supervisor.start_link(
        [
            ChildSpec.of(Coordinator, pieces, WORKERS, audience, name="coordinator"),
            # Crashes are what this program is about: a supervisor gives up after one restart in 5 seconds unless it is told otherwise.
            ChildSpec.of(Supervisor, workers, intensity=1000, period=1.0),
        ],
        strategy="rest_for_one",
    )
    total: dict[str, int] = await call("coordinator", "total", timeout=None)
    return total


def cut(path: Path) -> list[Piece]:
    """Cut a file into pieces of about PIECE bytes, at ends of lines."""
    pieces = []
    with path.open("rb") as file:
        start = 0
        while file.read(PIECE):
            file.readline()
            pieces.append(Piece(start, file.tell() - start))
            start = file.tell()
    return pieces


def make_text(path: Path, megabytes: float, seed: int) -> None:
    """Write a text in which, as in any language, few words are frequent and many are rare."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(ascii_lowercase, k=rng.randint(2, 9))) for _ in range(5000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    drawn = iter(rng.choices(words, weights, k=60_000))
    sentences = [" ".join(twelve).capitalize() + ".\n" for twelve in zip(*[drawn] * 12, strict=True)]
    left = int(megabytes * 1_000_000)
    with path.open("w") as file:
        while left > 0:
            left -= file.write("".join(rng.choices(sentences, k=100)))


def count_plainly(path: Path) -> dict[str, int]:
    """The same totals, without a pool."""
    counts: Counter[str] = Counter()
    with path.open() as file:
        for line in file:
            counts.update(WORD.findall(line.lower()))
    return dict(counts)


async def main() -> int:
    """Count a text of a few megabytes and compare with a plain count."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        await blocking(make_text, path, megabytes, 1)
        total = await count_words(path, 1)
        expected = await blocking(count_plainly, path)
    if total != expected:
        print("the totals are WRONG")
        return 1
    print(f"totals are right: {sum(total.values()):,} words, {len(total):,} different ones")
    return 0
