"""The demonstration before an audience: runs it, shows it live, and says at the end whether all was kept."""

from __future__ import annotations

import os
import signal
import threading
from time import monotonic
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import nodes
from boot.demo.account import Account, quantile, short
from boot.demo.journal import Journal
from boot.demo.killer import FORGE
from boot.demo.program import Plan, main
from boot.demo.verdict import Verdict, judge
from boot.demo.watch import Sample, children, fds_of, look

CLIENTS = 8  # on each node
PAIRS = 4
WORKERS = 4


def run_demo(console: Console | None, *, seconds: float, every: float, seed: int, count: int) -> tuple[Verdict, bool]:
    """Run it. Returns the verdict, and whether Ctrl-C ended the run early; a second one ends it at once.

    Args:
        console: where it is shown live; None: nowhere.
        every: seconds from kill to kill.
        count: nodes.

    Raises: KeyboardInterrupt; as `nodes.run`, ExitError if its main failed and StartError above all.
    """
    journal = Journal.create(count * CLIENTS, seconds)
    fds, others = fds_of(os.getpid()), set(children())
    is_early = False

    def interrupt(signum: int, frame: Any) -> None:
        nonlocal is_early
        if is_early or not journal.begun:
            raise KeyboardInterrupt
        is_early = True
        journal.stop()

    before = signal.signal(signal.SIGINT, interrupt)
    show = Show(journal, console, count)
    try:
        with show:
            nodes.run(
                main,
                journal.address,
                Plan(count, seed, every, CLIENTS, PAIRS, WORKERS),
                nodes=count,
                on_main_lost="restart",
                setup=("boot.demo.program:quiet", ()),
            )
        left_over = [f"the OS process {pid} is left over" for pid in children() if pid not in others]
        if fds_of(os.getpid()) > fds:
            left_over.append(f"{fds_of(os.getpid()) - fds} descriptors are left over")
        verdict = judge(show.account, journal.slots, journal.end - journal.begun, show.samples, count, left_over)
    finally:
        signal.signal(signal.SIGINT, before)
        journal.close()
    return verdict, is_early


class Show:
    """Follows the journal in a thread, as long as it is entered: a table on a terminal, else a line each second."""

    PERIOD = 0.25  # seconds, of the table
    SECOND = 1.0

    def __init__(self, journal: Journal, console: Console | None, count: int) -> None:
        self.journal = journal
        self.console = console
        self.count = count
        self.account = Account()
        self.samples: list[Sample] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="show")
        self._done = 0  # writes, a second ago
        self._rate = 0

    def __enter__(self) -> Show:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.account.take(self.journal.news())

    def _follow(self) -> None:
        if self.console is not None and self.console.is_terminal:
            with Live(self._table(), console=self.console, auto_refresh=False, transient=True) as live:
                self._look_every(self.PERIOD, lambda: live.update(self._table(), refresh=True))
        else:
            self._look_every(self.SECOND, self._print_line)

    def _look_every(self, period: float, show: Any) -> None:
        next_second = monotonic() + self.SECOND
        while not self._is_over.wait(period):
            self.account.take(self.journal.news())
            if monotonic() >= next_second:
                next_second += self.SECOND
                self._rate, self._done = self.done - self._done, self.done
                if self.journal.begun and not self.journal.is_over:
                    self.samples.append(look())
            show()

    @property
    def done(self) -> int:
        """Acknowledged writes."""
        return sum(slot.done for slot in self.journal.slots)

    def _passed(self) -> float:
        begun = self.journal.begun
        return min(monotonic(), self.journal.end) - begun if begun else 0.0

    def _figures(self) -> list[str]:
        account = self.account
        return [
            f"{self.done:,} writes acknowledged",
            f"{self._rate:,} in the last second",
            f"{sum(slot.jobs for slot in self.journal.slots):,} jobs",
            f"{account.kills.total()} kills",
            f"{len(account.failed_over)} calls failed over, the longest in {1e3 * quantile(account.failed_over, 1.0):.0f} ms",
        ]

    def _print_line(self) -> None:
        if self.console is not None and self.journal.begun and not self.journal.is_over:
            down = ", ".join(sorted(map(short, self.account.down)))
            line = f"{self._passed():3.0f} s: {', '.join(self._figures())}; {f'{down} down' if down else 'all nodes up'}"
            self.console.print(line, soft_wrap=True)

    def _table(self) -> Group:
        journal, account = self.journal, self.account
        if not journal.begun:
            return Group(Text(f"starting {self.count} nodes"))
        table = Table("OS process", "killed", "now", expand=True)
        for name in sorted({*account.kills, *account.down, *account.seen}):
            since = account.down.get(name)
            state = Text("up", "green") if since is None else Text(f"killed {monotonic() - since:.1f} s ago", "bold red")
            table.add_row(short(name), str(account.kills[name]), "" if name == FORGE else state)
        flight = sum(slot.is_in_flight for slot in journal.slots)
        head = f"{self._passed():.1f} s of {journal.end - journal.begun:.0f}; {flight} calls in flight; back after "
        head += f"{1e3 * quantile(account.back, 0.5):.0f} ms (median); last kill: {account.last_kill or 'none yet'}"
        return Group(Text(head), Text(", ".join(self._figures())), table)
