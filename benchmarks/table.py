"""The tables: every value with its ratio to ours, and the targets."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from benchmarks.cases import Case, Target, Values
from benchmarks.sides import Side


def quantity(value: float, unit: str) -> str:
    """`7.4 µs`, `880 B`: three figures and a fitting prefix; a ratio as it is."""
    if unit == "ratio":
        return f"{value:.3g}"
    if unit == "bytes":
        steps = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
    else:
        steps = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
    factor, prefix = next((step for step in steps if value >= step[0]), steps[-1])
    return f"{value / factor:.3g} {prefix}" if value < 999.5 * factor else f"{value / factor:.0f} {prefix}"


def values_table(
    cases: Sequence[Case],
    values: Values,
    units: Mapping[str, str],
    sides: Sequence[Side],
    failures: Mapping[tuple[str, str], str],
) -> Table:
    """A line a value, a column a side; in brackets how many times ours (compiled, or what there is of ours) it is."""
    table = Table()
    table.add_column("")
    for side in sides:
        table.add_column(side.title, justify="right")
    for case in cases:
        for row in case.rows:
            if row.name not in units and not any((case.name, side.name) in failures for side in sides):
                continue
            cells = []
            base = "compiled" if (row.name, "compiled") in values else "pure"
            ours = values.get((row.name, base))
            for side in sides:
                value = values.get((row.name, side.name))
                if value is None:
                    cells.append("[red]failed[/]" if (case.name, side.name) in failures else "–")
                elif ours is None or side.name == base:
                    cells.append(quantity(value, units[row.name]))
                else:
                    cells.append(f"{quantity(value, units[row.name])} ({value / ours:.2g}×)")
            table.add_row(row.title, *cells)
    return table


def evaluate(target: Target, values: Values) -> float | None:
    """The number that a target bounds; None if what it is made of was not measured."""
    try:
        return target.measure(values)
    except KeyError:
        return None


def verdict(target: Target, value: float | None) -> str:
    """met, not met, or not measured."""
    if value is None:
        return "not measured"
    return "met" if target.is_met(value) else "not met"


def targets_table(targets: Sequence[Target], values: Values) -> Table:
    """A line a target, with the measured number."""
    colours = {"met": "green", "not met": "red", "not measured": "dim"}
    table = Table()
    table.add_column("")
    table.add_column("target", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("")
    for target in targets:
        unit = {"x": "×", "/s": "/s", "%": " %", "": ""}.get(target.unit, f" {target.unit}")
        value = evaluate(target, values)
        word = verdict(target, value)
        table.add_row(
            target.title,
            f"{'≤' if target.sense == 'at most' else '≥'} {target.bound:g}{unit}",
            "–" if value is None else f"{value:,.0f}{unit}" if value >= 1000 else f"{value:.3g}{unit}",
            f"[{colours[word]}]{word}[/]",
        )
    return table
