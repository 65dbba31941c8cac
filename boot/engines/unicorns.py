"""Whether Unicorn is there. It is an extra, imported only where a core runs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from boot.errors import EngineUnavailableError


def unicorn_folder() -> str:
    """Where Unicorn is installed. Raises: EngineUnavailableError: nowhere."""
    spec = find_spec("unicorn")
    if spec is None or spec.origin is None:
        raise EngineUnavailableError("Unicorn is not installed: pip install 'beamlike[boot]'")
    return str(Path(spec.origin).parents[1])
