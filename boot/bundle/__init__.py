"""What an image brings up: a bundle, made of a plan.

Inside:

    plan        what a system is to be
    reading     a PLAN.toml becomes one; fields: how its tables are read; modules: the Python files that are packed, and what they define
    archive     the bundle: a zip archive with the plan in it
    sealed      memory that nobody can change any more
    mounted     the bundle in a node: its own copy, and what is in it
    system      what runs in the nodes: main, the trees of the nodes, `halt`

Programs that are booted import `halt` from here.
"""

from boot.bundle.system import halt

__all__ = ["halt"]
