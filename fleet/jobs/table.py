"""The table of all periodic jobs. Each run does whatever is due, so that a missed run does no harm."""

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from devices.services import drift, presence_words, retention, tick_packing
from fleet.guard import reactions
from ota.services import commands, count_parts, deltas, online_roles, rollout_steps, rollouts, status_counts, storage
from pki.models import TrustDomain
from pki.services import changes, crls, ledger, ledger_nodes


@dataclass(frozen=True, slots=True)
class Job:
    """One periodic job.

    Args:
        name: part of its lease's name.
        seconds: interval between two runs.
        run: does what is due in one trust domain.
        server_wide: whether one run serves all domains; the argument of ``run`` is then any of them.
    """

    name: str
    seconds: float
    run: Callable[[TrustDomain], object]
    server_wide: bool = False


def list_jobs() -> tuple[Job, ...]:
    """Return all jobs."""
    return (
        Job("ledger", 1, _keep_ledger),
        Job("crls", 1, lambda domain: crls.publish_due(domain=domain)),
        Job("metadata", 30, lambda domain: online_roles.refresh_online_roles(domain=domain)),
        Job("rollouts", 1, lambda domain: rollouts.tick(domain=domain)),
        Job("rollout-steps", 1, lambda domain: rollout_steps.continue_steps(domain=domain)),
        Job("counts", 5, lambda domain: count_parts.add_up(domain=domain)),
        Job("recount", 60, lambda domain: status_counts.recount_next(domain=domain)),
        Job("presence", 2, lambda _domain: presence_words.keep_presence(), server_wide=True),
        Job("presence-check", 3600, lambda domain: presence_words.check_presence(domain=domain)),
        Job("drift", min(settings.FLEET_DRIFT_TICK_S, 60), lambda domain: drift.score_ticks(domain=domain)),
        Job("deltas", 5, lambda domain: deltas.make_missing_patch(domain=domain)),
        Job("commands", 15, lambda domain: commands.expire_commands(domain=domain)),
        Job("changes", 300, lambda _domain: changes.prune_changes(), server_wide=True),
        Job("blobs", 3600, lambda _domain: storage.collect_garbage(), server_wide=True),
        Job("packing", 3600, lambda domain: tick_packing.pack_past_days(domain=domain)),
        Job("retention", 3600, lambda domain: retention.apply_retention(domain=domain)),
        Job("heal", 1, lambda domain: reactions.release_repaired(domain=domain)),
    )


def _keep_ledger(domain: TrustDomain) -> None:
    """Put entries in order and sign the head; then compute some of what a log from before this version lacks."""
    ledger.sequence_leaves(domain=domain)
    ledger_nodes.fill_missing_nodes(domain=domain)
