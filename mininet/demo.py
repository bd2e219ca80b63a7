#!/usr/bin/env python3
"""Upgrades a router under live traffic, and shows that nothing is lost.

A diamond of four switches and four hosts, in namespaces that vanish with this program:

    h1 - s1 --- s2 - h2      pings every 10 ms on both diagonals, a new flow every 20 ms,
          |      |           and one TCP stream
    h3 - s3 --- s4 - h4

Phases: control; upgrade router to 2.0.0; roll back; upgrade and commit; cut a link; restore it. The
exit code is 0 if the control lost nothing (it is repeated at most twice), upgrades, rollback and
restore lost nothing either, the gap after the cut stayed under a second, no switch was disconnected,
and the router's stored paths after the upgrades equal those of the control. All figures are measured
in this run.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PREFIX = "morpheus-demo-"
CONTROL_SECONDS = 5
PHASE_SECONDS = 4
# Seconds of traffic before the action of a phase.
LEAD_SECONDS = 1
MAX_GAP_MS = 1000
# Prefixes of MAC addresses.
HOSTS = "02:00:00:00:00:"
FIRST_FLOWS = "06:4d:00:00:00:"
LAG_SECONDS = 6  # Open vSwitch writes sec_since_connect every five seconds


# ---- outside: namespaces and a directory, removed in whatever way the demo ends ----


def outside(bin_dir, store):
    """Runs the demo in namespaces of its own and clears up afterwards."""
    remove_stale()
    directory = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork",
               "--kill-child=KILL", "--mount-proc", sys.executable, "-B", os.path.abspath(__file__),
               "--bin-dir", bin_dir, "--store", store, "--inside", directory]
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupted)
        # Some versions of unshare write to standard error when everything is over.
        complaints = os.path.join(directory, "unshare.log")
        with open(complaints, "w+", encoding="utf-8") as log:
            unshare = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True)
            try:
                code = unshare.wait()
            except SystemExit:
                end(unshare)
                raise
            if code not in (0, 1):
                log.seek(0)
                print(f"FAILED: {log.read()}")
            return code
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        shutil.rmtree(directory, ignore_errors=True)


def interrupted(number, _):
    """Handles a signal that ends the program."""
    sys.exit(128 + number)


def end(unshare):
    """Kills process 1 of the namespace and so all others; waits until they have ended."""
    try:
        with open(f"/proc/{unshare.pid}/task/{unshare.pid}/children", encoding="ascii") as children:
            first = children.read().split()
        for process in first or [unshare.pid]:
            os.kill(int(process), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        pass
    unshare.wait()


def remove_stale():
    """Removes the directories of demos that were killed before they could clear up."""
    for name in os.listdir(tempfile.gettempdir()):
        pid = name.removeprefix(PREFIX).split("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(os.path.join(tempfile.gettempdir(), name), ignore_errors=True)


# ---- inside ----


class Demo:
    """The network, Morpheus, and the figures measured so far."""

    def __init__(self, directory, bin_dir, store):
        from etcd import Etcd
        from morpheus import diamond_links
        from morphctl import Morpheus
        from network import Network
        self.etcd = Etcd(directory) if store == "etcd" else None
        self.network = Network(directory, diamond_links())
        self.morpheus = Morpheus(directory, bin_dir)
        self.rows = []
        self.failures = []
        self.cut_link = None

    def run(self):
        """Runs all phases; returns whether the demo succeeded."""
        self.start()
        paths = self.control()
        self.phase("upgrade", self.upgrade)
        self.phase("rollback", self.roll_back)
        self.phase("upgrade, commit", self.upgrade_and_commit)
        after = self.paths()
        changed = [mac for mac, path in paths.items() if after.get(mac) != path]
        if changed:
            self.failures.append(f"{len(changed)} of {len(paths)} stored paths changed: {changed}")
        self.phase("cut", self.cut)
        self.phase("restore", self.restore)
        self.check_channels()
        self.morpheus.stop()
        if self.etcd:
            self.etcd.stop()
        print_table(self.rows)
        self.report(paths)
        return not self.failures

    def start(self):
        """Starts switches, hosts and Morpheus; waits until every host reaches every other."""
        from network import own_namespaces, wait_until
        from traffic import Servers
        say("starting Open vSwitch: four switches, four hosts")
        own_namespaces()
        self.network.start()
        flags = ["--app", "topology", "--app", "router@1.0.0"]
        if self.etcd:
            say("starting etcd, for the store")
            flags += ["--store", self.etcd.start()]
        say("starting morphd: topology, router 1.0.0")
        self.morpheus.start(*flags)
        self.network.attach()
        wait_until("four switches", 20, lambda: len(self.morpheus.ctl("switches")) == 4)
        links = 2 * len(self.network.links)
        wait_until("all links found", 20, lambda: len(self.morpheus.ctl("topology")) == links)
        self.servers = Servers(echo_on=3, tcp_on=4)
        wait_until("all hosts reach each other", 20, reach_each_other)
        wait_until("the network is idle", 20, self.idle)
        self.connects = self.network.connects()

    def idle(self):
        """Whether there is a path from every switch to every host, and no event waits."""
        whole = [path for path in self.morpheus.paths(HOSTS).values() if len(path) == 4]
        backlog = sum(app["backlog"] for app in self.morpheus.ctl("apps"))
        return len(whole) >= 4 and not backlog

    def paths(self):
        """Stored paths to the hosts and to the sources of the first 256 new flows."""
        return {**self.morpheus.paths(HOSTS), **self.morpheus.paths(FIRST_FLOWS)}

    def control(self):
        """Traffic without an upgrade: what it loses, the environment loses. Returns the stored paths."""
        for attempt in range(3):
            row = self.measure("control", CONTROL_SECONDS, lambda: {})
            packets = row["pings"] + row["flows"]
            if packets < 1000:
                raise RuntimeError(f"the control sent {packets} packets, too few")
            lost = row["pings_lost"] + row["flows_lost"]
            if not lost or attempt == 2:
                break
            say(f"the control lost {lost} of {packets}: repeated")
        self.rows.append(row)
        if lost:
            self.failures.append(f"control: {lost} lost without any upgrade, three times")
        return self.paths()

    def phase(self, name, action):
        """Runs traffic with the action in the middle, and checks the figures."""
        row = self.measure(name, PHASE_SECONDS, action)
        self.rows.append(row)
        lost = row["pings_lost"] + row["flows_lost"]
        if name == "cut":
            if row["gap_ms"] >= MAX_GAP_MS:
                self.failures.append(f"cut: no answer for {row['gap_ms']:.0f} ms")
        elif lost:
            self.failures.append(f"{name}: {lost} lost")
        if row["disconnects"]:
            self.failures.append(f"{name}: {row['disconnects']} disconnects")

    def measure(self, name, seconds, action):
        """Measures what the traffic saw while the action ran."""
        from traffic import Traffic
        say(f"{name}: traffic for {seconds} s")
        traffic = Traffic(seconds, [(1, 4), (2, 3)], flows=(2, 3), tcp=(1, 4))
        time.sleep(LEAD_SECONDS)
        began = time.time()
        row = {"name": name, **action()}
        if not traffic.runs():
            self.failures.append(f"{name}: the action took longer than the traffic")
        row.update(traffic.finish())
        connects = self.network.connects()
        row["disconnects"] = connects - self.connects
        self.connects = connects
        if name != "cut" and row["lost_at"]:
            after = ", ".join(f"{at - began:+.3f} s" for at in row["lost_at"] if at)
            say(f"{name}: pings were lost at {after} from the start of the action")
        say(f"{name}: {row['pings_lost']} of {row['pings']} pings and {row['flows_lost']} of "
            f"{row['flows']} new flows lost, longest gap {row['gap_ms']:.0f} ms")
        return row

    # -- actions --

    def upgrade(self):
        """Upgrades to 2.0.0 and leaves it in its probation."""
        self.morpheus.ctl("upgrade", "app=router@2.0.0", "--probation", "5m", "--no-wait")
        status = self.morpheus.wait_step("router", "UPGRADED")
        say_status(status)
        # The target compares rules after the hand-over, beside the traffic.
        status = self.morpheus.wait_compared("router")
        return {**figures(status), **rules(status)}

    def roll_back(self):
        """Rolls back to 1.0.0."""
        status = self.morpheus.ctl("rollback", "app=router")[-1]
        say_status(status)
        return {"handover_us": status["back_handover_us"], **rules(status)}

    def upgrade_and_commit(self):
        """Upgrades to 2.0.0 and commits."""
        self.upgrade()
        status = self.morpheus.ctl("commit", "app=router")[-1]
        say_status(status)
        return {**figures(status), **rules(status)}

    def cut(self):
        """Cuts the link by which h1 reaches h4."""
        from network import mac
        port = self.morpheus.paths(HOSTS)[mac(4)][f"{1:016x}"]
        self.cut_link = next(
            ends for ends, number in self.network.ports.items() if ends[0] == 1 and number == port)
        say("cutting s{} - s{}".format(*self.cut_link))
        self.network.set_link(*self.cut_link, up=False)
        return {}

    def restore(self):
        """Restores the link."""
        say("restoring s{} - s{}".format(*self.cut_link))
        self.network.set_link(*self.cut_link, up=True)
        return {}

    # -- checks --

    def check_channels(self):
        """Checks with Open vSwitch that no channel was lost since the start."""
        say(f"asking Open vSwitch about its channels, which takes {LAG_SECONDS} s")
        time.sleep(LAG_SECONDS)
        seconds = self.network.seconds_connected()
        least = PHASE_SECONDS * (len(self.rows) - 1) + CONTROL_SECONDS
        if len(seconds) != len(self.network.switches) or min(seconds) < least:
            self.failures.append(f"channels have been up for {seconds} s, not {least} s")
        disconnects = sum(switch["disconnects"] for switch in self.morpheus.ctl("switches"))
        if disconnects:
            self.failures.append(f"Morpheus counts {disconnects} disconnects")

    def report(self, paths):
        """Prints the result."""
        if self.failures:
            print("FAILED")
            for failure in self.failures:
                print(f"  {failure}")
        else:
            print(f"Success: nothing lost in upgrades and rollback, no switch disconnected, and "
                  f"all {len(paths)} stored paths equal those of the control.")


def figures(status):
    """Figures of a hand-over in an upgrade's status."""
    return {"handover_us": status["handover_us"], "held": status["events_held"],
            "replayed": status["events_replayed"]}


