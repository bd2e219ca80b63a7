#!/usr/bin/env python3
"""Relays connections to a controller, each with a delay of its own towards the switch, as switches differ in how fast they are.

    delays.py CONTROLLER_PORT FIRST_PORT DELAY_MS...     listens on FIRST_PORT for the first delay, and so on; prints "ready"
"""

import queue
import socket
import sys
import threading
import time


def copy(source, sink, delay):
    """Copies what comes, each piece after the delay, until the connection ends."""
    pieces = queue.SimpleQueue()

    def forward():
        while True:
            due, piece = pieces.get()
            time.sleep(max(due - time.monotonic(), 0))
            if not piece:
                break
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)

    threading.Thread(target=forward, daemon=True).start()
    while True:
        piece = source.recv(65536)
        pieces.put((time.monotonic() + delay, piece))
        if not piece:
            break


def listen(port, controller, delay):
    """Relays all connections to a port."""
    server = socket.create_server(("127.0.0.1", port))

    def accept():
        while True:
            switch, _ = server.accept()
            upstream = socket.create_connection(("127.0.0.1", controller))
            for end in (switch, upstream):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for arguments in ((upstream, switch, delay), (switch, upstream, 0)):
                threading.Thread(target=copy, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def main():
    """Relays until standard input ends."""
    controller, first, *delays = map(int, sys.argv[1:])
    for at, delay in enumerate(delays):
        listen(first + at, controller, delay / 1000)
    print("ready", flush=True)
    sys.stdin.read()


main()
