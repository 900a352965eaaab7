"""The final state of the demo in numbers, read from the server, and whether it is the expected one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.management.quickstart.answers import DeviceRow, IncidentRow, RolloutRow, StoryFacts
from fleet.management.quickstart.ground import QuickstartSetUp
from fleet.management.quickstart.rest import Rest
from fleet.management.quickstart.story import FIRMWARE, MODEL, Cast, model_fits

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the start to the first console page and to the end."""

    to_console: float
    total: float


def summarise_demo(rest: Rest, ground: QuickstartSetUp, roles: Cast, times: Times) -> StoryFacts:
    """Return the final state."""
    devices: list[DeviceRow] = [row for row in rest.all("/devices?limit=500") if row["name"] in roles.devices]
    incidents: list[IncidentRow] = list(rest.all("/incidents?limit=500"))
    rollouts: list[RolloutRow] = [one for one in rest.all("/rollouts?limit=500") if one["name"] in {FIRMWARE, MODEL}]
    facts: StoryFacts = {
        "devices": len(roles.devices),
        "enrolled": sum(1 for row in devices if row["enrolled_at"]),
        "firmware_updated": _running(devices, "app", "1.2.4"),
        "model_updated": _running(devices, "model.wake", "2.5.0"),
        "refused_tampered": _refusals(rollouts),
        "incidents": len(incidents),
        "quarantined": sum(1 for incident in incidents if incident["reaction"].get("quarantined")),
        "released": sum(1 for incident in incidents if incident["reaction"].get("released")),
        "flagged": sorted({incident["device"] for incident in incidents if incident["reaction"].get("quarantined")}),
        "rollouts": [{"name": rollout["name"], "state": rollout["state"]} for rollout in rollouts],
        "seconds_to_console": round(times.to_console, 1),
        "seconds_total": round(times.total, 1),
        "operator_url": f"https://localhost:{ground.operator_port}/",
        "device_url": f"https://localhost:{ground.device_port}/",
    }
    facts["wrong"] = find_deviations(facts, roles)
    facts["ok"] = not facts["wrong"]
    return facts


def find_deviations(facts: StoryFacts, roles: Cast) -> list[str]:
    """Return the deviations from the expected final state."""
    devices = len(roles.devices)
    expected: dict[str, object] = {
        "enrolled": devices,
        # One device rejected the tampered image, one was rolled back.
        "firmware_updated": devices - 2,
        "model_updated": sum(1 for number in roles.devices.values() if model_fits(number)),
        "refused_tampered": 1,
        "quarantined": 1,
        "released": 1,
        "flagged": [roles.faulty],
    }
    seen: Mapping[str, object] = facts
    deviations = [
        f"{name} is {seen[name]}, expected {value}" for name, value in expected.items() if seen[name] != value
    ]
    deviations += [
        f"{rollout['name']} is {rollout['state']}" for rollout in facts["rollouts"] if rollout["state"] != "finished"
    ]
    if len(facts["rollouts"]) != 2:  # noqa: PLR2004  because the demo has a firmware and a model rollout
        deviations.append(f"there are {len(facts['rollouts'])} rollouts, expected 2")
    return deviations


def _running(devices: list[DeviceRow], component: str, version: str) -> int:
    parts = [row["reported"].get("components", {}).get(component, {}) for row in devices]
    return sum(1 for part in parts if part.get("version") == version and part.get("confirmed"))


def _refusals(rollouts: list[RolloutRow]) -> int:
    causes = [cause for rollout in rollouts for cause in rollout["progress"]["failures"]]
    return sum(failure["devices"] for failure in causes if "not the signed ones" in failure["cause"])
