"""Benchmark of the packet path: scripts/bench."""
