"""For tests of programs that are made of processes.

    recorder        Recorder: a process that records all it receives
    assistant       assistant: a process that misbehaves as it is told
    schedules       seeds: one test under many schedules; settle: wait until nothing can move
    fixtures        a pytest plugin, with pytest-trio: `pytest_plugins = ["beamlike.testing.fixtures"]` in conftest.py

Only the fixtures and `seeds` need pytest.
"""

from beamlike.testing.assistant import assistant
from beamlike.testing.recorder import Recorder
from beamlike.testing.schedules import seeds, settle

__all__ = ["Recorder", "assistant", "seeds", "settle"]
