"""What `PLAN.toml` has: a counter on each node, and a step that asks both."""

from beamlike import GenServer, call, self_pid
from nodes import list_nodes


class Counter(GenServer):
    """Counts how often it is asked."""

    async def init(self, begin: int) -> None:
        self.count = begin

    async def handle_call(self, request: str, caller: object) -> tuple[str, int, str]:
        """The node, the count, and where this code is."""
        self.count += 1
        return self_pid().node, self.count, __file__


async def greet() -> None:
    """A step: it is done when both counters have answered."""
    for node in list_nodes():
        name, count, file = await call(("counter", node), "count")
        print(f"the counter on {name} says {count}; its code is in {file}", flush=True)
