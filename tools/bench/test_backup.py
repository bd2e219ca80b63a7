"""python3 -m unittest discover -s tools/bench -t tools"""

import json
import unittest

from bench.backup import line, with_hosts


def backup(entries):
    """Lines of a backup."""
    last, lines = 0, []
    for entry in entries:
        text, last = line(entry, last)
        lines.append(text)
    return lines


class Backup(unittest.TestCase):
    """A backup that grows."""

    HEAD = {"backup": {"format": 1, "revision": 15, "version": "0.1.0"}}

    def test_a_line_has_the_checksum_that_the_store_writes(self):
        text, last = line(self.HEAD, 0)
        self.assertEqual(text, '2ee8c519 {"backup":{"format":1,"revision":15,"version":"0.1.0"}}\n')
        self.assertEqual(last, 0x2EE8C519)

    def test_hosts_are_added_behind_the_last_one_and_counted(self):
        row = {"app": "learning-switch", "space": 1, "table": "macs", "key": "k", "revision": 3, "value": "1"}
        space = {"app": "learning-switch", "id": 1, "keys": 1}
        other = {"row": {**row, "app": "morpheus"}}
        lines = list(with_hosts(backup([self.HEAD, {"space": space}, {"row": row}, other, {"end": {"lines": 4}}]), 2, 2))
        entries = [json.loads(text.partition(" ")[2]) for text in lines]
        keys = [f"000000000001000{switch}/0a:00:00:00:00:0{host}" for switch in (0, 1) for host in (0, 1)]
        added = [{"row": {**row, "key": key}} for key in keys]
        want = [self.HEAD, {"space": {**space, "keys": 5}}, {"row": row}, *added, other, {"end": {"lines": 8}}]
        self.assertEqual(entries, want)
        self.assertEqual(lines, backup(want))
        with self.assertRaises(ValueError):
            list(with_hosts(backup([self.HEAD]), 1, 1))


if __name__ == "__main__":
    unittest.main()
