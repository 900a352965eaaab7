"""The fleet of the examples, for the tests here."""

from tests.conformance.ground import ground, hardware_model

__all__ = ["ground", "hardware_model"]
