#!/usr/bin/env python3
"""Passes frames on between two interfaces, and no probes: a loop that Morpheus cannot find by its probes.

    relay.py ONE TWO     prints "ready", and for each line of standard input the number of frames that were passed on
"""

import select
import socket
import sys

ETH_P_ALL = 3
# LLDP, and Morpheus's probes of segments.
PROBES = (b"\x88\xcc", b"\x89\x42")


def open_all(interface):
    """Opens a packet socket for all frames that arrive at an interface."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    frames.bind((interface, ETH_P_ALL))
    return frames


def relay(one, two):
    """Passes frames on until standard input ends."""
    other = {one: two, two: one}
    passed = 0
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([*other, sys.stdin], [], [])
        if sys.stdin in ready:
            if not sys.stdin.readline():
                return
            print(passed, flush=True)
        for interface in filter(other.get, ready):
            frame, address = interface.recvfrom(65536)
            if address[2] != socket.PACKET_OUTGOING and frame[12:14] not in PROBES:
                other[interface].send(frame)
                passed += 1


def main():
    """Runs what the arguments say."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    relay(*map(open_all, sys.argv[1:]))


main()
