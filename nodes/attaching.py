"""The other end of a connection to a running system: for programs that are no part of it, such as the command line. It blocks."""

from __future__ import annotations

from typing import Any

from beamlike.seam import check_access
from nodes import frames, runtime_dir

PATIENCE = 10.0  # seconds for an answer, beyond what the request itself takes


class AttachError(RuntimeError):
    """There is no such system, it may not be looked into, or it refused what it was asked for."""


class ConnectionLost(RuntimeError):  # noqa: N818 - named as `NodeLost` is
    """The node that answered has died. Another may answer to another connection."""


def list_systems() -> list[int]:
    """The owners' pids of the systems of nodes that run here for this user, sorted. Raises: AttachError."""
    try:
        return runtime_dir.list_systems()
    except OSError as error:
        raise AttachError(str(error)) from error


class Connection:
    """A connection to the system with this owner, which may do everything there.

    Raises: AttachError if none runs; CapabilityError if an exclusion refuses the caller `("system", "attach")`."""

    def __init__(self, system: int) -> None:
        check_access("system", "attach")
        try:
            runtime_dir.check()
            self._socket = runtime_dir.connect(system)
        except (PermissionError, TimeoutError) as error:
            raise AttachError(str(error)) from error
        except OSError as error:
            raise AttachError(f"no system with owner {system} runs here") from error
        self._socket.settimeout(PATIENCE)

    def ask(self, *request: Any, within: float | None = 0.0) -> Any:
        """The answer to a request (see `nodes.frames`).

        Args:
            within: seconds that it takes by itself; None: as long as it takes.

        Raises: AttachError with what the system says; TimeoutError; ConnectionLost.
        """
        self._socket.settimeout(None if within is None else PATIENCE + within)
        self.send(*request)
        match self.receive():
            case ("ok", value):
                return value
            case ("error", str(text)):
                raise AttachError(text)
            case other:
                raise AttachError(f"this is no answer of a system's: {other!r:.100}")

    def send(self, *request: Any) -> None:
        """Send a request. Raises: ConnectionLost."""
        try:
            self._socket.sendall(frames.packed(request))
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def receive(self) -> Any:
        """The next frame. Raises: ConnectionLost; TimeoutError; AttachError for what is no frame."""
        try:
            return frames.unpacked(self._take(frames.length(self._take(frames.HEADER.size))))
        except frames.FrameError as error:
            raise AttachError(str(error)) from error

    def wait_for_ever(self) -> None:
        """`receive` waits from now on for as long as it takes."""
        self._socket.settimeout(None)

    def close(self) -> None:
        """Closing twice does nothing."""
        self._socket.close()

    def _take(self, count: int) -> bytes:
        taken = bytearray()
        while len(taken) < count:
            try:
                part = self._socket.recv(min(count - len(taken), 1 << 16))
            except TimeoutError:
                raise
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            if not part:
                raise ConnectionLost("it was closed")
            taken += part
        return bytes(taken)
