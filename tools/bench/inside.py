#!/usr/bin/env python3
"""Measures the router on Open vSwitch. Runs in namespaces of its own, which ovs.py makes; prints one JSON object."""

import argparse
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "mininet"))

from morphctl import Morpheus  # noqa: E402
from network import Network, address, echo_address, own_namespaces, wait_until  # noqa: E402
from traffic import script, start  # noqa: E402

# Intervals between new flows in milliseconds, of which the shortest without a loss is looked for.
INTERVALS = (20, 10, 7, 5, 3.5, 2.5, 1.8, 1.2, 0.9, 0.6)
# Seconds after which a flow counts as lost, and without a new rule after which there is no further one.
LOST, QUIET = 1, 1
DIAMOND = [(1, 2), (1, 3), (2, 4), (3, 4)]


def fat_tree(k=4):
    """Links of a fat tree of switches with k ports each: pods of k/2 edge and k/2 aggregation switches, and (k/2)^2 cores. The edge
    switches come first, then the aggregation switches, then the cores."""
    half = k // 2
    edge = [[1 + pod * half + n for n in range(half)] for pod in range(k)]
    aggregation = [[1 + k * half + pod * half + n for n in range(half)] for pod in range(k)]
    core = [[1 + 2 * k * half + row * half + n for n in range(half)] for row in range(half)]
    links = [(low, high) for pod in range(k) for low in edge[pod] for high in aggregation[pod]]
    return links + [(aggregation[pod][row], top) for pod in range(k) for row in range(half) for top in core[row]]


class Lab:
    """Open vSwitch with Morpheus: topology and the newest router."""

    def __init__(self, directory, bin_dir, links):
        own_namespaces()
        self.network = Network(directory, links)
        self.network.start()
        self.morpheus = Morpheus(directory, bin_dir)
        self.morpheus.start("--app", "topology", "--app", "router")
        self.network.attach()
        switches = len(self.network.switches)
        wait_until("all switches", 30, lambda: len(self.morpheus.ctl("switches")) == switches)
        wait_until("all links", 60, lambda: len(self.morpheus.ctl("topology")) == 2 * len(links))
        self.next = 0

    def idle(self):
        """Whether no event waits."""
        return not sum(app["backlog"] for app in self.morpheus.ctl("apps"))

    def pings(self, one, other):
        """Whether one packet comes back."""
        return start(one, "ping", "-n", "-c", "1", "-W", "1", address(other)).wait() == 0

    def flows(self, interval_ms, seconds):
        """New flows from host 2 to host 3; returns their summary."""
        count = round(seconds * 1000 / interval_ms)
        flows = start(2, *script("newflows.py", "--interface", "eth0", "--target", echo_address(3), "--count", str(count),
                                 "--interval-ms", str(interval_ms), "--first", str(self.next), "--timeout", str(LOST)))
        begun = time.monotonic()
        output = flows.communicate()[0]
        self.next += count
        summary = json.loads(output.splitlines()[-1])
        # The generator does not catch up with what it was too slow for.
        summary["rate"] = summary["sent"] / max(seconds, time.monotonic() - begun - LOST)
        return summary


def pairs(args):
    """The first packets of new pairs at a low rate, and the highest rate without a loss."""
    lab = Lab(args.directory, args.bin_dir, DIAMOND)
    echo = start(3, *script("udpecho.py", "--interface", "eth0", "--address", echo_address(3)))
    if echo.stdout.readline() != "ready\n":
        raise RuntimeError("udpecho.py did not become ready")
    wait_until("the hosts reach each other", 30, lambda: lab.pings(2, 3) and lab.pings(3, 2))
    wait_until("the network is idle", 20, lab.idle)
    first = lab.flows(INTERVALS[0], args.seconds)
    best = first["rate"] if not first["lost"] else 0.0
    for interval in INTERVALS[1:] if best else ():
        wait_until("the network is idle", 20, lab.idle)
        summary = lab.flows(interval, args.seconds)
        if summary["lost"] or summary["rate"] <= best:
            break
        best = summary["rate"]
    lab.morpheus.stop()
    return {"median_ms": first["median_ms"], "p99_ms": first["p99_ms"], "lost": first["lost"], "sent": first["sent"], "rate": best}


def failure(args):
    """Time from the cut of a link of a fat tree until the last rule is sent."""
    links = fat_tree()
    lab = Lab(args.directory, args.bin_dir, links)
    hosts = range(1, 9)  # at the edge
    for one in hosts:
        other = one % 8 + 1
        wait_until(f"host {one} reaches host {other}", 30, lambda one=one, other=other: lab.pings(one, other))
    wait_until("the network is idle", 20, lab.idle)
    before = last = lab.morpheus.app("router")["flow_mods"]
    # A link that paths use: of all links between edge and aggregation, the first one in a stored path.
    path = next(path for path in lab.morpheus.paths("02:00:00:00:00:").values() if "0000000000000001" in path)
    used = path["0000000000000001"]
    cut = next(ends for ends, port in lab.network.ports.items() if ends[0] == 1 and port == used) if used != 1 else links[0]
    begun = changed = time.monotonic()
    lab.network.set_link(*cut, up=False)
    while time.monotonic() < changed + QUIET:
        count = lab.morpheus.app("router")["flow_mods"]
        if count != last:
            last, changed = count, time.monotonic()
    lab.morpheus.stop()
    return {"ms": (changed - begun) * 1000, "rules": last - before, "switches": len(lab.network.switches)}


def main():
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("pairs", "failure"))
    parser.add_argument("--bin-dir", required=True)
    parser.add_argument("--directory", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    os.chmod(args.directory, 0o755)
    print(json.dumps({"pairs": pairs, "failure": failure}[args.what](args)))


if __name__ == "__main__":
    main()
