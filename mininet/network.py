"""A private Open vSwitch and hosts, in the namespaces of the caller."""

import os
import re
import subprocess
import time

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
CONTROLLER = "tcp:127.0.0.1:6653"


def run(*command, **options):
    """Runs a command, which has to succeed; returns its output."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_until(what, seconds, condition):
    """Checks the condition until it returns something true; returns that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def own_namespaces():
    """Sets up /run/netns and loopback in new mount and network namespaces."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    os.mkdir("/run/netns")
    run("ip", "link", "set", "lo", "up")
    no_ipv6()


def no_ipv6(*enter):
    """Switches IPv6 off, so that the kernel sends no packets of its own."""
    run(*enter, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
        "net.ipv6.conf.default.disable_ipv6=1")


def no_offloads(interface, *enter):
    """Switches offloads off: with them TCP through a user-space switch stalls."""
    run(*enter, "ethtool", "-K", interface, *"tx off tso off gso off gro off".split())


class Network:
    """Switches s1, s2, ... with links between them, and one host each at port 1."""

    def __init__(self, directory, links):
        self.directory = os.path.join(directory, "ovs")
        self.links = links
        self.switches = sorted({switch for link in links for switch in link})
        self.ports = {}  # (switch, neighbour) -> port
        self.daemons = []

    def start(self):
        """Builds the network. The switches have no controller yet."""
        os.mkdir(self.directory)
        names = ("OVS_RUNDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "OVS_LOGDIR")
        environment = dict(os.environ, **{name: self.directory for name in names})
        database = os.path.join(self.directory, "conf.db")
        remote = "unix:" + os.path.join(self.directory, "db.sock")
        run("ovsdb-tool", "create", database, SCHEMA)
        self._daemon(environment, "ovsdb-server", database, f"--remote=p{remote}")
        wait_until("ovsdb-server listens", 10, lambda: os.path.exists(remote[5:]))
        # A user-space switch loses packets when it waits for a processor.
        self._daemon(environment, "nice", "-n", "-10", "ovs-vswitchd", remote)
        self.vsctl("--no-wait", "init")
        words = []
        for switch in self.switches:
            words += f"-- add-br s{switch} -- set bridge s{switch} datapath_type=netdev".split()
            words += f"fail_mode=secure other-config:datapath-id={switch:016x}".split()
            words += ["other-config:disable-in-band=true"]
        used = {switch: 1 for switch in self.switches}
        for switch in self.switches:
            self._host(switch)
            words += self._add_port(switch, 1)
        for one, two in self.links:
            for here, there in ((one, two), (two, one)):
                used[here] += 1
                self.ports[here, there] = used[here]
            ends = [f"s{one}-eth{used[one]}", f"s{two}-eth{used[two]}"]
            run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for end, switch in zip(ends, (one, two)):
                run("ip", "link", "set", end, "up")
                no_offloads(end)
                words += self._add_port(switch, used[switch])
        self.vsctl(*words)

    def _daemon(self, environment, *command):
        flags = "-vconsole:off -vsyslog:off --no-chdir --pidfile --log-file".split()
        self.daemons.append(subprocess.Popen(
            [*command, *flags], env=environment, stdin=subprocess.DEVNULL))

    @staticmethod
    def _add_port(switch, number):
        name = f"s{switch}-eth{number}"
        return f"-- add-port s{switch} {name} -- set interface {name} ofport_request={number}".split()

    @staticmethod
    def _host(n):
        run("ip", "netns", "add", f"h{n}")
        no_ipv6(*enter(n))
        run("ip", "link", "add", f"s{n}-eth1", "type", "veth",
            "peer", "name", "eth0", "address", mac(n), "netns", f"h{n}")
        run("ip", "link", "set", f"s{n}-eth1", "up")
        run("ip", "-n", f"h{n}", "address", "add", f"{address(n)}/8", "dev", "eth0")
        for interface in ("lo", "eth0"):
            run("ip", "-n", f"h{n}", "link", "set", interface, "up")
        no_offloads(f"s{n}-eth1")
        no_offloads("eth0", *enter(n))

    def vsctl(self, *words):
        """Runs ovs-vsctl on this database."""
        socket = os.path.join(self.directory, "db.sock")
        return run("ovs-vsctl", "-t", "30", f"--db=unix:{socket}", *words)

    def attach(self):
        """Sets Morpheus as the controller of every switch."""
        words = []
        for switch in self.switches:
            words += ["--", "set-controller", f"s{switch}", CONTROLLER]
        self.vsctl(*words)

    def set_link(self, one, two, up):
        """Takes a link down or up."""
        state = "up" if up else "down"
        run("ip", "link", "set", f"s{one}-eth{self.ports[one, two]}", state)

    def connects(self):
        """Number of connection attempts to the controller, over all switches."""
        with open(os.path.join(self.directory, "ovs-vswitchd.log"), encoding="utf-8") as log:
            return sum("connecting..." in line for line in log)

    def seconds_connected(self):
        """Seconds since each switch connected. Open vSwitch updates them every five seconds."""
        rows = self.vsctl("--columns=is_connected,status", "--format=csv", "list", "controller")
        return [int(seconds) for seconds in re.findall(r'sec_since_connect=""?(\d+)', rows)]


def mac(n):
    """MAC address of a host."""
    return f"02:00:00:00:00:{n:02x}"


def address(n):
    """IPv4 address of a host."""
    return f"10.0.0.{n}"


def echo_address(n):
    """Address of a host's echo server. The host's kernel does not have it."""
    return f"10.0.1.{n}"


def enter(n):
    """Prefix of a command that runs in a host's network."""
    return ("nsenter", f"--net=/run/netns/h{n}", "--")
