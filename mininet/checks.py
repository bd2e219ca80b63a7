"""Checks for Mininet: `--custom mininet/morpheus.py,mininet/checks.py --test links`.

    broadcasts     all hosts reach each other, and each gets one copy of each broadcast
    links          the same with each link between switches down in its turn, and up again

A check prints what it finds, and ends with `Checks: passed` or `Checks: FAILED`.
"""

import json
import os
import subprocess
import sys
import time

from mininet.log import info, output
from mininet.node import OVSSwitch

# `mn --custom` sets no __file__; the code object has the path.
HERE = os.path.dirname(os.path.abspath(sys._getframe().f_code.co_filename))
COPIES = os.path.join(HERE, "copies.py")
PYTHON = "/usr/bin/python3"
BROADCASTS = 5
# Time that the network may take to find links and hosts, or a way around a link that failed.
SECONDS = 30
# A copy that still goes round does so within the time of a few frames.
SETTLE = 0.5


def reach_each_other(net):
    """Pings from each host to each other one, until all are answered."""
    deadline = time.monotonic() + SECONDS
    while True:
        # Sent at once from all hosts: one after the other takes a second for each that is lost.
        pings = [(one, two, one.popen(["ping", "-c1", "-W1", two.IP()], stdout=subprocess.DEVNULL))
                 for one in net.hosts for two in net.hosts if one is not two]
        lost = [f"{one} -> {two}" for one, two, ping in pings if ping.wait() != 0]
        if not lost:
            output(f"Pings: ({len(pings)}/{len(pings)} received)\n")
            return True
        if time.monotonic() > deadline:
            output(f"Pings: lost {' '.join(lost)}\n")
            return False


def one_copy_each(net):
    """Has all hosts send broadcasts at once, and counts the copies of each at each other host."""
    counters = [host.popen([PYTHON, COPIES, "count", f"{host}-eth0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                for host in net.hosts]
    for counter in counters:
        counter.stdout.readline()
    numbers = {host: range(at * BROADCASTS, (at + 1) * BROADCASTS) for at, host in enumerate(net.hosts)}
    senders = [host.popen([PYTHON, COPIES, "send", f"{host}-eth0", str(BROADCASTS), str(numbers[host].start)])
               for host in net.hosts]
    for sender in senders:
        sender.wait()
    time.sleep(SETTLE)
    wrong = []
    for host, counter in zip(net.hosts, counters):
        copies = json.loads(counter.communicate()[0])
        for sender in net.hosts:
            expected = 0 if sender is host else 1
            of_sender = [copies.get(str(number), 0) for number in numbers[sender]]
            if of_sender != [expected] * BROADCASTS:
                wrong.append(f"{sender} -> {host}: {of_sender}")
    output(f"Broadcasts: {'one copy each' if not wrong else '; '.join(wrong)}\n")
    return not wrong


def broadcasts(net):
    """Runs the check `broadcasts`."""
    return report(reach_each_other(net) and one_copy_each(net))


def links(net):
    """Runs the check `links`."""
    between = [link for link in net.links
               if all(isinstance(end.node, OVSSwitch) for end in (link.intf1, link.intf2))]
    passed = broadcasts(net)
    for link in between:
        one, two = link.intf1.node.name, link.intf2.node.name
        for state in ("down", "up"):
            info(f"*** Link {one} - {two} {state}\n")
            for end in (link.intf1, link.intf2):
                end.node.cmd(f"ip link set {end.name} {state}")
            # A tree is cut in two by any link.
            if state == "up" or not is_tree(net):
                passed = reach_each_other(net) and passed
    return report(passed and one_copy_each(net))


def is_tree(net):
    """Whether each link is the only way between its switches."""
    between = [link for link in net.links if all(end.node in net.switches for end in (link.intf1, link.intf2))]
    return len(between) < len(net.switches)


def report(passed):
    """Prints how the checks ended."""
    output(f"Checks: {'passed' if passed else 'FAILED'}\n")
    return passed


tests = {"broadcasts": broadcasts, "links": links}
