"""What a device does on a word of its server: five fixed words, each with a budget of its own, never a shell.

The budget is kept here because the server may be in wrong hands: it can tell a device to reboot only so often.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TypedDict

from fleet.agent.state import State
from pki.kernel import clock

DAY = 86_400
#: word -> how often in 24 hours
BUDGET = {"reboot": 3, "identify": 20, "collect-log": 6, "re-attest": 6, "run-self-test": 12}
#: what was done is remembered for as long as a command can be good, a week: as many as the budgets allow in that time
MOST_REMEMBERED = 7 * sum(BUDGET.values())
LONGEST_RESULT = 500
#: how the result begins when a device that measures itself finds something else than it should run
MISMATCH = "mismatch"
#: answer to one word: done, failed or refused, and a short result
Answer = tuple[str, str]


class _Done(TypedDict):
    """A command that was done or begun: when (unix time), and how it went."""

    kind: str
    at: int
    state: str
    result: str


class Commands:
    """Does each command once.

    Args:
        state: remembers what was done, across restarts.
        acts: word -> what to do; it returns the result, or raises with the reason.
    """

    def __init__(self, state: State, acts: dict[str, Callable[[], str]]) -> None:
        self._state, self._acts = state, acts

    def obey(self, command: Mapping[str, object]) -> Answer:
        """Do a command that the director has signed; one that was done before is answered the same way again."""
        done: dict[str, _Done] = dict(self._state.get("commands", {}))
        identifier, kind = str(command["id"])[:36], str(command["kind"])
        if identifier in done:
            return str(done[identifier]["state"]), str(done[identifier]["result"])
        now = clock.unix()
        recent = [one for one in done.values() if one["kind"] == kind and one["at"] > now - DAY]
        # What is refused is not remembered: it must not push out what was done.
        if kind not in self._acts:
            return "refused", "this device does not know that word"
        if len(recent) >= BUDGET.get(kind, 0):
            return "refused", f"{kind} was done {len(recent)} times within a day; that is this device's budget"
        # Kept before it is done: a device that reboots in the middle must not reboot again when it is back.
        begun = ("done", "") if kind == "reboot" else ("failed", "it was interrupted")
        done[identifier] = {"kind": kind, "at": now, "state": begun[0], "result": begun[1]}
        self._keep(done)
        answer = self._do(kind)
        done[identifier] = {"kind": kind, "at": now, "state": answer[0], "result": answer[1]}
        self._keep(done)
        return answer

    def _do(self, kind: str) -> Answer:
        try:
            return "done", self._acts[kind]()[:LONGEST_RESULT]
        except Exception as error:  # noqa: BLE001  because whatever goes wrong is the answer
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
        """Return the end of the log, at most so many bytes."""
        return "\n".join(self._lines).encode()[-limit:].decode("utf-8", "ignore")
