"""The line that is edited, against a screen of one row that shows what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.services.editing import BELL, MOST, SEQUENCES, Action, AnsiKeys, Key, LineEditor, cells, keys_of

UP, DOWN, LEFT, RIGHT, HOME, END = Action.UP, Action.DOWN, Action.LEFT, Action.RIGHT, Action.HOME, Action.END
BACKSPACE, DELETE, CLEAR, ENTER = Action.BACKSPACE, Action.DELETE, Action.CLEAR, Action.ENTER

LINES: list[tuple[list[Key], str, int]] = [
    (["a", "b", "c"], "abc", 3),
    (["a", "b", BACKSPACE, "c"], "ac", 2),
    ([BACKSPACE, "a"], "a", 1),
    (["a", "b", LEFT, "x"], "axb", 2),
    (["a", "b", LEFT, LEFT, LEFT, "x", RIGHT, RIGHT, RIGHT, "y"], "xaby", 4),
    (["a", "b", HOME, DELETE, END, DELETE], "b", 1),
    (["a", "b", "c", LEFT, CLEAR], "c", 0),
    (["a", "b", HOME, Action.CLOSE], "b", 0),
    (["a", UP, DOWN, "b"], "ab", 2),
]


class Row:
    """One row of a terminal."""

    def __init__(self) -> None:
        self.cells: list[str] = []
        self.at = 0

    def show(self, text: str) -> None:
        for each in text.replace(BELL, ""):
            if each == "\b":
                self.at -= 1
                assert self.at >= 0, "it goes back too far"
                continue
            self.cells[self.at : self.at + cells(each)] = [each] + [""] * (cells(each) - 1)
            self.at += cells(each)

    @property
    def text(self) -> str:
        return "".join(self.cells).rstrip(" ")


@pytest.mark.parametrize(("keys", "text", "at"), LINES, ids=str)
def test_keys_edit_the_line(keys: list[Key], text: str, at: int) -> None:
    editor = LineEditor()
    for key in keys:
        editor.type(key)
    assert (editor.text, editor.at) == (text, at)


@given(st.lists(st.sampled_from([*Action, "x", "y", "漢", "ü", "    "]), max_size=40))
def test_what_is_shown_is_the_line_whatever_is_typed(keys: list[Key]) -> None:
    editor, row = LineEditor(cells), Row()
    for key in keys:
        if key is ENTER:
            editor.finish()
            row = Row()
        else:
            row.show(editor.type(key))
        assert row.text == editor.text.rstrip(" ")
        assert row.at == cells(editor.text[: editor.at])
        again = Row()
        again.show(editor.shown())
        assert (again.text, again.at) == (row.text, row.at)


def test_up_and_down_go_through_the_lines_before_and_back_to_the_one_that_was_begun() -> None:
    editor = LineEditor()
    for line in ("one", "two", "two", " "):
        editor.type(line)
        assert editor.finish() == line
    editor.type("thr")
    seen = []
    for key in (UP, UP, UP, DOWN, DOWN, DOWN):
        editor.type(key)
        seen.append(editor.text)
    assert seen == ["two", "one", "one", "two", "thr", "thr"]
    editor.type(UP)
    editor.type("!")
    assert editor.finish() == "two!"
    editor.type(UP)
    assert editor.text == "two!"


def test_a_line_has_a_greatest_length() -> None:
    editor = LineEditor()
    assert editor.type("x" * MOST) == "x" * MOST
    assert editor.type("y") == BELL
    assert editor.type("yy") == BELL
    assert (editor.text, editor.lost) == ("x" * MOST, 3)
    for key in (Action.DELETE, UP, DOWN, Action.HOME, Action.END):
        editor.type(key)
    assert (editor.text, editor.lost) == ("x" * MOST, 3)
    editor.type(Action.BACKSPACE)
    assert editor.lost == 0  # whoever takes something out has seen it
    editor.type("yy")
    editor.finish()
    assert editor.lost == 0


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"a\rb\nc\r\nd\n", ["a", ENTER, "b", ENTER, "c", ENTER, "d", ENTER]),
        ("ü€漢".encode(), ["ü", "€", "漢"]),
        (b"\xff\xc3(", ["\ufffd", "\ufffd", "("]),
        (b"\x1b[A\x1bOB\x1b[3~\x1b[1~\x7f\x08\t", [UP, DOWN, DELETE, HOME, BACKSPACE, BACKSPACE, "    "]),
        (b"\x1b[1;5Dx\x1bqy\x1b[99999999999999999999z", ["x", "y", *"999999z"]),
        (b"\x1b[[Ax\x1b[[E\x1b[A", ["x", UP]),  # function keys of a Linux console
        (b"\x1b[\x03\x1b\x1b[C\x00\x1c", [Action.INTERRUPT, RIGHT]),
    ],
)
def test_keys_of_a_terminals_bytes_also_one_by_one(data: bytes, keys: list[Key]) -> None:
    assert AnsiKeys().feed(data) == keys
    ansi = AnsiKeys()
    assert [key for at in range(len(data)) for key in ansi.feed(data[at : at + 1])] == keys


@given(st.binary(max_size=50))
def test_whatever_a_terminal_sends_the_next_key_is_told(data: bytes) -> None:
    ansi = AnsiKeys()
    ansi.feed(data)
    assert ansi.feed(b"\x03")[-1] is Action.INTERRUPT
    for sequence, action in SEQUENCES.items():
        assert ansi.feed(b"\x1b" + sequence.encode()) == [action]


def test_marks_take_up_no_cells_whether_they_have_a_combining_class_or_not() -> None:
    assert [cells(text) for text in ("a", "漢", "a\u0308", "\u0e01\u0e31", "\u2764\ufe0f", "1\ufe0f\u20e3")] == [1, 2, 1, 1, 1, 1]


def test_control_characters_without_a_meaning_are_no_keys() -> None:
    assert keys_of("\x00a\x1b\x7f\x06\ud800") == ["a", BACKSPACE]
