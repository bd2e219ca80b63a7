"""A switch that floods beside two quiet ones, and an upgrade under full load."""

import time

from bench.controllers import Morpheus
from bench.generator import PATIENCE, Load, complaint
from bench.machine import CONTROLLERS, PROCESSES
from bench.report import OVERHEAD
from bench.series import back, lowest, median, recovered, spread


class Flood:
    """One switch sends as fast as its socket takes, two send 200 packet-ins a second each."""

    name = "flood and recovery"
    QUIET_RATE = 400
    INTERVAL_MS = 50

    def duration(self, settings):
        """Expected seconds."""
        return sum(settings.around) + settings.flood_seconds + settings.warmup + OVERHEAD + 4

    def run(self, settings, report):
        """Measures one flood."""
        before, after = settings.around
        length = before + settings.flood_seconds + after
        # An answer after more than a second counts as none, but in the short form any answer will do.
        patience = PATIENCE if settings.short else ["--timeout-ms", "1000"]
        arguments = ["--switches", "3", "--rate", str(self.QUIET_RATE), "--macs", "300", "--known", "--warmup", str(settings.warmup),
                     "--seconds", str(length), "--interval-ms", str(self.INTERVAL_MS), *patience, "--linger", "2",
                     "--flood-at", str(before), "--flood-seconds", str(settings.flood_seconds)]
        morpheus = Morpheus(settings.bin_dir, CONTROLLERS)
        try:
            load = Load(settings, morpheus, arguments)
            result = load.result()
        finally:
            morpheus.close()
        report.ran(load)
        flood = result["flood"]
        quiet, during = flood["before"], flood["during"]
        report.check(f"{self.name}, quiet switches", complaint(result))
        report.figure("two quiet switches beside one that floods: answered",
                      f"{during['answered']} of {during['sent']}; {flood['answers']} of {flood['sent']} of the flood", "all")
        report.figure("their p99 in the flood, and before it",
                      f"{during['p99'] / 1000:.1f} ms, {quiet['p99'] / 1000:.1f} ms", "1.2 x that before it")
        since = recovered(flood["line"], self.INTERVAL_MS / 1000, (before, before + settings.flood_seconds))
        report.figure("after the flood: quiet switches as before within",
                      f"more than {after} s" if since is None else f"{since:.2f} s", "at once")
        growth = [f"{name} {(peak - begin) / 1024:.0f}"
                  for name in PROCESSES for begin, _, _, peak in [result["rss_kib"].get(name, [0] * 4)]]
        report.figure(f"growth of memory in a flood of {settings.flood_seconds:.0f} s, in MiB", ", ".join(growth), "16 each")


class Upgrade:
    """The learning switch is replaced by a release that differs in its version alone."""

    name = "upgrade under full load"
    # Seconds of the probation.
    PROBATION = 1
    INTERVAL = 0.01

    def duration(self, settings):
        """Expected seconds."""
        return settings.runs * (self.length(settings) + settings.warmup + OVERHEAD + 2)

    def length(self, settings):
        """Seconds of the measurement."""
        return sum(settings.around) / 3 + self.PROBATION + 1

    def run(self, settings, report):
        """Measures some upgrades."""
        runs = [self.upgrade(settings, report) for _ in range(settings.runs)]
        lost, times, rates = zip(*runs)
        report.figure(f"{self.name}: events lost because of it", " + ".join(map(str, lost)), "0")
        known = [1000 * seconds for seconds in times if seconds is not None]
        never = len(times) - len(known)
        text = spread(known) + " ms" if known else ""
        report.figure(f"{self.name}: from the hold until the rate is back at 90 %",
                      text + (f"; not within the run: {never}" if never else ""), "50 ms")
        report.figure(f"{self.name}: lowest rate over 100 ms, from its begin to its commit",
                      f"{100 * median(rates):.0f} % of that before")

    def upgrade(self, settings, report):
        """One upgrade. Returns the events lost, the seconds until the rate is back, and the lowest share of it."""
        arguments = ["--switches", "16", "--window", "64", "--macs", "1000", "--known", "--warmup", str(settings.warmup),
                     "--seconds", str(self.length(settings)), "--interval-ms", str(round(1000 * self.INTERVAL)), *PATIENCE, "--linger", "1"]
        morpheus = Morpheus(settings.bin_dir, CONTROLLERS)
        try:
            version = morpheus.install_next()
            load = Load(settings, morpheus, arguments)
            load.wait_measuring()
            time.sleep(settings.around[0] / 3)
            steps = morpheus.ctl("upgrades", "upgrade", f"app=learning-switch@{version}", "--probation", f"{self.PROBATION}s")
            result = load.result()
        finally:
            morpheus.close()
        report.ran(load)
        # The source has ended, as it should.
        result["gone"] = [name for name in result["gone"] if name != "learning-switch"]
        wrong = complaint(result)
        if steps[-1]["step"] != "COMMITTED":
            wrong += f" the upgrade ended with {steps[-1]}"
        report.check(self.name, wrong)
        at = {row["step"]: row["unix_ms"] / 1000 - result["t0_unix"] for row in steps}
        if "QUIESCING" not in at:
            return result["lost"] + result["unanswered"], None, 0
        samples = result["samples"]
        usual = median(samples[:int(at["STAGED"] / self.INTERVAL)])
        under = samples[int(at["STAGED"] / self.INTERVAL):int(at[steps[-1]["step"]] / self.INTERVAL)]
        share = lowest(under, round(0.1 / self.INTERVAL)) / usual if usual else 0
        return result["lost"] + result["unanswered"], back(samples, self.INTERVAL, usual, at["QUIESCING"]), share
