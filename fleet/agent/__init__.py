"""The reference device agent. It talks to the server over the network only."""

from fleet.agent.agent import Agent
from fleet.agent.state import Settings

__all__ = ["Agent", "Settings"]
