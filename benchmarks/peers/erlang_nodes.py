"""Starts the Erlang side of the cases between nodes, with a port mapper (epmd) of its own, which ends with it.

    python -m benchmarks.peers.erlang_nodes FOLDER FLAGS CASE SIZE RUNS SECONDS

FOLDER has the compiled modules; FLAGS are for both emulators.
"""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress

PATIENCE = 10.0  # seconds for the port mapper to listen
PERIOD = 0.01


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until somebody listens there; nothing tells when."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with suppress(ConnectionRefusedError), closing(socket.create_connection(("127.0.0.1", port))):
            return
        time.sleep(PERIOD)
    sys.exit(f"epmd does not listen on port {port} after {PATIENCE} s")


def main(folder: str, flags: str, *arguments: str) -> int:
    if arguments == ("about",):
        command = ["erl", *flags.split(), "-noshell", "-pa", folder, "-run", "erlang_processes", "main", "about"]
        return subprocess.run(command).returncode
    port = free_port()
    environment = {**os.environ, "ERL_EPMD_PORT": str(port), "PEER_FLAGS": flags}
    mapper = subprocess.Popen(["epmd", "-port", str(port), "-address", "127.0.0.1"], env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        name = f"a{os.getpid()}@localhost"
        command = ["erl", *flags.split(), "-noshell", "-sname", name, "-pa", folder, "-run", "erlang_nodes", "main", *arguments]
        return subprocess.run(command, env=environment).returncode
    finally:
        mapper.terminate()
        mapper.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
