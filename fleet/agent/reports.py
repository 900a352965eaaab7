"""Reports of a device: current components, trusted keys, state of its action."""

from collections.abc import Mapping

from fleet.agent import patches
from fleet.agent.state import StateFile
from pki.kernel import clock

LONGEST_REASON = 500


def report_payload(
    state: StateFile, runs: Mapping[str, object], action: int | None, status: str, reason: str
) -> dict[str, object]:
    """Return a report, to be signed by the device's key.

    Args:
        state: state of the device; provides the sequence number, the fork token and the audit-log head.
        runs: ``device``, ``components`` and ``anchors``.
        action: the reported action, if any.
        status: its status.
        reason: its reason, truncated.
    """
    payload: dict[str, object] = {
        **runs,
        "sequence": state.following("report_sequence"),
        "at": clock.unix(),
        "fork": bytes.fromhex(state.get("fork", "")),
        "appliers": patches.APPLIERS,
    }
    if head := state.get("ledger_head"):
        payload["head"] = head
    if action is not None:
        payload["action"] = action
    if status:
        payload |= {"state": status, "reason": reason[:LONGEST_REASON]}
    if (patched := state.get("patched")) and action == patched["action"]:
        payload["patch"] = {name: patched[name] for name in ("format", "trouble")}
    return payload
