"""Backups of the store with more rows than there were. The format stands in store/src/backup/mod.rs."""

import json
import zlib

APP, TABLE = "learning-switch", "macs"
# Datapath ids of the switches whose hosts are added count from here.
FIRST = 0x10000


def line(entry, last):
    """A line of a backup behind one with this checksum; returns it with its own."""
    text = json.dumps(entry, separators=(",", ":"))
    own = zlib.crc32(f"{last:08x}{text}".encode())
    return f"{own:08x} {text}\n", own


def with_hosts(lines, switches, hosts):
    """Adds so many hosts of the learning switch on so many switches to the lines of a backup; each is a copy of the last row
    that it has of a host. Yields the new lines."""
    entries = [json.loads(text.partition(" ")[2]) for text in lines]
    rows = [n for n, entry in enumerate(entries) if (entry.get("row", {}).get("app"), entry.get("row", {}).get("table")) == (APP, TABLE)]
    if not rows:
        raise ValueError("the backup has no host")
    sample, last, count = entries[rows[-1]]["row"], 0, 0

    def added():
        for n, entry in enumerate(entries):
            if entry.get("space", {}).get("app") == APP:
                entry["space"]["keys"] += switches * hosts
            if "end" not in entry:
                yield entry
            if n == rows[-1]:
                yield from ({"row": {**sample, "key": key(switch, host)}} for switch in range(switches) for host in range(hosts))

    for entry in added():
        text, last = line(entry, last)
        count += 1
        yield text
    yield line({"end": {"lines": count}}, last)[0]


def key(switch, host):
    """Key of the row of a host."""
    return f"{FIRST + switch:016x}/0a:00:00:" + host.to_bytes(3, "big").hex(":")
