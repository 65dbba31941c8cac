"""The kinds of record that cross a mailbox between two nodes, and what their fields mean.

A record has a kind, `to`, `from` and `ref` (64-bit serials of processes of the receiving node, of the sending node, and of a Ref) and a
payload, a message of `beamlike.pack`. Which node a record came from is known by the mailbox it came through, and never read from the
record.
"""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """Never renumbered: programs in C know them."""

    SEND = 1  # to; the message
    SEND_NAMED = 2  # (name, message)
    CALL = 3  # to, from, ref; the request. The receiving node watches `to` for the caller
    CALL_NAMED = 4  # from, ref; (name, request)
    REPLY = 5  # to, ref; the answer. from 1: whoever was called is no longer watched
    EXIT = 6  # to, from; the reason
    EXIT_LINKED = 7  # to, from; the reason: `from` has ended
    LINK = 8  # to, from; ref: a number that the sender never gave before
    UNLINK = 9  # to, from; ref: the number of the receiver's LINK that the sender had got, 0: none
    MONITOR = 10  # to, from, ref
    MONITOR_NAMED = 11  # from, ref; the name
    DEMONITOR = 12  # ref: also for a call that is over
    DOWN = 13  # to, ref; the reason
    SPAWN = 14  # from, ref; (function, arguments, options, layers, ancestors, who lives above, is linked, is monitored)
    SPAWNED = 15  # to, ref; (is linked, is monitored, ("ok", pid) or ("error", type, text))
    INFO = 16  # to, from, ref: `process_info`, answered by REPLY
    PROBE = 17  # ref: of a call that waits; (pid, Ref of its call, path): see nodes.cycles
    CALL_LIMITED = 18  # to, from, ref; (name or nil, request, layers): CALL, or CALL_NAMED, of a process that has exclusions
    SEND_LIMITED = 20  # to; the message: SEND of a process that has exclusions
    TIGHTEN = 19  # from, ref; (pid, layers, who asks): `tighten` of all that descend from it, answered by REPLY. ref 0: not answered
