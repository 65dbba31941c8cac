"""A shell's screen, by itself: what a shell does is tested by its command, in tests/boot/test_attach.py."""

from __future__ import annotations

from nodes.shell import MOST_PRINTED, PIECE, Screen


def test_a_full_screen_keeps_nothing_more_and_small_pieces_fill_it_by_their_number() -> None:
    screen = Screen(None)  # type: ignore[arg-type] # nobody reads it
    count = 2 * MOST_PRINTED // PIECE
    for _ in range(count):
        screen.write("x")
    screen.write("")
    kept = len(screen.waiting)
    assert kept == MOST_PRINTED // (PIECE + 1)
    assert screen.take() == "x" * kept + f"\n[{count - kept} characters are not shown: they came faster than they were read]\n"
    assert screen.take() == ""
