"""Runs of the generator, tools/ofbench."""

import json
import subprocess

from bench.controllers import PORT
from bench.machine import CONTROLLERS, GENERATOR, affinity, all_processors, on_processor

# Milliseconds after which a packet-in is lost, where none may be.
PATIENCE = ["--timeout-ms", "10000"]


class Load:
    """A generator that is running, beside a controller that is watched."""

    def __init__(self, settings, controller, arguments, pinned=True):
        self.controller = controller
        self.names = controller.processes()
        watched = ["--watch", ",".join(map(str, self.names))] if self.names else []
        command = [settings.ofbench, "--port", str(PORT), "--announce", *watched, *arguments]
        where = GENERATOR if pinned else all_processors()
        self.process = on_processor(where, command, stdout=subprocess.PIPE, text=True)
        self.affinity = {name: affinity(pid) for pid, name in self.names.items()}
        self.pinned = pinned
        self.begun = False

    def wait_measuring(self):
        """Waits until the measurement has begun."""
        if not self.begun:
            self.begun = "measuring" in self.process.stdout.readline()
            self.affinity["ofbench"] = affinity(self.process.pid)

    def result(self):
        """Waits for the end. Returns the generator's result, with `cpu_us` and `rss_kib` by process."""
        self.wait_measuring()
        output = self.process.stdout.read()
        if self.process.wait() != 0:
            raise RuntimeError(f"ofbench failed; the end of the controller's log:\n{self.controller.log()}")
        result = json.loads(output.splitlines()[-1])
        self.check_affinity()
        watched = [(self.names[row["pid"]], row) for row in result["watched"] if not row["gone"]]
        answers = result["responses"]
        result["cpu_us"] = {name: row["cpu_s"] * 1e6 / answers for name, row in watched} if answers else {}
        result["cpu_s"] = {name: row["cpu_s"] for name, row in watched}
        # At the begin, at the end, after lingering; and the largest so far.
        result["rss_kib"] = {name: [*row["rss_kib"], row["peak_kib"]] for name, row in watched}
        result["gone"] = [self.names[row["pid"]] for row in result["watched"] if row["gone"]]
        return result

    def cancel(self):
        """Ends it without a result."""
        self.process.kill()
        self.process.communicate()

    def check_affinity(self):
        """Fails where a process may run on a processor that is not its own."""
        for name, lists in self.affinity.items():
            want = (GENERATOR if name == "ofbench" else CONTROLLERS) if self.pinned else all_processors()
            if lists and lists != {want}:
                raise RuntimeError(f"{name} may run on the processors {sorted(lists)} in place of {want}")


def complaint(result, loss=True, told=0):
    """What is wrong with a result, or an empty text; `loss`: whether a packet-in without an answer is, beyond those of which the
    controller told that it dropped them: in an overload it drops what has waited for too long."""
    wrong = [f"{result[key]} {key}" for key in ("disconnects", "errors", "bad_version") if result[key]]
    if loss:
        if result["lost"] + result["unanswered"] > told:
            wrong += [f"{result[key]} {key}" for key in ("lost", "unanswered") if result[key]]
            wrong += [f"{told} told as dropped"] if told else []
        if not result["responses"] and result["mode"] != "idle":
            wrong.append("no answer")
    if result["gone"]:
        wrong.append("ended: " + ", ".join(result["gone"]))
    return ", ".join(wrong)
