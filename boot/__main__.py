"""`python -m boot` is the command `beamlike`."""

from boot.cli import main

main(prog_name="python -m boot")
