"""An etcd of one member in a private directory, on free ports."""

import http.client
import json
import os
import socket
import subprocess

from network import wait_until

START_SECONDS = 20


def free_port():
    """Finds a port of 127.0.0.1 that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Etcd:
    """An etcd process with its data below a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.process = None
        self.port = None

    def start(self):
        """Starts etcd and waits until it is healthy; returns the value for morphd's --store."""
        self.port = free_port()
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.port, free_port()))
        command = [
            "etcd", "--name", "one", "--data-dir", os.path.join(self.directory, "etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"one={peer}", "--logger", "zap", "--log-level", "error"]
        with open(os.path.join(self.directory, "etcd.log"), "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("etcd is healthy", START_SECONDS, self._healthy)
        return f"etcd://127.0.0.1:{self.port}"

    def _healthy(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"etcd has exited; see {self.directory}/etcd.log")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            connection.request("GET", "/health")
            return json.load(connection.getresponse()).get("health") == "true"
        except (OSError, http.client.HTTPException):
            return False

    def stop(self):
        """Stops etcd."""
        self.process.terminate()
        self.process.wait(START_SECONDS)
