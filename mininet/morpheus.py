"""Morpheus for Mininet: a controller and topologies.

    mn --custom mininet/morpheus.py --controller morpheus --topo torus,3,3 --switch ovs,datapath=user

The controller attaches to the morphd that listens on port 6653 (or 6633) of this machine. If none
does, it starts one for the time of the run, in a directory that is removed afterwards. The
executable is `$MORPHD`, the one of this build, or the first in PATH. Further flags for it:
`--controller morpheus,flags="--app learning-switch"`.
"""

import atexit
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from mininet.log import error, info
from mininet.node import RemoteController, Switch
from mininet.topo import Topo

PORTS = (6653, 6633)
START_SECONDS = 20
# `mn --custom` sets no __file__; the code object has the path.
HERE = os.path.dirname(os.path.abspath(sys._getframe().f_code.co_filename))


# ---- topologies: pairs of switches, counted from 1, and one host for each switch ----


def line_links(switches):
    """Links of a line of switches."""
    return [(n, n + 1) for n in range(1, switches)]


def ring_links(switches):
    """Links of a line whose ends are linked."""
    return line_links(switches) + [(switches, 1)]


def diamond_links():
    """Links of four switches in a square: s1 is opposite to s4, s2 to s3."""
    return [(1, 2), (1, 3), (2, 4), (3, 4)]


def torus_links(rows, columns):
    """Links of a grid whose edges are linked: every switch has four neighbours."""
    def at(row, column):
        return row % rows * columns + column % columns + 1

    cells = [(row, column) for row in range(rows) for column in range(columns)]
    return [link for row, column in cells for link in (
        (at(row, column), at(row, column + 1)), (at(row, column), at(row + 1, column)))]


class Shape(Topo):
    """Switches s1, s2, ... with links between them and one host each."""

    def links_of(self):
        """Returns the links for the arguments of --topo."""
        raise NotImplementedError

    # Called by Mininet with the arguments of --topo.
    def build(self, *args, **_):
        links = self.links_of(*args)
        for n in sorted({switch for link in links for switch in link}):
            self.addSwitch(f"s{n}", dpid=f"{n:016x}")
            self.addLink(self.addHost(f"h{n}"), f"s{n}")
        for one, two in links:
            self.addLink(f"s{one}", f"s{two}")


class Line(Shape):
    """line,N"""

    def links_of(self, switches=2):
        return line_links(int(switches))


class Ring(Shape):
    """ring,N"""

    def links_of(self, switches=4):
        if int(switches) < 3:
            raise ValueError("a ring needs at least three switches")
        return ring_links(int(switches))


class Diamond(Shape):
    """diamond"""

    def links_of(self):
        return diamond_links()


class Torus(Shape):
    """torus,ROWS,COLUMNS"""

    def links_of(self, rows=3, columns=3):
        if min(int(rows), int(columns)) < 3:
            raise ValueError("a torus needs at least three rows and three columns")
        return torus_links(int(rows), int(columns))


def fat_tree_links(k):
    """Links of a fat tree of switches with k ports: (k/2)² core switches, then k pods of k/2 aggregation switches and k/2 edge
    switches. Returns the links, and the numbers of the edge switches.

    Al-Fares, Loukissas, Vahdat: A Scalable, Commodity Data Center Network Architecture (SIGCOMM 2008)."""
    half = k // 2
    pods = [(half * half + pod * k + 1, half * half + pod * k + half + 1) for pod in range(k)]
    links = []
    for aggregation, edge in pods:
        for up in range(half):
            links += [(up * half + core + 1, aggregation + up) for core in range(half)]
            links += [(aggregation + up, edge + down) for down in range(half)]
    return links, [edge + down for _, edge in pods for down in range(half)]


