"""python3 -m unittest discover -s tools/bench -t tools"""

import unittest

from bench.generator import complaint
from bench.page import replaced
from bench.series import back, lowest, recovered, spread


class Series(unittest.TestCase):
    """Figures from lines of time."""

    def test_spread(self):
        self.assertEqual(spread([3, 1, 2]), "2 (1 to 3)")
        self.assertEqual(spread([1.234], "{:.1f}"), "1.2")

    def test_recovered(self):
        usual, slow, lost = [10, 10, 0, 4000.0], [10, 10, 0, 8001.0], [10, 9, 1, 5.0]
        before = [usual] * 19 + [slow] + [slow] * 20
        self.assertEqual(recovered(before + [usual] * 20, 0.05, (1, 2)), 0)
        self.assertAlmostEqual(recovered(before + [usual, lost, slow] + [usual] * 10, 0.05, (1, 2)), 0.15)
        self.assertIsNone(recovered(before + [lost] * 20, 0.05, (1, 2)))
        # Too few good ones in a row.
        self.assertIsNone(recovered(before + [slow] + [usual] * 9, 0.05, (1, 2)))

    def test_back(self):
        samples = [100] * 10 + [0] * 5 + [50, 90, 110, 80, 100, 100, 100]
        self.assertAlmostEqual(back(samples, 0.01, 100, 0.1), 0.06)
        self.assertEqual(back([100] * 10, 0.01, 100, 0.015), 0)
        self.assertIsNone(back([100] * 10 + [0] * 10, 0.01, 100, 0.1))

    def test_lowest(self):
        self.assertEqual(lowest([4, 0, 2, 4], 2), 1)


class Complaint(unittest.TestCase):
    """Results that are wrong."""

    GOOD = {"disconnects": 0, "errors": 0, "bad_version": 0, "lost": 0, "unanswered": 0, "responses": 1, "mode": "rate", "gone": []}

    def test_complaint(self):
        self.assertEqual(complaint(self.GOOD), "")
        self.assertEqual(complaint({**self.GOOD, "lost": 2}), "2 lost")
        self.assertEqual(complaint({**self.GOOD, "lost": 2}, loss=False), "")
        self.assertEqual(complaint({**self.GOOD, "lost": 2}, told=2), "")
        self.assertEqual(complaint({**self.GOOD, "lost": 2}, told=1), "2 lost, 1 told as dropped")
        self.assertEqual(complaint({**self.GOOD, "responses": 0}), "no answer")
        self.assertEqual(complaint({**self.GOOD, "responses": 0, "mode": "idle"}), "")
        self.assertEqual(complaint({**self.GOOD, "gone": ["morphd"], "errors": 1}), "1 errors, ended: morphd")


class Page(unittest.TestCase):
    """The part of the page that is written."""

    def test_replaced(self):
        page = "a\n<!-- begin of make bench -->\nold\n<!-- end of make bench -->\nb\n"
        want = "a\n<!-- begin of make bench -->\n\nnew\n\n<!-- end of make bench -->\nb\n"
        self.assertEqual(replaced(page, "new\n"), want)
        with self.assertRaises(ValueError):
            replaced("a", "new\n")


if __name__ == "__main__":
    unittest.main()
