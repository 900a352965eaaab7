"""Execute commands from the server: five fixed commands, each with its own rate limit, never a shell.

The device enforces the limits because the server may be compromised: it can reboot a device only so often.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypedDict

from fleet.agent.state import StateFile
from pki.kernel import clock

DAY = 86_400
#: command -> limit per 24 hours
BUDGET = {"reboot": 3, "identify": 20, "collect-log": 6, "re-attest": 6, "run-self-test": 12}
#: executed commands are remembered for a week, the longest validity of a command: as many as the limits allow
MOST_REMEMBERED = 7 * sum(BUDGET.values())
LONGEST_RESULT = 500
#: prefix of the result when a running image differs from the installed one
MISMATCH = "mismatch"
#: result of a command: done, failed or refused, and a short text
Answer = tuple[str, str]


class _Done(TypedDict):
    """An executed or started command: time (Unix), state and result."""

    kind: str
    at: int
    state: str
    result: str


class CommandRunner:
    """Execute each command once.

    Args:
        state: keeps executed commands across restarts.
        acts: command -> function that returns the result, or raises with the reason.
    """

    def __init__(self, state: StateFile, acts: dict[str, Callable[[], str]]) -> None:
        self._state, self._acts = state, acts

    def obey(self, command: Mapping[str, object]) -> Answer:
        """Execute a command that the director signed. Return the stored result if it was executed before."""
        done: dict[str, _Done] = dict(self._state.get("commands", {}))
        identifier, kind = str(command["id"])[:36], str(command["kind"])
        if identifier in done:
            return str(done[identifier]["state"]), str(done[identifier]["result"])
        now = clock.unix()
        recent = [value for value in done.values() if value["kind"] == kind and value["at"] > now - DAY]
        # Refused commands are not stored: they must not displace executed ones.
        if kind not in self._acts:
            return "refused", "this device does not support this command"
        if len(recent) >= BUDGET.get(kind, 0):
            return "refused", f"{kind} reached the limit of this device: {len(recent)} times in 24 hours"
        # Stored before it is executed, so that a device that reboots in the middle does not reboot again.
        begun = ("done", "") if kind == "reboot" else ("failed", "the command was interrupted")
        done[identifier] = {"kind": kind, "at": now, "state": begun[0], "result": begun[1]}
        self._keep(done)
        answer = self._do(kind)
        done[identifier] = {"kind": kind, "at": now, "state": answer[0], "result": answer[1]}
        self._keep(done)
        return answer

    def _do(self, kind: str) -> Answer:
        try:
            return "done", self._acts[kind]()[:LONGEST_RESULT]
        except Exception as error:  # noqa: BLE001  because every error becomes the result
            return "failed", str(error)[:LONGEST_RESULT]

    def _keep(self, done: dict[str, _Done]) -> None:
        newest = sorted(done.items(), key=lambda one: one[1]["at"])[-MOST_REMEMBERED:]
        self._state.put(commands=dict(newest))


class Ring(logging.Handler):
    """The last lines of the device's log, in memory."""

    def __init__(self, lines: int = 300) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=lines)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._lines.append(self.format(record)[:300])

    def text(self, limit: int) -> str:
        """Return the end of the log, at most this many bytes."""
        return "\n".join(self._lines).encode()[-limit:].decode("utf-8", "ignore")
