"""Errors of the agent.

* AgentError
  + RefusedError    an update or document is not trusted or not for this device; nothing was installed
    + TakenBackError  the image was installed, failed its test, and was rolled back
  + TransportError  the server cannot be reached, or is temporarily unavailable
  + AnswerError     the server refused a request; ``status`` is the status code
"""


class AgentError(Exception):
    """Base class of the agent's errors."""


class RefusedError(AgentError):
    """An update or its metadata is refused. The active slot is unchanged."""


class TakenBackError(RefusedError):
    """A new image failed its test. The previous image runs again."""


class TransportError(AgentError):
    """The server cannot be reached. The agent retries later."""


class AnswerError(AgentError):
    """The server refused a request."""

    def __init__(self, status: int, detail: str, tag: str = "", location: str = "") -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.tag, self.location = status, tag, location