class FatTree(Topo):
    """fattree,K: k/2 hosts at each edge switch"""

    # Called by Mininet with the arguments of --topo.
    def build(self, k=4, **_):
        k = int(k)
        if k < 2 or k % 2:
            raise ValueError("a fat tree is of switches with an even number of ports")
        links, edges = fat_tree_links(k)
        for n in sorted({switch for link in links for switch in link}):
            self.addSwitch(f"s{n}", dpid=f"{n:016x}")
        for n, edge in ((n, edge) for n in range(k // 2) for edge in edges):
            self.addLink(self.addHost(f"h{edge}x{n + 1}"), f"s{edge}")
        for one, two in links:
            self.addLink(f"s{one}", f"s{two}")


class PlainSwitch(Switch):
    """A Linux bridge: a switch that no controller sees, and that keeps LLDP to itself."""

    def start(self, _controllers):
        """Makes the bridge."""
        self.cmd(f"ip link add {self.name} type bridge && sysctl -qw net.ipv6.conf.{self.name}.disable_ipv6=1")
        for port in self.intfList():
            if port.name != "lo":
                self.cmd(f"ip link set {port.name} master {self.name} up")
        self.cmd(f"ip link set {self.name} up")

    def stop(self, deleteIntfs=True):
        """Removes the bridge."""
        self.cmd(f"ip link del {self.name}")
        super().stop(deleteIntfs)


class Plain(Ring):
    """plain,N: a ring of N switches, with a Linux bridge between the first two in place of a cable, and a host behind it"""

    def build(self, *args, **_):
        super().build(*args)
        self.addSwitch("b1", cls=PlainSwitch)
        for switch in ("s1", "s2"):
            self.addLink("b1", switch)
        self.addLink(self.addHost("h0"), "b1")

    def links_of(self, switches=4):
        return [link for link in super().links_of(switches) if link != (1, 2)]


# ---- the controller ----


def morphd_executable():
    """Finds the morphd to start; None if there is none."""
    built = os.path.join(os.path.dirname(HERE), "target", "release", "morphd")
    for path in (os.environ.get("MORPHD"), built, shutil.which("morphd")):
        if path and os.path.exists(path):
            return path
    return None


def listens(ip, port):
    """Whether a connection to the address is accepted."""
    try:
        with socket.create_connection((ip, port), timeout=1):
            return True
    except OSError:
        return False


class Morpheus(RemoteController):
    """The morphd of this machine, started if none runs."""

    def __init__(self, name, ip="127.0.0.1", port=None, flags="", **params):
        self.flags = shlex.split(flags)
        self.morphd = None
        self.directory = None
        RemoteController.__init__(self, name, ip=ip, port=port, **params)

    def checkListening(self):
        """Attaches to a morphd, or starts one."""
        if self.find():
            return
        executable = morphd_executable()
        if executable is None:
            error("No morphd listens, and no executable was found to start one: run make, or set MORPHD\n")
            self.port = self.port or PORTS[0]
            return
        self.start_morphd(executable)
        deadline = time.monotonic() + START_SECONDS
        while not self.find():
            if self.morphd.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.directory, "morphd.log"), encoding="utf-8") as log:
                    output = log.read()
                self.stop()
                raise RuntimeError(f"morphd does not listen; its log:\n{output}")
            time.sleep(0.05)

    def find(self):
        """Selects the first port that accepts connections."""
        for port in (self.port,) if self.port else PORTS:
            if self.isListening(self.ip, port):
                self.port = port
                info(f"Connecting to Morpheus at {self.ip}:{port}\n")
                return True
        return False

    def isListening(self, ip, port):
        return listens(ip, port)

    def start_morphd(self, executable):
        """Starts morphd in a directory of its own, with its log."""
        self.directory = tempfile.mkdtemp(prefix="morpheus-mn-")
        atexit.register(self.stop)
        # If Mininet is killed, morphd still ends in order.
        command = ["setpriv", "--pdeathsig", "TERM", executable, *self.flags]
        for flag in ("state", "run"):
            command += [f"--{flag}-dir", os.path.join(self.directory, flag)]
        info("Starting " + " ".join(command) + "\n")
        with open(os.path.join(self.directory, "morphd.log"), "wb") as log:
            self.morphd = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def stop(self, *_, **__):
        """Ends the morphd that this controller started, and everything that it has started."""
        if self.morphd is not None:
            if self.morphd.poll() is None:
                self.morphd.send_signal(signal.SIGTERM)
            try:
                self.morphd.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                error(f"morphd did not end within {START_SECONDS} s and is killed\n")
                self.morphd.kill()
            self.morphd = None
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


topos = {"line": Line, "ring": Ring, "diamond": Diamond, "torus": Torus, "fattree": FatTree, "plain": Plain}
controllers = {"morpheus": Morpheus}