def rules(status):
    """Changes of rules in an upgrade's status."""
    from morphctl import RULES
    return {what: status[f"rules_{what}"] for what in RULES}


def reach_each_other():
    """Whether every host reaches every other one."""
    from network import address, enter
    pairs = [(a, b) for a in range(1, 5) for b in range(1, 5) if a != b]
    pings = [subprocess.Popen(
        [*enter(a), "ping", "-n", "-c", "1", "-W", "1", address(b)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) for a, b in pairs]
    return not any([ping.wait() for ping in pings])


BEGAN = time.monotonic()


def say(text):
    """Prints a line of progress."""
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


def say_status(status):
    """Prints the status of an upgrade."""
    say(f"router {status['from']} -> {status['to']}: {status['step'].lower().replace('_', ' ')}, "
        f"{status['message'] or 'as requested'}")


COLUMNS = (
    ("phase", lambda r: r["name"]),
    ("pings", lambda r: r["pings"]),
    ("lost", lambda r: r["pings_lost"]),
    ("gap ms", lambda r: round(r["gap_ms"])),
    ("new flows", lambda r: r["flows"]),
    ("lost", lambda r: r["flows_lost"]),
    ("longest ms", lambda r: round(r["flow_ms"])),
    ("TCP Mbit/s", lambda r: f"{r['mbps']:.1f}"),
    ("hand-over ms", lambda r: f"{r['handover_us'] / 1000:.1f}"),
    ("held", lambda r: r["held"]),
    ("replayed", lambda r: r["replayed"]),
    ("rules +", lambda r: r["added"]),
    ("~", lambda r: r["changed"]),
    ("-", lambda r: r["removed"]),
    ("=", lambda r: r["unchanged"]),
    ("disconnects", lambda r: r["disconnects"]),
)


def print_table(rows):
    """Prints one row for each phase; a cell is empty where its figure has no meaning."""
    def cell(value, row):
        try:
            return str(value(row))
        except KeyError:
            return ""

    lines = [[head for head, _ in COLUMNS]]
    lines += [[cell(value, row) for _, value in COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    print()
    for line in lines:
        first, *others = (f"{text:>{width}}" for text, width in zip(line, widths))
        print("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
    print("rules: + added, ~ changed, - removed, = unchanged by the hand-over\n", flush=True)


def inside(directory, bin_dir, store):
    """Runs the demo inside the namespaces; returns the exit code."""
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    # Some versions of unshare leave signals blocked.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.environ["TMPDIR"] = tempfile.tempdir = directory
    demo = Demo(directory, bin_dir, store)
    try:
        return 0 if demo.run() else 1
    except (RuntimeError, OSError) as problem:
        if demo.rows:
            print_table(demo.rows)
        print(f"FAILED: {problem}")
        for failure in demo.failures:
            print(f"  {failure}")
        if os.path.exists(os.path.join(directory, "morphd.log")):
            print(f"---- end of morphd's log ----\n{demo.morpheus.log()}")
        return 1


def main():
    """Parses the command line and runs the demo."""
    built = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "target", "release")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default=built, help="directory of morphd and morphctl")
    parser.add_argument("--store", default="embedded", choices=("embedded", "etcd"),
                        help="where Morpheus keeps its state")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    bin_dir = os.path.abspath(args.bin_dir)
    if args.inside:
        return inside(args.inside, bin_dir, args.store)
    if os.geteuid() != 0:
        parser.error("the demo creates network namespaces; run it as root")
    if not os.path.exists(os.path.join(bin_dir, "morphd")):
        parser.error(f"{bin_dir}/morphd does not exist; run make")
    return outside(bin_dir, args.store)


if __name__ == "__main__":
    sys.exit(main())
