#!/usr/bin/env python3
"""Answers ARP and UDP echo (port 7) for an address that the kernel does not have.

The kernel's neighbour table holds a thousand entries and is shared by all network namespaces. A
generator of new flows would fill it and distort the test. So this program serves the echo address
from packet sockets, under the interface's own MAC address. It prints "ready" when it serves.
"""

import argparse
import errno
import select
import socket

import frames


def serve(interface, address):
    """Serves the address without end."""
    wanted = socket.inet_aton(address)
    arps = frames.open_socket(interface, frames.ETH_P_ARP)
    echoes = frames.open_socket(interface, frames.ETH_P_IP, frames.ECHO_PORT, udp_source=False)
    mac = arps.getsockname()[4]
    poll = select.poll()
    for packets in (arps, echoes):
        poll.register(packets, select.POLLIN)
    print("ready", flush=True)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if arps.fileno() in ready:
            for frame in frames.received(arps):
                answer_arp(arps, frame, mac, wanted)
        if echoes.fileno() in ready:
            for frame in frames.received(echoes):
                echo(echoes, frame, mac, wanted)


def answer_arp(packets, frame, mac, wanted):
    """Answers an ARP request for the served address."""
    read = frames.read_arp(frame)
    if read and read[0] == frames.ARP_REQUEST and read[3] == wanted:
        _, sender, sender_ip, _ = read
        packets.send(frames.arp(frames.ARP_REPLY, mac, wanted, sender, sender_ip, sender))


def echo(packets, frame, mac, wanted):
    """Sends a datagram for the served address back."""
    read = frames.read_udp(frame)
    if read and read[0] == mac and read[4] == wanted:
        _, sender, sender_ip, port, _, _, payload = read
        packets.send(frames.udp(mac, wanted, frames.ECHO_PORT, sender, sender_ip, port, payload))


def main():
    """Parses the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interface", required=True)
    parser.add_argument("--address", required=True, help="an address that the kernel does not have")
    args = parser.parse_args()
    try:
        serve(args.interface, args.address)
    except KeyboardInterrupt:
        pass
    except OSError as problem:
        # The host's network may be removed before its server ends.
        if problem.errno != errno.ENETDOWN:
            raise


if __name__ == "__main__":
    main()
