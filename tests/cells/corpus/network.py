"""Reaching for the network."""

from __future__ import annotations

import socket

from walled import Prey, attack


@attack("EPERM")
def connect_to_the_machine(prey: Prey) -> object:
    with socket.socket() as client:
        client.connect(("127.0.0.1", prey.port))
        return True


@attack("EPERM")
def send_a_datagram(prey: Prey) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"!", ("127.0.0.1", prey.port))


@attack("EPERM")
def listen_to_the_network(prey: Prey) -> object:
    return socket.create_server(("127.0.0.1", 0))


@attack("EPERM")
def connect_to_an_abstract_socket(prey: Prey) -> object:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(prey.abstract)
        return True


@attack("EPERM")
def make_a_pair_of_sockets(prey: Prey) -> object:
    return socket.socketpair()


@attack("EPERM")
def address_a_datagram_with_an_inherited_socket(prey: Prey) -> object:
    """sendto is allowed, but not with an address: here that of nobody, which the kernel has to look up."""
    try:
        return prey.sockets[0].sendto(b"!", b"\0nobody")
    except OSError as error:
        if error.errno == 106:  # EISCONN: the address was looked at
            return True
        raise


@attack("EPERM")
def ask_the_kernel_by_netlink(prey: Prey) -> object:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.bind((0, 0))
        return netlink.getsockname()[0]


@attack("EPERM", needs="root")
def listen_to_all_packets(prey: Prey) -> object:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


@attack("EPERM")
def tell_the_interfaces(prey: Prey) -> object:
    return socket.if_nameindex()


@attack("EPERM")
def tell_the_name_of_the_machine(prey: Prey) -> object:
    return socket.gethostname()
