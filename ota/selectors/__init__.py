"""Queries of the ota package. Nothing here writes, and nothing reads beyond one domain."""
