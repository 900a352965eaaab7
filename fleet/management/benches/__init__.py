"""Benchmarks: each measures, compares with the goal of its issue, and says what it was measured against."""
