"""The keyboard, on both machines; its scan codes and layouts, on none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hands import Hands
from hypothesis import given
from hypothesis import strategies as st
from machines import Play

from beamlike import receive, run
from drivers import DeviceAbsentError, DeviceError, DeviceTimeoutError, Fault, Interrupt, IoSpace, PortBus
from drivers.devices.i8042 import I8042, Port
from drivers.devices.keyboard import Keyboard, Led
from drivers.devices.layouts import DE, LAYOUTS, ROWS, US, Layout, Typist
from drivers.devices.scancodes import Decoder, Key, KeyEvent, Modifiers
from drivers.models.i8042 import I8042Model

MODELS = [I8042Model]
DATA = 0x60


def with_keyboard(check: Callable[[Keyboard, Hands], Awaitable[None]], translate: bool = True) -> Callable[[IoSpace], Awaitable[None]]:
    async def begin(io: IoSpace) -> None:
        controller = I8042(io)
        await controller.start(translate=translate)
        keyboard = Keyboard(controller)
        await keyboard.reset()
        await check(keyboard, Hands(io))

    return begin


@pytest.mark.parametrize("translate", [True, False])
def test_reset_and_identity(play: Play, translate: bool) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        assert await keyboard.identify() == (b"\xab\x41" if translate else b"\xab\x83")
        assert await keyboard.scan_set() == 2

    play(with_keyboard(check, translate), MODELS)


@pytest.mark.parametrize(("translate", "scan_set"), [(True, 2), (False, 2), (False, 1)])
def test_every_key_is_pressed_and_released(play: Play, translate: bool, scan_set: int) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        await keyboard.use_set(scan_set)
        assert await keyboard.scan_set() == scan_set
        for key in Key:
            hands.strike(key)
            down, up = await keyboard.read(1), await keyboard.read(1)
            assert (down.key, down.is_pressed, down.is_repeat) == (key, True, False)
            assert (up.key, up.is_pressed) == (key, False)
        assert keyboard.poll() is None

    play(with_keyboard(check, translate), MODELS)


def test_each_key_has_interrupts(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        io: Any = keyboard.controller.io
        io.lines.attach(1)
        hands.strike(Key.HOME)
        events: list[KeyEvent] = []
        while len(events) < 2:
            await io.pause(0.005)  # the release is three bytes on the wire, of which the controller keeps one to itself
            await receive(Interrupt, timeout=5)
            while event := keyboard.poll():
                events.append(event)
        assert [event.key for event in events] == [Key.HOME, Key.HOME]

    play(with_keyboard(check), MODELS)


def test_modifiers_hold_and_locks_stay(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        async def modifiers_at(key: Key) -> Modifiers:
            hands.strike(key)
            found = (await keyboard.read(1)).modifiers
            await keyboard.read(1)
            return found

        hands.press(Key.LEFT_SHIFT)
        assert (await keyboard.read(1)).modifiers == Modifiers.SHIFT
        hands.press(Key.RIGHT_ALT)
        assert (await keyboard.read(1)).modifiers == Modifiers.SHIFT | Modifiers.ALTGR
        assert await modifiers_at(Key.A) == Modifiers.SHIFT | Modifiers.ALTGR
        hands.release(Key.LEFT_SHIFT)
        assert (await keyboard.read(1)).modifiers == Modifiers.ALTGR
        hands.release(Key.RIGHT_ALT)
        assert (await keyboard.read(1)).modifiers == Modifiers(0)
        assert await modifiers_at(Key.CAPS_LOCK) == Modifiers.CAPS
        assert await modifiers_at(Key.A) == Modifiers.CAPS
        assert await modifiers_at(Key.CAPS_LOCK) == Modifiers(0)

    play(with_keyboard(check), MODELS)


def test_a_key_that_comes_again_without_a_release_is_a_repeat(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        hands.press(Key.A)
        hands.press(Key.A)
        hands.release(Key.A)
        events = [await keyboard.read(1) for _ in range(3)]
        assert [(each.is_pressed, each.is_repeat) for each in events] == [(True, False), (True, True), (False, False)]

    play(with_keyboard(check), MODELS)


def test_settings_are_acknowledged(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        for leds in (Led.CAPS | Led.SCROLL, Led(0), Led.NUM):
            await keyboard.set_leds(leds)
            if hands.model is not None:  # QEMU's monitor does not tell
                assert hands.model.leds == leds
        assert await keyboard.set_typematic(0.3, 11) == pytest.approx((0.25, 10.9), abs=0.05)
        assert await keyboard.set_typematic(5, 99) == pytest.approx((1, 30), abs=0.05)

    play(with_keyboard(check), MODELS)


def test_settings_in_between_lose_no_key(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        hands.strike(Key.PAGE_UP)
        await keyboard.set_leds(Led.CAPS)
        assert (await keyboard.read(1)).key is Key.PAGE_UP
        await keyboard.identify()
        assert (await keyboard.read(1)).is_pressed is False

    play(with_keyboard(check), MODELS)


def test_a_keyboard_that_is_off_says_nothing(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        hands.press(Key.LEFT_SHIFT)
        assert (await keyboard.read(1)).modifiers == Modifiers.SHIFT
        await keyboard.disable()
        hands.strike(Key.A)
        with pytest.raises(DeviceTimeoutError, match=r"a key: not within 0\.02 s"):
            await keyboard.read(0.02)
        await keyboard.enable()
        hands.strike(Key.B)
        assert await keyboard.read(1) == KeyEvent(Key.B, True, False, Modifiers(0))

    play(with_keyboard(check), MODELS)


def test_off_it_goes_back_to_set_2(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        await keyboard.use_set(1)
        await keyboard.disable()
        await keyboard.enable()
        assert await keyboard.scan_set() == 2
        hands.strike(Key.B)
        assert (await keyboard.read(1)).key is Key.B

    play(with_keyboard(check, translate=False), MODELS)


def test_text_as_it_is_typed(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        typist, text = Typist(DE), ""
        for strokes in ("LEFT_SHIFT+Y", "APOSTROPHE", "RIGHT_ALT+E", "SPACE", "EQUAL", "E", "RIGHT_ALT+Q", "ENTER"):
            keys = [Key[name] for name in strokes.split("+")]
            hands.strike(*keys)
            for _ in range(2 * len(keys)):
                text += typist.text(await keyboard.read(1))
        assert text == "Zä€ é@\n"

    play(with_keyboard(check), MODELS)


def test_wrong_settings(play: Play) -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        with pytest.raises(ValueError, match="set 3: expected 1 or 2"):
            await keyboard.use_set(3)
        with pytest.raises(ValueError, match="the controller translates"):
            await keyboard.use_set(1)
        with pytest.raises(ValueError, match="expected some of SCROLL, NUM, CAPS"):
            await keyboard.set_leds(Led(8))
        with pytest.raises(ValueError, match="expected both more than 0"):
            await keyboard.set_typematic(0, 10)

    play(with_keyboard(check), MODELS)


# What follows is for the port bus only: QEMU's keyboard neither repeats nor fails, and is always there.


def on_portbus(check: Callable[[Keyboard, Hands], Awaitable[None]], translate: bool = True) -> None:
    async def main() -> None:
        bus = PortBus()
        bus.models[I8042Model] = I8042Model(bus)
        await with_keyboard(check, translate)(bus)

    run(main)


def test_a_key_that_is_held_repeats_as_it_was_set() -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        io = keyboard.controller.io
        delay, rate = await keyboard.set_typematic(0.5, 20)
        hands.press(Key.A)
        at = []
        for _ in range(4):
            await keyboard.read(1)
            at.append(io.now())
        hands.release(Key.A)
        assert at[1] - at[0] == pytest.approx(delay, abs=0.002)
        assert at[3] - at[2] == pytest.approx(1 / rate, abs=0.002)
        assert not (await keyboard.read(1)).is_pressed
        assert keyboard.poll() is None

    on_portbus(check)


@pytest.mark.parametrize(("translate", "scan_set"), [(True, 2), (False, 2), (False, 1)])
def test_more_keys_than_the_keyboard_can_keep(translate: bool, scan_set: int) -> None:
    # QEMU's keyboard drops them, too, but says nothing.
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        await keyboard.use_set(scan_set)
        hands.press(Key.LEFT_SHIFT)
        for _ in range(20):
            hands.strike(Key.A)
        await keyboard.controller.io.pause(0.1)
        while keyboard.decoder.overruns == 0:
            keyboard.poll()
            await keyboard.controller.io.pause(0.001)
        assert keyboard.decoder.held == set()
        hands.strike(Key.B)
        assert await keyboard.read(1) == KeyEvent(Key.B, True, False, Modifiers(0))

    on_portbus(check, translate)


def test_a_reset_that_fails() -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        assert hands.model is not None
        hands.model.attach(Port.KEYBOARD, fails=True)
        with pytest.raises(DeviceError, match="port KEYBOARD says fc after its reset: expected aa"):
            await keyboard.reset()
        hands.model.unplug(Port.KEYBOARD)
        with pytest.raises(DeviceAbsentError, match="no device on port KEYBOARD"):
            await keyboard.reset()

    on_portbus(check)


def test_a_reset_without_an_end() -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        io: Any = keyboard.controller.io
        io.fault(Fault.ZEROS, 0x64, mask=0x01, skip=100)
        with pytest.raises(DeviceTimeoutError, match="reset of port KEYBOARD"):
            await keyboard.reset()

    on_portbus(check)


def test_an_answer_that_is_no_scan_code_set() -> None:
    async def check(keyboard: Keyboard, hands: Hands) -> None:
        io: Any = keyboard.controller.io
        io.fault(Fault.ONES, DATA, mask=0x04, skip=2, count=1)  # two acknowledgements are fine
        with pytest.raises(DeviceError, match="says 0x45 for its scan code set"):
            await keyboard.scan_set()
        io.repair()
        io.fault(Fault.ONES, DATA, mask=0x02, skip=4, count=1)  # and two more
        with pytest.raises(DeviceError, match="uses scan code set 1, though it was told 2"):
            await keyboard.use_set(2)

    on_portbus(check)


# What follows needs no machine.


def codes(key: Key, is_pressed: bool, scan_set: int) -> list[int]:
    """What a keyboard says, written down anew from the reference."""
    code = (key.set_1 if scan_set == 1 else key.set_2).to_bytes(4, "big").lstrip(b"\0")
    if key is Key.PAUSE:
        return (
            []
            if not is_pressed
            else [0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5]
            if scan_set == 1
            else [0xE1, 0x14, 0x77, 0xE1, 0xF0, 0x14, 0xF0, 0x77]
        )
    if is_pressed:
        return list(code)
    if scan_set == 1:
        return [byte if byte == 0xE0 else byte | 0x80 for byte in code]
    return [byte for each in code for byte in ((each,) if each == 0xE0 else (0xF0, each))]


def test_no_two_keys_have_the_same_code() -> None:
    assert len({key.set_1 for key in Key}) == len({key.set_2 for key in Key}) == len(Key)


@given(st.sampled_from((1, 2)), st.lists(st.sampled_from(sorted(Key, key=lambda key: key.name))), st.binary(max_size=12))
def test_what_was_typed_is_decoded_after_any_garbage(scan_set: int, keys: list[Key], garbage: bytes) -> None:
    decoder = Decoder(scan_set)
    for byte in garbage:
        decoder.feed(byte)
    decoder.forget()
    found: list[KeyEvent] = []
    for key in keys:
        for is_pressed in (True, False):
            for byte in codes(key, is_pressed, scan_set):
                found += decoder.feed(byte)
    assert [(event.key, event.is_pressed) for event in found] == [(key, is_pressed) for key in keys for is_pressed in (True, False)]
    assert decoder.held == set()


@pytest.mark.parametrize(
    ("scan_set", "code", "key"),
    [
        (1, "e0 37", Key.PRINT_SCREEN),  # with Shift or Ctrl
        (1, "54", Key.PRINT_SCREEN),  # with Alt
        (1, "e0 2a e0 47", Key.HOME),  # with Num Lock
        (1, "e0 b6 e0 47", Key.HOME),  # with the right Shift
        (2, "e0 7c", Key.PRINT_SCREEN),
        (2, "84", Key.PRINT_SCREEN),
        (2, "e0 12 e0 6c", Key.HOME),
        (2, "e0 f0 59 e0 6c", Key.HOME),
    ],
)
def test_variants_of_a_key(scan_set: int, code: str, key: Key) -> None:
    decoder = Decoder(scan_set)
    assert [event for byte in bytes.fromhex(code) for event in decoder.feed(byte)] == [KeyEvent(key, True, False, Modifiers(0))]


@pytest.mark.parametrize(("scan_set", "code"), [(1, "e0 46 e0 c6"), (2, "e0 7e e0 f0 7e")])
def test_pause_with_ctrl_is_pause(scan_set: int, code: str) -> None:
    decoder = Decoder(scan_set)
    found = [event for byte in bytes.fromhex(code) for event in decoder.feed(byte)]
    assert [(event.key, event.is_pressed) for event in found] == [(Key.PAUSE, True), (Key.PAUSE, False)]


@pytest.mark.parametrize(("scan_set", "code"), [(1, "7f e0 7f e1 1d 46 d5 e0 99"), (2, "6f e0 08 e1 14 78 f0 6f aa fa")])
def test_codes_of_no_key_are_skipped(scan_set: int, code: str) -> None:
    decoder = Decoder(scan_set)
    assert [event for byte in bytes.fromhex(code) for event in decoder.feed(byte)] == []
    assert decoder.overruns == 0


def test_a_decoder_of_a_set_that_is_none() -> None:
    with pytest.raises(ValueError, match="scan code set 3: expected 1 or 2"):
        Decoder(3)


def typed(layout: Layout, *strokes: str, locks: Modifiers = Modifiers(0)) -> str:  # noqa: B008 - a value
    """What strokes give: `"LEFT_SHIFT+A"`."""
    decoder, typist = Decoder(2), Typist(layout)
    decoder.locks = locks
    text = ""
    for stroke in strokes:
        keys = [Key[name] for name in stroke.split("+")]
        for each, is_pressed in [(key, True) for key in keys] + [(key, False) for key in reversed(keys)]:
            for byte in codes(each, is_pressed, 2):
                text += "".join(typist.text(event) for event in decoder.feed(byte))
    return text


@pytest.mark.parametrize(
    ("layout", "plain", "shifted"),
    [
        (US, "`1234567890-=qwertyuiop[]asdfghjkl;'\\\\zxcvbnm,./", '~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"||ZXCVBNM<>?'),
        (DE, "1234567890ßqwertzuiopü+asdfghjklöä#<yxcvbnm,.-", "°!\"§$%&/()=?QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_"),
    ],
)
def test_all_that_a_layout_has(layout: Layout, plain: str, shifted: str) -> None:
    keys = [name for row in ROWS for name in row.split()]
    dead = {key.name for key, character in layout.plain.items() if character > "\u02ff"}
    assert typed(layout, *(key for key in keys if key not in dead)) == plain
    dead = {key.name for key, character in layout.shifted.items() if character > "\u02ff"}
    assert typed(layout, *(f"LEFT_SHIFT+{key}" for key in keys if key not in dead)) == shifted


@pytest.mark.parametrize(
    ("layout", "strokes", "locks", "text"),
    [
        ("de", "RIGHT_ALT+D2 RIGHT_ALT+D3 RIGHT_ALT+D7 RIGHT_ALT+D8 RIGHT_ALT+D9 RIGHT_ALT+D0 RIGHT_ALT+MINUS", 0, "²³{[]}\\"),
        ("de", "RIGHT_ALT+Q RIGHT_ALT+E RIGHT_ALT+RIGHT_BRACKET RIGHT_ALT+ISO RIGHT_ALT+M RIGHT_ALT+A", 0, "@€~|µ"),
        ("de", "EQUAL E LEFT_SHIFT+EQUAL LEFT_SHIFT+A GRAVE O", 0, "éÀô"),
        ("de", "EQUAL SPACE GRAVE GRAVE EQUAL X GRAVE EQUAL E", 0, "´^´x^é"),
        ("de", "EQUAL LEFT_SHIFT+E", 0, "É"),
        ("de", "A MINUS APOSTROPHE D1 LEFT_SHIFT+A", Modifiers.CAPS, "AßÄ1a"),
        ("us", "RIGHT_ALT+A LEFT_ALT+A LEFT_META+A B", 0, "b"),
        ("us", "LEFT_CTRL+C RIGHT_CTRL+LEFT_BRACKET LEFT_CTRL+D1", 0, "\x03"),
        ("us", "ENTER TAB BACKSPACE ESCAPE KP_ENTER SPACE", 0, "\n\t\b\x1b\n "),
        ("us", "KP_7 KP_PERIOD KP_DIVIDE HOME F1", 0, "/"),
        ("us", "KP_7 KP_PERIOD KP_PLUS LEFT_SHIFT+KP_7", Modifiers.NUM, "7.+"),
        ("de", "KP_0 KP_PERIOD", Modifiers.NUM, "0,"),
    ],
)
def test_text_of_strokes(layout: str, strokes: str, locks: int, text: str) -> None:
    assert typed(LAYOUTS[layout], *strokes.split(), locks=Modifiers(locks)) == text
