"""The demonstration: the word count example before an audience, which sees the crashes and how they are healed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from beamlike import Pid, blocking, receive, self_pid, send, spawn
from boot.demo import word_count

MEGABYTES = 10
SEED = 1


async def show(console: Console, boss: Pid) -> None:
    """Told of progress, show it: on a terminal by a bar, else by a line for every tenth. When all is done, tell the boss."""
    bar = Progress(
        TextColumn("{task.completed}/{task.total} pieces"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[now]}"),
        TimeElapsedColumn(),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None, now="")
        tenths = 0
        while True:
            now: word_count.Progress = await receive(word_count.Progress)
            events = f"{now.workers} workers, {now.crashes} crashes, {now.kills} kills, {now.restarts} restarts"
            bar.update(task, completed=now.pieces_done, total=now.pieces, now=events)
            if now.last not in (None, "shutdown"):  # at Ctrl-C all workers end so
                console.print(Text(f"  a worker ended: {brief(now.last)}", style="dim"), soft_wrap=True)
            if not console.is_terminal and now.pieces_done * 10 // now.pieces > tenths:
                tenths = now.pieces_done * 10 // now.pieces
                console.print(f"{now.pieces_done}/{now.pieces} pieces, {events}")
            if now.pieces_done == now.pieces:
                send(boss, now)
                return


def brief(reason: Any) -> str:
    """An exit reason in a few words: of an exception, its text."""
    match reason:
        case ((str() as kind, str() as text), tuple()):
            return f"{kind}: {text}"
    return str(reason)


async def main(megabytes: int) -> bool:
    """Make a text, count its words by the pool and by a plain loop, and say how it went. Returns whether the totals are the same."""
    console = Console(highlight=False, force_terminal=False if os.environ.get("NO_COLOR") else None)
    with tempfile.TemporaryDirectory(prefix="beamlike-demo-") as folder:
        path = Path(folder, "text.txt")
        console.print(f"writing a text of {megabytes} MB")
        await blocking(word_count.make_text, path, megabytes, SEED)
        console.print(
            f"counting its words with {word_count.WORKERS} workers under a supervisor; "
            f"{word_count.CRASHES:.0%} of their attempts raise an exception, and a saboteur kills some"
        )
        start = perf_counter()
        display = spawn(show, console, self_pid())
        total = await word_count.count_words(path, SEED, display)
        last: word_count.Progress = await receive(word_count.Progress)
        console.print(
            f"counted in {perf_counter() - start:.1f} s: {last.crashes} crashes, {last.kills} kills, "
            f"{last.restarts} workers restarted by their supervisor",
            soft_wrap=True,
        )
        console.print("counting plainly, to compare")
        expected = await blocking(word_count.count_plainly, path)
    if total != expected:
        wrong = [word for word in total.keys() | expected.keys() if total.get(word) != expected.get(word)]
        console.print(f"totals are WRONG for {len(wrong)} words: please report this", style="bold red")
        return False
    console.print(f"totals are right: {sum(total.values()):,} words, {len(total):,} different ones", style="bold green")
    return True
