"""morphd in a private directory, driven by morphctl as an operator would."""

import json
import os
import signal
import subprocess

from network import wait_until

START_SECONDS = 20
# Counters of rules in a status: `rules_added` and so on.
RULES = ("added", "changed", "removed", "unchanged")


class Morpheus:
    """A morphd with a private directory, and its morphctl."""

    def __init__(self, directory, bin_dir):
        self.directory = directory
        self.bin_dir = bin_dir
        self.morphd = None

    def start(self, *flags):
        """Starts morphd and waits until it answers."""
        command = [os.path.join(self.bin_dir, "morphd"), *flags]
        for kind in ("state", "run"):
            command += [f"--{kind}-dir", os.path.join(self.directory, kind)]
        with open(os.path.join(self.directory, "morphd.log"), "wb") as log:
            self.morphd = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("morphd answers", START_SECONDS, self._answers)

    def _answers(self):
        if self.morphd.poll() is not None:
            raise RuntimeError(f"morphd has exited:\n{self.log()}")
        return self._ask("apps").returncode == 0

    def log(self):
        """Last lines of morphd's log."""
        path = os.path.join(self.directory, "morphd.log")
        with open(path, encoding="utf-8", errors="replace") as log:
            return "".join(log.readlines()[-30:])

    def stop(self):
        """Ends morphd, and with it everything that it has started."""
        self.morphd.send_signal(signal.SIGTERM)
        if self.morphd.wait(START_SECONDS) != 0:
            raise RuntimeError(f"morphd exited with {self.morphd.returncode}:\n{self.log()}")

    def _ask(self, *words):
        endpoint = "unix:" + os.path.join(self.directory, "run", "api.sock")
        command = [os.path.join(self.bin_dir, "morphctl"), "--endpoint", endpoint,
                   "--output", "json", *words]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def ctl(self, *words):
        """Runs morphctl; returns the list that it prints."""
        done = self._ask(*words)
        if done.returncode != 0:
            raise RuntimeError(
                f"morphctl {' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")
        rows = []
        for line in done.stdout.splitlines():
            answer = json.loads(line)
            if answer.get("more"):
                raise RuntimeError(f"morphctl {' '.join(words)}: the output is truncated")
            rows += next((value for value in answer.values() if isinstance(value, list)), [])
        return rows

    def app(self, name):
        """Row of one app in `morphctl apps`."""
        for app in self.ctl("apps"):
            if app["name"] == name:
                return app
        raise RuntimeError(f"no app {name}")

    def wait_step(self, app, step, seconds=10):
        """Waits until the upgrade of an app has reached this step."""
        def reached():
            status = self.ctl("status", f"app={app}")[-1]
            if status["step"] == step:
                return status
            if status["step"] in ("ROLLED_BACK", "COMMITTED"):
                raise RuntimeError(f"the upgrade of {app} ended: {status}")
            return None
        return wait_until(f"{app} is {step.lower()}", seconds, reached)

    def wait_compared(self, app):
        """Waits until the upgrade of an app has compared the rules in the switches."""
        def compared():
            status = self.ctl("status", f"app={app}")[-1]
            return status if any(status[f"rules_{what}"] for what in RULES) else None
        return wait_until(f"the rules of {app} are compared", 5, compared)

    def paths(self, prefix):
        """Stored paths of the router in any schema: {destination: {datapath: port}}."""
        paths = {}
        for table in ("trees", "hops"):
            for row in self.ctl("store", "list", "app=router", table, prefix, "--limit", "10000"):
                if table == "trees":
                    paths[row["key"]] = row["value"]
                else:
                    # Schema 3 has the VLAN behind the address.
                    destination, datapath = row["key"].rsplit("/", 1)
                    destination = destination.removesuffix("/none")
                    paths.setdefault(destination, {})[datapath] = row["value"]["port"]
        return paths
