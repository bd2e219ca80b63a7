"""Much state, and many idle switches."""

import os
import shutil
import time

from bench import backup
from bench.controllers import RESTART, Morpheus
from bench.generator import PATIENCE, Load, complaint
from bench.machine import CONTROLLERS, PROCESSES, memory
from bench.report import OVERHEAD


class HostMemory:
    """Memory of the app for each host."""

    name = "memory of the app for a host with its two rules"
    HOSTS = ["--switches", "16", "--macs", "1000", "--window", "64"]

    def duration(self, settings):
        """Expected seconds."""
        return 2 + settings.warmup + OVERHEAD

    def run(self, settings, report):
        """Lets the app learn each host once."""
        morpheus = Morpheus(settings.bin_dir, CONTROLLERS)
        try:
            load = Load(settings, morpheus, ["--once", "--seconds", "60", *self.HOSTS, *PATIENCE, "--linger", "1"])
            result = load.result()
        finally:
            morpheus.close()
        report.ran(load)
        report.check(self.name, complaint(result))
        begin, _, after, _ = result["rss_kib"]["learning-switch"]
        report.figure(self.name, f"{(after - begin) / result['responses']:.1f} KiB ({result['responses']} hosts)", "0.6 KB")


class StartUp:
    """Start of Morpheus with a large state: a restored backup, to which hosts were added."""

    name = "start-up with many rows"
    # Rows a second that are written, restored and loaded, for the estimate of the duration.
    RATE = 40_000

    def duration(self, settings):
        """Expected seconds."""
        switches, hosts = settings.rows
        return switches * hosts / self.RATE + 5

    def run(self, settings, report):
        """Fills the store, and starts on it."""
        switches, hosts = settings.rows
        morpheus = Morpheus(settings.bin_dir, CONTROLLERS)
        try:
            load = Load(settings, morpheus, ["--once", "--seconds", "10", "--macs", "4", "--window", "2", *PATIENCE])
            load.result()
            report.ran(load)
            keys = self.fill(morpheus, switches, hosts)
            times = self.start(settings, morpheus)
            found = self.found(morpheus, keys) if times else "does not run"
            size = [memory(pid) / 1024 for pid, name in morpheus.processes().items() if name == "learning-switch"]
            restarts = morpheus.ctl("apps", "apps")[-1]["restarts"]
        finally:
            morpheus.close()
        report.check(self.name, found)
        took = ", ".join(f"{seconds:.1f} s" for seconds in times) if times else f"not within {RESTART} s"
        killed = f"; {restarts} times it was ended before it was ready" if restarts else ""
        report.figure(f"start-up with {switches * hosts} rows: the app is running, a packet-in is answered",
                      f"{took}; the app has {max(size, default=0):.0f} MiB{killed}")

    @staticmethod
    def found(morpheus, keys):
        """What is wrong with the rows after the start, or an empty text."""
        now = morpheus.ctl("stats", "store", "stats")[-1]["keys"]
        return f"{now} rows in place of {keys}" if now < keys else ""

    @staticmethod
    def fill(morpheus, switches, hosts):
        """Stops Morpheus and puts that many hosts into its store. Returns the number of rows there."""
        file, store = os.path.join(morpheus.root, "backup"), os.path.join(morpheus.root, "state", "store")
        morpheus.ctl("backups", "store", "backup", file)
        keys = morpheus.ctl("stats", "store", "stats")[-1]["keys"]
        morpheus.stop()
        with open(file, encoding="utf-8") as old, open(file + ".new", "w", encoding="utf-8") as new:
            new.writelines(backup.with_hosts(old.readlines(), switches, hosts))
        shutil.rmtree(store)
        morpheus.ctl("backups", "store", "restore", "--state-dir", os.path.dirname(store), file + ".new")
        return keys + switches * hosts

    @staticmethod
    def start(settings, morpheus):
        """Starts Morpheus. Returns the seconds until the app is running, and until it answered a packet-in; nothing if it
        does not run."""
        begun = time.monotonic()
        morpheus.start()
        load = Load(settings, morpheus, ["--mode", "latency", "--reconnect", "--ready-timeout", str(2 * RESTART), "--settle-ms", "50",
                                         "--dpid", "1048576", "--warmup", "0", "--seconds", "0.1"])
        if not morpheus.wait_running(RESTART):
            load.cancel()
            return ()
        running = time.monotonic() - begun
        load.wait_measuring()
        answers = time.monotonic() - begun
        load.result()
        return running, answers


class Idle:
    """Switches that are connected and send nothing."""

    name = "idle switches"

    def duration(self, settings):
        """Expected seconds."""
        return settings.idle_seconds + settings.warmup + OVERHEAD + 5

    def run(self, settings, report):
        """Measures processor time and memory."""
        switches = settings.idle_switches
        morpheus = Morpheus(settings.bin_dir, CONTROLLERS)
        try:
            begin = {name: memory(pid) for pid, name in morpheus.processes().items()}
            load = Load(settings, morpheus, ["--mode", "idle", "--switches", str(switches),
                                             "--warmup", str(settings.warmup), "--seconds", str(settings.idle_seconds)])
            result = load.result()
        finally:
            morpheus.close()
        report.ran(load)
        report.check(self.name, complaint(result))
        shares = {name: 100 * result["cpu_s"].get(name, 0) / settings.idle_seconds for name in PROCESSES}
        report.figure(f"{switches} idle switches: CPU of all processes",
                      f"{sum(shares.values()):.1f} % (" + ", ".join(f"{name} {share:.1f}" for name, share in shares.items()) + ")",
                      "0.5 %")
        grown = (result["rss_kib"]["morph-proxy"][1] - begin["morph-proxy"]) / switches
        report.figure(f"{switches} idle switches: memory of the proxy for each", f"{grown:.0f} KiB", "16 KiB")
