"""The two controllers, each with an empty state."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

from bench.machine import end, on_processor, processes

PORT = 6753
# Seconds until a controller has to run, and until a restarted one with much state has to.
START, RESTART = 30, 60
# Open vSwitch's controller takes no more switches.
MOST_SWITCHES = 16


class Morpheus:
    """Morpheus with the learning switch alone."""

    def __init__(self, bin_dir, processors):
        self.bin_dir, self.processors = bin_dir, processors
        self.root = tempfile.mkdtemp(prefix="morph-bench-")
        # The app runs as a user of its own.
        os.chmod(self.root, 0o755)
        self.morphd = None
        self.start()
        if not self.wait_running(START):
            log = self.log()
            self.close()
            raise RuntimeError(f"the learning switch does not run; the end of morphd's log: {log}")

    def start(self):
        """Starts morphd, on the state that there is."""
        run, state = os.path.join(self.root, "run"), os.path.join(self.root, "state")
        with open(os.path.join(self.root, "morphd.log"), "ab") as log:
            self.morphd = on_processor(self.processors, [
                os.path.join(self.bin_dir, "morphd"), "--state-dir", state, "--run-dir", run,
                "--openflow", f"127.0.0.1:{PORT}", "--app", "learning-switch",
            ], stdout=log, stderr=log)

    def wait_running(self, seconds):
        """Waits until the app runs; returns whether it does."""
        deadline = time.monotonic() + seconds
        while not self.runs():
            if time.monotonic() > deadline or self.morphd.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def runs(self):
        """Whether the app runs."""
        answer = self.ask("apps")
        return answer.returncode == 0 and '"running"' in answer.stdout

    def ask(self, *words):
        """Runs morphctl."""
        endpoint = f"unix:{self.root}/run/api.sock"
        command = [os.path.join(self.bin_dir, "morphctl"), "--endpoint", endpoint, "--output", "json", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def ctl(self, noun, *words):
        """Runs morphctl, which has to succeed; returns the objects of all lines it prints."""
        done = self.ask(*words)
        if done.returncode != 0:
            raise RuntimeError(f"morphctl {' '.join(words)}: {done.stderr.strip()}")
        return [row for line in done.stdout.splitlines() for row in json.loads(line)[noun]]

    def dropped(self):
        """Number of events that the learning switch lost, as morphctl tells."""
        return sum(app["lost"] for app in self.ctl("apps", "apps"))

    def install_next(self):
        """Installs a copy of the learning switch with a higher version, and returns that."""
        bundle = os.path.join(self.root, "next")
        release = self.ctl("apps", "apps")[0]["release"]
        shutil.copytree(os.path.join(self.bin_dir, "bundles", f"learning-switch-{release}"), bundle)
        major, minor, patch = release.split(".")
        version = f"{major}.{minor}.{int(patch) + 1}"
        manifest = os.path.join(bundle, "app.toml")
        with open(manifest, encoding="utf-8") as file:
            text = file.read()
        with open(manifest, "w", encoding="utf-8") as file:
            file.write(text.replace(f'version = "{release}"', f'version = "{version}"'))
        self.ctl("releases", "app", "install", bundle)
        return version

    def log(self):
        """End of morphd's log."""
        with open(os.path.join(self.root, "morphd.log"), encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:]

    def processes(self):
        """{process id: name}"""
        return processes(self.root)

    def stop(self):
        """Ends all processes in order, and keeps the state."""
        end(self.morphd)

    def close(self):
        """Ends all processes, and removes the state."""
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


class TestController:
    """ovs-testcontroller, a learning switch in one process."""

    def __init__(self, _, processors):
        # Its control socket is there.
        self.root = tempfile.mkdtemp(prefix="morph-bench-")
        self.process = on_processor(processors, ["ovs-testcontroller", f"ptcp:{PORT}:127.0.0.1"],
                                    env={**os.environ, "OVS_RUNDIR": self.root},
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START
        while not listens():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.close()
                raise RuntimeError("ovs-testcontroller does not listen; try it by hand")
            time.sleep(0.05)

    def processes(self):
        """{process id: name}"""
        return {self.process.pid: "ovs-testcontroller"}

    def log(self):
        """It has none."""
        return ""

    def dropped(self):
        """It tells of none."""
        return 0

    def close(self):
        """Ends the process."""
        end(self.process)
        shutil.rmtree(self.root, ignore_errors=True)


def listens():
    """Whether somebody takes connections on the port."""
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=1):
            return True
    except OSError:
        return False
