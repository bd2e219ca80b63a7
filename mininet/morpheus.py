"""Morpheus for Mininet: a controller and topologies.

    mn --custom mininet/morpheus.py --controller morpheus --topo torus,3,3 --switch ovs,datapath=user

The controller attaches to the morphd that listens on 6653 (or 6633) of this machine. Where none
does, it starts one of its own for the time of the run, in a directory that goes away with it; the
executable is `$MORPHD`, that of this build, or the first in the path. Further flags for it:
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
from mininet.node import RemoteController
from mininet.topo import Topo

PORTS = (6653, 6633)
START_SECONDS = 20
# `mn --custom` gives no __file__; the code knows where it came from.
HERE = os.path.dirname(os.path.abspath(sys._getframe().f_code.co_filename))


# ---- topologies: pairs of switches, counted from 1, and one host a switch ----


def line_links(switches):
    """One after the other."""
    return [(n, n + 1) for n in range(1, switches)]


def ring_links(switches):
    """A line whose ends are linked."""
    return line_links(switches) + [(switches, 1)]


def diamond_links():
    """Four switches; s1 and s4 are opposite, s2 and s3 too."""
    return [(1, 2), (1, 3), (2, 4), (3, 4)]


def torus_links(rows, columns):
    """A grid whose edges are linked: every switch has four neighbours."""
    def at(row, column):
        return row % rows * columns + column % columns + 1

    cells = [(row, column) for row in range(rows) for column in range(columns)]
    return [link for row, column in cells for link in (
        (at(row, column), at(row, column + 1)), (at(row, column), at(row + 1, column)))]


class Shape(Topo):
    """Switches s1, s2, ... with these links, and a host each."""

    def links_of(self):
        """The links; takes the arguments of --topo."""
        raise NotImplementedError

    # Mininet's hook; its arguments are those of --topo.
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
            raise ValueError("a ring has three switches at least")
        return ring_links(int(switches))


class Diamond(Shape):
    """diamond"""

    def links_of(self):
        return diamond_links()


class Torus(Shape):
    """torus,ROWS,COLUMNS"""

    def links_of(self, rows=3, columns=3):
        if min(int(rows), int(columns)) < 3:
            raise ValueError("a torus has three rows and three columns at least")
        return torus_links(int(rows), int(columns))


# ---- the controller ----


def morphd_executable():
    """The morphd to start."""
    built = os.path.join(os.path.dirname(HERE), "target", "release", "morphd")
    for path in (os.environ.get("MORPHD"), built, shutil.which("morphd")):
        if path and os.path.exists(path):
            return path
    return None


def listens(ip, port):
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((ip, port), timeout=1):
            return True
    except OSError:
        return False


class Morpheus(RemoteController):
    """The morphd of this machine, started where none runs."""

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
            error("No morphd listens, and there is none to start: run make, or set MORPHD\n")
            self.port = self.port or PORTS[0]
            return
        self.start_morphd(executable)
        deadline = time.monotonic() + START_SECONDS
        while not self.find():
            if self.morphd.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.directory, "morphd.log"), encoding="utf-8") as log:
                    said = log.read()
                self.stop()
                raise RuntimeError(f"morphd does not listen:\n{said}")
            time.sleep(0.05)

    def find(self):
        """Takes the first port on which somebody listens."""
        for port in (self.port,) if self.port else PORTS:
            if self.isListening(self.ip, port):
                self.port = port
                info(f"Connecting to Morpheus at {self.ip}:{port}\n")
                return True
        return False

    def isListening(self, ip, port):
        return listens(ip, port)

    def start_morphd(self, executable):
        """In a directory of its own; its log is there too."""
        self.directory = tempfile.mkdtemp(prefix="morpheus-mn-")
        atexit.register(self.stop)
        # Should Mininet be killed, it ends in order.
        command = ["setpriv", "--pdeathsig", "TERM", executable, *self.flags]
        for flag in ("state", "run"):
            command += [f"--{flag}-dir", os.path.join(self.directory, flag)]
        info("Starting " + " ".join(command) + "\n")
        with open(os.path.join(self.directory, "morphd.log"), "wb") as log:
            self.morphd = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def stop(self, *_, **__):
        """Ends the morphd that we have started, and all that it has started."""
        if self.morphd is not None:
            if self.morphd.poll() is None:
                self.morphd.send_signal(signal.SIGTERM)
            try:
                self.morphd.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                error("morphd does not end\n")
                self.morphd.kill()
            self.morphd = None
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


topos = {"line": Line, "ring": Ring, "diamond": Diamond, "torus": Torus}
controllers = {"morpheus": Morpheus}
