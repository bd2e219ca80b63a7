"""The machine: processors, processes, file system."""

import os
import signal
import subprocess

# Processors of the controllers and of the generator.
CONTROLLERS, GENERATOR = "0", "1"
# Processes of Morpheus, by the names that the kernel shows.
PROCESSES = ("morph-proxy", "learning-switch", "morph-stored", "morphd")
# File systems without a disk.
IN_MEMORY = ("tmpfs", "ramfs")


def on_processor(processors, command, **options):
    """Starts a command on these processors, in the notation of taskset."""
    return subprocess.Popen(["taskset", "-c", processors, *command], **options)


def all_processors():
    """All processors of this machine, in the notation of taskset."""
    return f"0-{os.cpu_count() - 1}"


def end(process):
    """Ends a process and waits for it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def processes(root):
    """Processes of Morpheus whose command line names this directory: {process id: name}."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                command = file.read()
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                name = file.read().strip()
        except OSError:
            continue
        if root in command and name in PROCESSES:
            found[int(pid)] = name
    return found


def affinity(pid):
    """Processors on which the threads of a process may run, as the kernel tells it; all lists that occur."""
    lists = set()
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as file:
                lists |= {line.split()[1] for line in file if line.startswith("Cpus_allowed_list:")}
    except OSError:
        pass  # It has ended.
    return lists


def memory(pid):
    """Resident memory of a process in KiB; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmRSS:")), 0)
    except OSError:
        return 0


def file_system(path):
    """Name of the file system of a path."""
    stat = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True)
    return stat.stdout.strip()


def commit():
    """The commit that is measured."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
