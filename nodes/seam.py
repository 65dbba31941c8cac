"""The face for packages whose programs join the mailboxes without being nodes (cells, unikernels), and for other ways to a shell (boot).

Programs need none of it.
"""

from nodes.arrivals import ARRIVALS
from nodes.control import Channel, ChannelClosed, LostDescriptorsError, PacketError, close_all, socket_pair
from nodes.here import allowed_cores, given, joined_or_none, leads_group
from nodes.hot.ends import Inlet, Outlet, may_hold_pid
from nodes.hot.peer import MOST_BACKLOG, Peer
from nodes.intake import Intake
from nodes.kinds import Kind
from nodes.member import named, send_all
from nodes.rings import BrokenRingError, PairEnd, Written, attach, create
from nodes.router import Router
from nodes.running import MOST_CORES
from nodes.shell import Shell
from nodes.topology import topology

__all__ = [
    "ARRIVALS",
    "MOST_BACKLOG",
    "MOST_CORES",
    "BrokenRingError",
    "Channel",
    "ChannelClosed",
    "Inlet",
    "Intake",
    "Kind",
    "LostDescriptorsError",
    "Outlet",
    "PacketError",
    "PairEnd",
    "Peer",
    "Router",
    "Shell",
    "Written",
    "allowed_cores",
    "attach",
    "close_all",
    "create",
    "given",
    "joined_or_none",
    "leads_group",
    "may_hold_pid",
    "named",
    "send_all",
    "socket_pair",
    "topology",
]
