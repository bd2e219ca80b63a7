"""python3 -m unittest discover -s tools/bench -t tools"""

import collections
import unittest

from bench.inside import fat_tree


class FatTree(unittest.TestCase):
    """The network whose link is cut."""

    def test_each_switch_has_its_links(self):
        links = fat_tree(4)
        degree = collections.Counter(switch for link in links for switch in link)
        self.assertEqual(len(set(links)), 32)
        # Eight at the edge, whose other ports are for hosts, eight for aggregation, four cores.
        self.assertEqual(degree, {**{n: 2 for n in range(1, 9)}, **{n: 4 for n in range(9, 21)}})
        # A core reaches each pod once.
        for core in range(17, 21):
            pods = sorted((low - 9) // 2 for low, high in links if high == core)
            self.assertEqual(pods, [0, 1, 2, 3])


if __name__ == "__main__":
    unittest.main()
