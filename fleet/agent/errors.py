"""What goes wrong on a device.

* AgentError
  + RefusedError    what the server said cannot be trusted or is not for this device; nothing was installed
    + TakenBackError  it was installed, failed its test, and was taken back
  + TransportError  the server cannot be reached, or answered that it cannot help now
  + AnswerError     the server refused a request; ``status`` says how
"""


class AgentError(Exception):
    """Something went wrong on this device."""


class RefusedError(AgentError):
    """An update, or a document about it, is refused; the running slot is untouched."""


class TakenBackError(RefusedError):
    """An image was swapped in and failed its test; what ran before runs again."""


class TransportError(AgentError):
    """The server cannot be reached; try again later."""


class AnswerError(AgentError):
    """The server refused a request."""

    def __init__(self, status: int, detail: str, tag: str = "", location: str = "") -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.tag, self.location = status, tag, location
