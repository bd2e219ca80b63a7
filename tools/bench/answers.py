"""Packet-ins answered a second, beside ovs-testcontroller where that takes as many switches."""

from bench.controllers import Morpheus, TestController
from bench.generator import PATIENCE, Load, complaint
from bench.machine import CONTROLLERS, PROCESSES, all_processors
from bench.report import OVERHEAD
from bench.series import median, spread

# The load that says what the capacity is.
SIXTEEN = ["--switches", "16", "--window", "64", "--macs", "1000", "--known"]


def measure(controller, settings, report, name, arguments, pinned=True, loss=True):
    """One run with a fresh controller; returns the generator's result."""
    running = controller(settings.bin_dir, CONTROLLERS if pinned else all_processors())
    try:
        load = Load(settings, running, arguments, pinned)
        result = load.result()
        told = running.dropped()
    finally:
        running.close()
    report.ran(load)
    report.check(f"{name}, {controller.__name__}", complaint(result, loss, told))
    return result


class Answers:
    """Rate of answers under one load."""

    def __init__(self, name, arguments, paired=False, pinned=True, figure=None):
        self.name, self.arguments, self.paired, self.pinned = name, arguments, paired, pinned
        # Name and aim of the ratio among the figures.
        self.figure = figure

    def duration(self, settings):
        """Expected seconds."""
        runs = 2 * settings.pairs if self.paired and settings.pairs else settings.runs
        return runs * (settings.seconds + settings.warmup + OVERHEAD)

    def run(self, settings, report):
        """Measures in turns."""
        arguments = [*settings.load, *self.arguments, *PATIENCE, "--linger", "0.3"]
        ours, theirs = [], []
        for _ in range(settings.pairs if self.paired and settings.pairs else settings.runs):
            ours.append(measure(Morpheus, settings, report, self.name, arguments, self.pinned))
            if self.paired and settings.pairs:
                # Losses of ovs-testcontroller are no fault of ours.
                theirs.append(measure(TestController, settings, report, self.name, arguments, self.pinned, loss=False))
        ratios = [mine["rate"] / other["rate"] for mine, other in zip(ours, theirs) if other["rate"]]
        rates = [run["rate"] for run in ours]
        report.row([
            self.name, spread(rates),
            spread([run["rate"] for run in theirs]) if theirs else "",
            spread(ratios, "{:.2f}") if ratios else "",
            " / ".join(f"{median([run['lat_us'][q] for run in ours]):.0f}" for q in ("p50", "p99")),
            " / ".join(cost(ours, process) for process in PROCESSES),
            cost(theirs, "ovs-testcontroller") if theirs else "",
        ])
        if self.arguments == SIXTEEN and self.pinned:
            report.capacity = median(rates)
        if self.figure and ratios:
            name, aim = self.figure
            report.figure(name, f"{median(ratios):.2f} x", aim)


def cost(runs, process):
    """Median of the microseconds for an answer."""
    return f"{median([run['cpu_us'].get(process, 0) for run in runs]):.1f}"


class Shares:
    """Latency at a share of the capacity, in an open loop: from the time at which a packet-in was due."""

    name = "latency at 10, 50 and 90 % of the capacity"
    SHARES = ((10, ""), (50, "p99 1 ms"), (90, "p99 10 ms"))

    def duration(self, settings):
        """Expected seconds."""
        return (1 if settings.short else len(self.SHARES)) * settings.runs * (settings.seconds + settings.warmup + OVERHEAD)

    def run(self, settings, report):
        """Measures one share after the other."""
        if report.capacity is None:
            rate = measure(Morpheus, settings, report, self.name, [*settings.load, *SIXTEEN, *PATIENCE])["rate"]
            report.capacity = rate
        for share, aim in self.SHARES[:1] if settings.short else self.SHARES:
            self.measure(settings, report, share, aim)

    def measure(self, settings, report, share, aim):
        """All runs of one share."""
        name = f"latency at {share} % of the capacity, p50 / p99 / p99.9"
        arguments = ["--switches", "16", "--macs", "250", "--known", "--rate", str(round(report.capacity * share / 100))]
        # The capacity may be less at this moment than when it was measured.
        loss = share < 90
        runs = [measure(Morpheus, settings, report, name, [*settings.load, *arguments, *PATIENCE, "--linger", "1"], loss=loss)
                for _ in range(settings.runs)]
        quantiles = [median([run["lat_us"][q] for run in runs]) / 1000 for q in ("p50", "p99", "p99.9")]
        throttled = max(run["throttled"] / (run["sent"] + run["throttled"]) for run in runs)
        not_sent = f"; {100 * throttled:.1f} % not sent" if throttled else ""
        report.figure(name, " / ".join(f"{ms:.2f}" for ms in quantiles) + " ms" + not_sent, aim)


class NewHosts:
    """Every packet-in is of a host that was never seen, and makes a durable row."""

    name = "every packet-in a new host, 16 switches"
    ARGUMENTS = ["--switches", "16", "--window", "64", "--macs", "262144"]

    def duration(self, settings):
        """Expected seconds."""
        return settings.runs * (settings.seconds + settings.warmup + OVERHEAD)

    def run(self, settings, report):
        """Measures the rate."""
        arguments = [*settings.load, *self.ARGUMENTS, *PATIENCE, "--linger", "1"]
        runs = [measure(Morpheus, settings, report, self.name, arguments) for _ in range(settings.runs)]
        report.figure(f"{self.name}: rows a second", spread([run["rate"] for run in runs]), "60 000")
        costs = [f"{name} {cost(runs, name)}" for name in PROCESSES]
        report.figure(f"{self.name}: us an answer", ", ".join(costs))
