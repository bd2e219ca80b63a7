"""Much state, and many idle switches."""

import time

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
    """Start of Morpheus with a large state."""

    name = "start-up with many rows"
    # Rows a second that the estimate of the duration reckons with.
    RATE = 30_000

    def duration(self, settings):
        """Expected seconds."""
        switches, hosts = settings.rows
        return switches * hosts / self.RATE + 10

    def run(self, settings, report):
        """Lets the app learn all hosts, ends all processes, and starts them again."""
        switches, hosts = settings.rows
        morpheus = Morpheus(settings.bin_dir, CONTROLLERS)
        try:
            load = Load(settings, morpheus, ["--once", "--seconds", str(RESTART), "--switches", str(switches), "--macs", str(hosts),
                                             "--window", "4", *PATIENCE, "--linger", "0.5"])
            result = load.result()
            report.ran(load)
            report.check(f"{self.name}: filling", complaint(result))
            keys = morpheus.ctl("stats", "store", "stats")[-1]["keys"]
            if keys < switches * hosts:
                report.check(self.name, f"{keys} rows in the store in place of {switches * hosts}")
            morpheus.stop()
            running, answers = self.start(settings, morpheus)
            now = morpheus.ctl("stats", "store", "stats")[-1]["keys"]
            if now < keys:
                report.check(self.name, f"{now} rows after the start, {keys} before")
        finally:
            morpheus.close()
        report.figure(f"start-up with {switches * hosts} rows: the app is running, a packet-in is answered",
                      f"{running:.1f} s, {answers:.1f} s")

    @staticmethod
    def start(settings, morpheus):
        """Starts Morpheus. Returns the seconds until the app is running, and until it answered a packet-in."""
        begun = time.monotonic()
        morpheus.start()
        load = Load(settings, morpheus, ["--mode", "latency", "--reconnect", "--ready-timeout", str(RESTART), "--settle-ms", "50",
                                         "--dpid", "1048576", "--warmup", "0", "--seconds", "0.1"])
        morpheus.wait_running(RESTART)
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
