#!/usr/bin/env python3
"""Sends one frame from each of many source addresses, as a host does that wants to fill a switch's tables."""

import argparse
import socket
import time

# IEEE Std 802 - Local Experimental Ethertype 1.
ETHERTYPE = bytes.fromhex("88b5")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--to", required=True, metavar="MAC")
    parser.add_argument("--count", type=int, required=True, help="addresses: 02:99 and a number of four bytes, from 0")
    parser.add_argument("--every-ms", type=float, default=1)
    args = parser.parse_args()
    to = bytes.fromhex(args.to.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((args.interface, 0))
        for n in range(args.count):
            source = bytes.fromhex("0299") + n.to_bytes(4, "big")
            out.send(to + source + ETHERTYPE + bytes(46))
            if args.every_ms:
                time.sleep(args.every_ms / 1000)


if __name__ == "__main__":
    main()
