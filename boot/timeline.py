"""The events of a boot, for people: a line each, with a column for the primary and one for the cores that read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text

from boot.engines.events import Event
from boot.guest.layout import Kind

WIDTH = 44  # characters of the left column
PRIMARY = 0
BAD = frozenset((Kind.DEAD, Kind.FAILED, Kind.KILLED, Kind.REREAD, Kind.COPY))


def timeline(events: Iterable[Event]) -> list[Text]:
    """The lines: a head, and one for each event."""
    lines = [Text(f"{'seconds':>9}  {'core 0, 64 bits':{WIDTH}}  others, 16 bits", "bold")]
    for event in events:
        text = describe(event)
        line = Text(f"{event.seconds:9.6f}  ", "dim")
        style = "red" if event.kind in BAD else ""
        if is_of_primary(event):
            line.append(text, style)
        else:
            line.append(" " * WIDTH + f"  {event.core}  ", "dim").append(text, style)
        lines.append(line)
    return lines


def is_of_primary(event: Event) -> bool:
    """Whether it is what the primary does, or is done to it: the core that a call or a death is about is another one."""
    return event.core == PRIMARY or event.kind in (Kind.CALLED, Kind.DEAD, Kind.MOVED, Kind.REREAD, Kind.COPY)


def describe(event: Event) -> str:
    """It, in some words."""
    sectors = f"LBA {event.lba} … {event.lba + max(event.count, 1) - 1}"
    match event.kind:
        case Kind.CALLED:
            return f"calls core {event.core}"
        case Kind.CAME:
            return "has come, the drive is reset"
        case Kind.DEAD:
            return f"core {event.core} is silent: stopped" + (f", it leaves {sectors}" if event.count else "")
        case Kind.MOVED:
            return f"chunk {event.more} is in its place, and good"
        case Kind.REREAD:
            return f"chunk {event.more} is damaged: once more"
        case Kind.COPY:
            return f"the manifest at LBA {event.lba} is bad: its copy"
        case Kind.READING:
            return f"reads {sectors}" + (f", try {event.more}" if event.more > 1 else "")
        case Kind.READ:
            return f"has read {sectors}"
        case Kind.FAILED:
            return f"LBA {event.lba}: {event.count} sectors came, then status {event.more:02x}"
        case Kind.KILLED:
            return "its OS process is killed" + (f" at LBA {event.lba}" if event.lba else "")


def as_json(event: Event) -> dict[str, Any]:
    """For machines."""
    return {**vars(event), "kind": event.kind.name.lower()}


def chunks_moved(events: Iterable[Event]) -> int:
    """How much of the payload is in its place."""
    return sum(event.kind is Kind.MOVED for event in events)
