#!/usr/bin/env python3
"""A bond without LACP, as Linux makes it in mode balance-rr, for kernels without that module.

    bond.py HOST MEMBER MEMBER     prints "ready"; frames of the host leave by the members in turn, and those of both come to it;
                                   ends with standard input
"""

import itertools
import select
import socket
import sys

ETH_P_ALL = 3


def open_all(interface):
    """Opens a packet socket for all frames that arrive at an interface."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    frames.bind((interface, ETH_P_ALL))
    return frames


def bond(host, *members):
    """Passes frames on until standard input ends."""
    turn = itertools.cycle(members)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([host, *members, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        for interface in ready:
            frame, address = interface.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING:
                (next(turn) if interface is host else host).send(frame)


def main():
    """Runs what the arguments say."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    bond(*map(open_all, sys.argv[1:]))


main()
