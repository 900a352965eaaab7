"""The reference device agent: an honest device, which speaks only over the wire."""

from fleet.agent.agent import Agent
from fleet.agent.state import Settings

__all__ = ["Agent", "Settings"]
