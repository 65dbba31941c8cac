"""The other sides, each a program of its own that runs one case and prints JSON lines."""
