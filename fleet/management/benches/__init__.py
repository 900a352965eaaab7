"""Benchmarks: each one measures, compares the result with a goal, and names the reference that it is compared with."""
