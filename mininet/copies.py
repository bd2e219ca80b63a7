#!/usr/bin/env python3
"""Sends numbered frames, or counts the copies of each that arrive: one frame, one copy is what a network owes its hosts.

    copies.py send INTERFACE COUNT FIRST     broadcasts with the numbers from FIRST, one each 50 ms
    copies.py stream INTERFACE TO      a frame each millisecond to this address, until standard input ends; prints their number
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


def opened(interface):
    """Returns a socket to send by, and the beginning of broadcast frames."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    frames.bind((interface, 0))
    return frames, b"\xff" * 6 + frames.getsockname()[4]


def frame(head, number):
    """Makes the frame with this number."""
    return head + struct.pack("!HI", ETHER_TYPE, number) + bytes(42)


def send(interface, count, first):
    """Sends frames with the numbers from the first one."""
    frames, head = opened(interface)
    for number in range(first, first + count):
        frames.send(frame(head, number))
        time.sleep(INTERVAL)


def stream(interface, to):
    """Sends frames with the numbers from 0, each at its millisecond, until standard input ends."""
    frames, head = opened(interface)
    head = bytes.fromhex(to.replace(":", "")) + head[6:]
    begin, number = time.monotonic(), 0
    while True:
        frames.send(frame(head, number))
        number += 1
        wait = begin + number / 1000 - time.monotonic()
        if select.select([sys.stdin], [], [], max(wait, 0))[0]:
            break
    print(number)


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
        case ["send", interface, frames, first]:
            send(interface, int(frames), int(first))
        case ["stream", interface, to]:
            stream(interface, to)
        case ["count", interface]:
            count(interface)
        case _:
            sys.exit(__doc__)


main()
