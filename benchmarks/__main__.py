"""`python -m benchmarks`: measure every side in turn, print one table and the targets."""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.progress import Progress

from benchmarks import machine
from benchmarks.cases import Case, Target
from benchmarks.sides import RUNS, NotInstalledError, Side, SideFailedError, compile_erlang
from benchmarks.suites import SUITES
from benchmarks.table import evaluate, targets_table, values_table, verdict

CASE_NAMES = {case.name for suite in SUITES.values() for case in suite.cases}
SIDE_NAMES = {side.name for suite in SUITES.values() for side in suite.sides("")}


@dataclass
class Results:
    """What the rounds gave. Keys are (row, side); of failures (case, side). `yardsticks` are nanoseconds, one a turn."""

    runs: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    yardsticks: list[float] = field(default_factory=list)

    def values(self) -> dict[tuple[str, str], float]:
        """The best run of each round (the one that other programs disturbed least), and of these the median."""
        return {key: statistics.median(min(runs) for runs in rounds) for key, rounds in self.runs.items()}


def look_around(sides: Sequence[Side], results: Results) -> tuple[list[Side], dict[str, str]]:
    """Which sides can run here, and what each of all says about itself; one that is there but does not start has failed."""
    present, notes = [], {}
    for side in sides:
        try:
            notes[side.title] = side.about()
            present.append(side)
        except NotInstalledError as error:
            notes[side.title] = str(error)
        except SideFailedError as failure:
            notes[side.title] = "does not start"
            results.failures["start", side.name] = str(failure)
    return present, notes


def measure(sides: Sequence[Side], cases: Sequence[Case], quick: bool, rounds: int, results: Results) -> None:
    """Case by case, in rounds in which every side has its turn, so that a drift of the machine hits all alike."""
    turns = [(case, side) for case in cases for _ in range(rounds) for side in sides if case.workload in side.workloads]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(turns))
        for case, side in turns:
            progress.update(task, description=f"{case.name} on {side.title}")
            results.yardsticks.append(machine.loop_nanoseconds())
            if (case.name, side.name) not in results.failures:
                try:
                    for measured in side.measure(case, quick):
                        results.runs.setdefault((measured.row, side.name), []).append(measured.runs)
                        results.units[measured.row] = measured.unit
                except SideFailedError as failure:
                    results.failures[case.name, side.name] = str(failure)
            progress.advance(task)


def as_json(facts: dict[str, str], all_targets: Sequence[Target], results: Results) -> str:
    """Everything that was measured, for programs."""
    values = results.values()
    targets = [(target, evaluate(target, values)) for target in all_targets]
    return json.dumps(
        {
            "about": facts,
            "values": [
                {"row": row, "side": side, "unit": results.units[row], "median": value, "rounds": results.runs[row, side]}
                for (row, side), value in values.items()
            ],
            "targets": [
                {"target": target.title, "sense": target.sense, "bound": target.bound, "measured": value, "verdict": verdict(target, value)}
                for target, value in targets
            ],
            "failures": [{"case": case, "side": side, "why": why} for (case, side), why in results.failures.items()],
        },
        indent=2,
    )


@click.command()
@click.argument("suite_name", metavar=f"[{'|'.join(SUITES)}]", type=click.Choice(list(SUITES)), default="processes")
@click.option("--quick", is_flag=True, help="Shorter runs and smaller sizes: a few minutes, and rougher numbers.")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    type=click.Choice(sorted(CASE_NAMES | SIDE_NAMES)),
    help="Only this case, or this side; may be given several times. A wrong name prints all there are.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="How often every side has its turn.")
@click.option("--json", "wants_json", is_flag=True, help="Print JSON: all runs, medians, targets.")
def main(suite_name: str, quick: bool, only: tuple[str, ...], rounds: int, wants_json: bool) -> None:
    """Compare beamlike with others on this machine: its processes, on one core, with those of Erlang, trio, Pykka, xoscar and Thespian;
    or its nodes with those of Erlang, Ray and xoscar; or see what its cells, unikernels, drivers and boots cost.

    The tables go to stdout, progress to stderr. What is not installed is named and left out. The exit status is 1 if a
    side failed; a target that is not met is no failure.
    """
    facts = machine.describe()
    suite = SUITES[suite_name]
    if suite.is_pinned:
        facts["pinned"] = f"to core {machine.pin_to_one_core()}"
    facts["sides"] = suite.about
    facts["method"] = f"rounds: {rounds}, in each every side has its turn; of a side's {RUNS} runs the best, of the rounds the median"
    results = Results()
    cases = [case for case in suite.cases if case.name in only or not CASE_NAMES & set(only)]
    cases = [case for case in cases if not (quick and case.quick_size is None)]
    with tempfile.TemporaryDirectory() as folder:
        compile_erlang(folder)
        present, notes = look_around([side for side in suite.sides(folder) if side.name in only or not SIDE_NAMES & set(only)], results)
        measure(present, cases, quick, rounds, results)
    if results.yardsticks:
        low, median, high = min(results.yardsticks), statistics.median(results.yardsticks), max(results.yardsticks)
        facts["speed"] = f"a turn of a plain Python loop took {low:.0f} to {high:.0f} ns in the course of this, median {median:.0f}"
    facts |= notes
    if wants_json:
        click.echo(as_json(facts, suite.targets, results))
    else:
        console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=220)
        for name, text in facts.items():
            console.print(f"{name}: {text}", markup=False)
        console.print("\nMedians over the rounds; in brackets, how many times beamlike's that is", markup=False)
        console.print(values_table(suite.cases, results.values(), results.units, present, results.failures))
        for (case_name, side_name), why in results.failures.items():
            console.print(f"failed: {case_name} on {side_name}: {why}", markup=False)
        console.print("\nTargets", markup=False)
        console.print(targets_table(suite.targets, results.values()))
    if results.failures:
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
