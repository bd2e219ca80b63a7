"""Traffic of one phase: pings, new flows and one TCP stream."""

import json
import os
import re
import subprocess
import sys

from network import address, echo_address, enter

HERE = os.path.dirname(os.path.abspath(__file__))
PING_MS = 10
FLOW_MS = 20
TCP_RATE = "20M"


def start(host, *command, **options):
    """Starts a command on a host."""
    return subprocess.Popen(
        [*enter(host), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, **options)


def script(name, *arguments):
    """Command that runs a script of this directory."""
    return (sys.executable, "-B", os.path.join(HERE, name), *arguments)


class Servers:
    """Servers on the hosts for new flows and TCP."""

    def __init__(self, echo_on, tcp_on):
        self.echo = start(echo_on, *script(
            "udpecho.py", "--interface", "eth0", "--address", echo_address(echo_on)))
        if self.echo.stdout.readline() != "ready\n":
            raise RuntimeError("udpecho.py did not become ready")
        self.tcp = start(tcp_on, "iperf3", "-s", "--forceflush")
        while "listening" not in (line := self.tcp.stdout.readline()):
            if not line:
                raise RuntimeError("iperf3 does not listen")


class Traffic:
    """Pings on two diagonals, new flows and a TCP stream for a number of seconds."""

    first_flow = 0

    def __init__(self, seconds, diagonals, flows, tcp):
        pings = str(round(seconds * 1000 / PING_MS))
        count = round(seconds * 1000 / FLOW_MS)
        self.pings = [
            start(a, "ping", "-D", "-n", "-i", str(PING_MS / 1000), "-W", "1", "-c", pings, address(b))
            for a, b in diagonals]
        self.flows = start(flows[0], *script(
            "newflows.py", "--interface", "eth0", "--target", echo_address(flows[1]),
            "--interval-ms", str(FLOW_MS), "--count", str(count),
            "--first", str(Traffic.first_flow)))
        Traffic.first_flow += count
        self.tcp = start(tcp[0], "iperf3", "-J", "-b", TCP_RATE, "-t", str(seconds),
                         "-c", address(tcp[1]))

    def runs(self):
        """Whether pings and new flows are still running."""
        return all(p.poll() is None for p in [*self.pings, self.flows])

    def finish(self):
        """Waits for the end; returns what was sent and lost."""
        summary = {"pings": 0, "pings_lost": 0, "gap_ms": 0.0, "lost_at": []}
        for process in self.pings:
            sent, lost, gap = read_ping(process.communicate()[0])
            summary["pings"] += sent
            summary["pings_lost"] += len(lost)
            summary["lost_at"] += lost
            summary["gap_ms"] = max(summary["gap_ms"], gap)
        output = self.flows.communicate()[0]
        try:
            flows = json.loads(output.strip().splitlines()[-1])
        except (IndexError, ValueError):
            raise RuntimeError(f"newflows.py failed: {output}") from None
        summary["flows"] = flows["sent"]
        summary["flows_lost"] = flows["lost"]
        summary["flow_ms"] = flows["longest_ms"]
        summary["mbps"] = read_iperf(self.tcp.communicate()[0])
        return summary


def read_ping(text):
    """Reads `ping -D`: (sent, time of the last answer before each lost request, longest gap in ms)."""
    answers = re.findall(r"^\[([\d.]+)\] \d+ bytes from .*?icmp_seq=(\d+)", text, re.MULTILINE)
    sent = re.search(r"(\d+) packets transmitted", text)
    if not sent:
        raise RuntimeError(f"ping failed: {text}")
    times = {int(seq): float(time) for time, seq in reversed(answers)}
    lost = []
    last = None
    for seq in range(1, int(sent[1]) + 1):
        last = times.get(seq, last)
        if seq not in times:
            lost.append(last)
    received = sorted(times.values())
    gap = max((b - a for a, b in zip(received, received[1:])), default=0.0)
    return int(sent[1]), lost, gap * 1000


def read_iperf(text):
    """Reads the rate at the receiver in Mbit/s."""
    try:
        return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e6
    except (ValueError, KeyError):
        raise RuntimeError(f"iperf3 failed: {text}") from None
