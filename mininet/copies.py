#!/usr/bin/env python3
"""Sends numbered broadcasts, or counts the copies of each that arrive: one frame, one copy is what a network owes its hosts.

    copies.py send INTERFACE COUNT     a frame each 50 ms
    copies.py count INTERFACE          prints "ready"; at the end of standard input {"number": copies} as JSON
"""

import json
import select
import socket
import struct
import sys
import time

# For local experiments (IEEE 802, section 9.2.3).
ETHER_TYPE = 0x88B5
INTERVAL = 0.05


def send(interface, count):
    """Sends frames with the numbers from 0."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    frames.bind((interface, 0))
    source = frames.getsockname()[4]
    for number in range(count):
        frames.send(b"\xff" * 6 + source + struct.pack("!HI", ETHER_TYPE, number) + bytes(42))
        time.sleep(INTERVAL)


def count(interface):
    """Counts until standard input ends."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHER_TYPE))
    frames.bind((interface, ETHER_TYPE))
    print("ready", flush=True)
    copies = {}
    while True:
        ready, _, _ = select.select([frames, sys.stdin], [], [])
        if frames in ready:
            frame, address = frames.recvfrom(2048)
            if address[2] != socket.PACKET_OUTGOING:
                number = struct.unpack("!I", frame[14:18])[0]
                copies[number] = copies.get(number, 0) + 1
        elif sys.stdin in ready:
            break
    print(json.dumps(copies))


def main():
    """Runs what the arguments say."""
    match sys.argv[1:]:
        case ["send", interface, frames]:
            send(interface, int(frames))
        case ["count", interface]:
            count(interface)
        case _:
            sys.exit(__doc__)


main()
