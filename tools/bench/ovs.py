"""The router on Open vSwitch, with real hosts."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

from bench.series import spread

INSIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside.py")
# Open vSwitch's daemons are where users may not look.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
# Seconds that a run has to end in.
DEADLINE = 180


def inside(settings, what, seconds):
    """Runs inside.py in namespaces of its own, which end with it; returns what it prints."""
    directory = tempfile.mkdtemp(prefix="morph-bench-")
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
               # Debian's own Python may have what the scripts need; any processor will do.
               "taskset", "-c", f"0-{os.cpu_count() - 1}", sys.executable, "-B", INSIDE, what,
               "--bin-dir", os.path.abspath(settings.bin_dir), "--directory", directory, "--seconds", str(seconds)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
                              env={**os.environ, "PATH": PATH}, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class NewPairs:
    """New flows through four switches: each has an ARP request, and a datagram to its echo."""

    name = "new pairs through Open vSwitch with the router"

    def duration(self, settings):
        """Expected seconds."""
        return 15 + 6 * (settings.seconds + 1)

    def run(self, settings, report):
        """Measures one network."""
        found = inside(settings, "pairs", settings.seconds)
        if settings.short and found["lost"]:
            report.check(self.name, f"{found['lost']} of {found['sent']} flows lost")
        report.figure(f"{self.name}: first packets at 50 a second, p50 / p99", f"{found['median_ms']:.1f} / {found['p99_ms']:.1f} ms")
        report.figure(f"{self.name}: most flows a second without a loss, four switches", f"{found['rate']:.0f}")


class LinkFailure:
    """A link of a fat tree of 20 switches is cut."""

    name = "link failure on a fat tree"

    def duration(self, settings):
        """Expected seconds."""
        return settings.runs * 8

    def run(self, settings, report):
        """Measures some failures, each in a new network."""
        runs = [inside(settings, "failure", settings.seconds) for _ in range(settings.runs)]
        report.figure(f"{self.name} of {runs[0]['switches']} switches: time to the last rule",
                      spread([run["ms"] for run in runs]) + f" ms, {spread([run['rules'] for run in runs])} rules")
