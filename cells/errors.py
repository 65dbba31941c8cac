"""What goes wrong when a cell is to be made."""


class CellUnavailable(RuntimeError):  # noqa: N818  (a state of the machine, like beamlike's NodeLost)
    """This machine lacks a wall that a cell needs, or refused to put it up, or this node has no room for a further cell. No untrusted line
    has run, and none will.

    The message names every such wall, and what can be done.
    """
