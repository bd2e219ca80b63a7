#!/usr/bin/env python3
"""Generates new flows, each from a source MAC and IPv4 address never seen before.

Every flow sends one ARP request for the target, and after the reply one UDP datagram to its echo
port. Nothing is sent twice, so a packet that the network loses is a lost flow. Established pings prove
little about a controller: installed rules forward them without it. A new flow has to be learned and
answered. A line before the first flow says that the generator is ready. At the end (--count, --seconds,
SIGTERM or SIGINT) no more flows start, those in flight finish or time out, and one line of JSON has
the summary.
"""

import argparse
import collections
import json
import select
import signal
import socket
import struct
import time

import frames

FIRST_ADDRESS = 0x0A800000  # 10.128.0.0
SOURCE_PORT = 4000


def mac_of(number):
    """Source MAC address of a flow, locally administered."""
    return b"\x06\x4d" + struct.pack("!I", number)


def address_of(number):
    """Source IPv4 address of a flow."""
    return struct.pack("!I", FIRST_ADDRESS + number)


class Flow:
    """A flow in flight."""

    __slots__ = ("number", "began", "asked_udp")

    def __init__(self, number, began):
        self.number = number
        self.began = began
        self.asked_udp = False


class Generator:
    """Starts flows and records their outcome."""

    def __init__(self, args):
        self.target = socket.inet_aton(args.target)
        self.timeout = args.timeout
        self.first = self.next = args.first
        self.arps = frames.open_socket(args.interface, frames.ETH_P_ARP)
        self.udps = frames.open_socket(args.interface, frames.ETH_P_IP, frames.ECHO_PORT)
        self.waiting = collections.OrderedDict()  # source address -> Flow, oldest first
        self.delays = []
        self.lost = []
        self.lost_at_arp = 0
        self.duplicates = 0
        self.last_end = None
        self.longest_gap = 0.0

    def begin(self, now):
        """Starts the next flow with its ARP request."""
        number = self.next
        self.next += 1
        source = address_of(number)
        self.waiting[source] = Flow(number, now)
        mac = mac_of(number)
        self.arps.send(frames.arp(
            frames.ARP_REQUEST, mac, source, bytes(6), self.target, frames.BROADCAST))

    def take_arps(self):
        """Handles ARP: replies to the flows' requests, and requests for their addresses."""
        for frame in frames.received(self.arps):
            read = frames.read_arp(frame)
            if not read:
                continue
            operation, sender, sender_ip, wanted = read
            if operation == frames.ARP_REPLY and sender_ip == self.target:
                self.send_udp(frame[0:6], wanted, sender)
            elif operation == frames.ARP_REQUEST:
                self.answer_arp(sender, sender_ip, wanted)

    def send_udp(self, to, source, target_mac):
        """Sends the datagram of a flow whose ARP request is answered."""
        flow = self.waiting.get(source)
        if flow is None or flow.asked_udp or to != mac_of(flow.number):
            return
        flow.asked_udp = True
        payload = struct.pack("!I", flow.number)
        self.udps.send(frames.udp(
            to, source, SOURCE_PORT, target_mac, self.target, frames.ECHO_PORT, payload))

    def answer_arp(self, sender, sender_ip, wanted):
        """Answers a request for the address of a flow."""
        number = struct.unpack("!I", wanted)[0] - FIRST_ADDRESS
        if self.first <= number < self.next and sender != mac_of(number):
            self.arps.send(frames.arp(
                frames.ARP_REPLY, mac_of(number), wanted, sender, sender_ip, sender))

    def take_udps(self, now):
        """Handles echoes, which complete their flows."""
        for frame in frames.received(self.udps):
            read = frames.read_udp(frame)
            if not read or read[2] != self.target:
                continue
            flow = self.waiting.pop(read[4], None)
            if flow is None:
                self.duplicates += 1
                continue
            self.delays.append(now - flow.began)
            if self.last_end is not None:
                self.longest_gap = max(self.longest_gap, now - self.last_end)
            self.last_end = now

    def expire(self, now):
        """Counts flows as lost that have waited for the timeout."""
        while self.waiting:
            flow = next(iter(self.waiting.values()))
            if now - flow.began < self.timeout:
                return
            del self.waiting[address_of(flow.number)]
            self.lost.append(flow.number)
            if not flow.asked_udp:
                self.lost_at_arp += 1

    def summary(self):
        """Outcome of all flows so far."""
        delays = sorted(self.delays) or [0.0]
        return {
            "sent": self.next - self.first,
            "ok": len(self.delays),
            "lost": len(self.lost),
            "lost_at_arp": self.lost_at_arp,
            "lost_numbers": self.lost[:100],
            "waiting": len(self.waiting),
            "duplicates": self.duplicates,
            "median_ms": round(delays[len(delays) // 2] * 1000, 3),
            "p99_ms": round(delays[len(delays) * 99 // 100] * 1000, 3),
            "longest_ms": round(delays[-1] * 1000, 3),
            "longest_gap_ms": round(self.longest_gap * 1000, 3),
            "next": self.next,
        }


def run(args):
    """Starts flows at the given rate until told to stop."""
    generator = Generator(args)
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(True))
    print(json.dumps({"ready": True}), flush=True)
    poll = select.poll()
    poll.register(generator.arps, select.POLLIN)
    poll.register(generator.udps, select.POLLIN)
    interval = args.interval_ms / 1000
    start = now = time.monotonic()
    end = start + args.seconds if args.seconds else float("inf")
    next_flow = start
    next_report = start + args.report if args.report else float("inf")
    while True:
        if stopped or now >= end or generator.next - generator.first == args.count:
            next_flow = float("inf")
            if not generator.waiting:
                break
        if now >= next_flow:
            generator.begin(now)
            # A generator that was delayed does not catch up in a burst.
            next_flow = max(next_flow + interval, now)
        wake = min(next_flow, next_report, now + 0.02)
        for descriptor, _ in poll.poll(max(0.0, wake - now) * 1000):
            if descriptor == generator.arps.fileno():
                generator.take_arps()
            else:
                generator.take_udps(time.monotonic())
        now = time.monotonic()
        generator.expire(now)
        if now >= next_report:
            next_report += args.report
            print(json.dumps(generator.summary()), flush=True)
    print(json.dumps(generator.summary()), flush=True)


def main():
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interface", required=True)
    parser.add_argument("--target", required=True, help="address of an echo server (udpecho.py)")
    parser.add_argument("--interval-ms", type=float, default=20.0)
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds until a flow is lost")
    parser.add_argument("--first", type=int, default=0, help="number of the first flow")
    parser.add_argument("--count", type=int, default=None, help="number of flows")
    parser.add_argument("--seconds", type=float, default=None, help="duration")
    parser.add_argument("--report", type=float, default=None, help="seconds between reports in JSON")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
