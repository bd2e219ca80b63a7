"""What a run of the benchmark has found."""

import dataclasses
import sys

from bench.machine import commit


@dataclasses.dataclass
class Settings:
    """How to measure."""

    bin_dir: str
    ofbench: str
    # Pairs of runs for a case beside ovs-testcontroller; none: Morpheus alone, once.
    pairs: int
    seconds: float
    warmup: float
    flood_seconds: float
    # Seconds before a flood or an upgrade, and after it.
    around: tuple
    # Hosts in the store before the start that is measured, by switch and host.
    rows: tuple
    idle_switches: int
    idle_seconds: float
    # Whether answers are checked and nothing else matters.
    short: bool

    @property
    def runs(self):
        """Runs of a case that has no pair."""
        return max(1, min(self.pairs, 3))

    @property
    def load(self):
        """The generator's arguments for the length of a run."""
        return ["--seconds", str(self.seconds), "--warmup", str(self.warmup)]


# Seconds that a run takes besides its load: two controllers start and end, and the switches connect.
OVERHEAD = 2.0


class Report:
    """Figures and rows in the order in which they were found."""

    def __init__(self, settings):
        self.settings = settings
        self.commit = commit()
        self.figures = []  # (name, value, aim)
        self.answers = []  # rows of texts
        self.wrong = []
        self.affinity = {}  # {(pinned, process): lists}
        self.capacity = None  # answers a second with 16 switches

    def figure(self, name, value, aim=""):
        """Adds a figure."""
        self.figures.append((name, value, aim))
        print(f"  {name}: {value}", file=sys.stderr, flush=True)

    def row(self, texts):
        """Adds a row to the table of answers."""
        self.answers.append(texts)
        print("  " + " | ".join(texts), file=sys.stderr, flush=True)

    def check(self, name, wrong):
        """Takes note of what is wrong with the answers of a case, if anything is; the short form ends with it."""
        if wrong and self.settings.short:
            sys.exit(f"bench: {name}: {wrong}")
        if wrong:
            self.wrong.append(f"{name}: {wrong}")
            print(f"  {name}: {wrong}", file=sys.stderr, flush=True)

    def ran(self, load):
        """Keeps the affinity of a run's processes."""
        for name, lists in load.affinity.items():
            self.affinity.setdefault((load.pinned, name), set()).update(lists)
