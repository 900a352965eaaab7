"""Refuse a configuration that would remove something by omission: the root of this server, the address, orders."""

from collections.abc import Mapping

from ota.errors import RefusedBundleError
from ota.facts import BundleFacts
from ota.services import campaigns
from pki import selectors as ground
from pki.kernel.actor import Actor
from pki.kernel.errors import InvalidError
from pki.models import Authority


def demand_configuration(actor: Actor, facts: BundleFacts) -> None:
    """Refuse a configuration after which devices could not be reached as they are now.

    Args:
        actor: who uploads it.
        facts: what was read of it: ``anchors``, ``server`` and ``orders``.

    Raises:
        RefusedBundleError: its anchors name no root of this domain.
        InvalidError: it omits the address, or an order, that the current configuration sets.
    """
    _demand_way_back(actor, facts["anchors"])
    _demand_address(actor.domain, facts["server"])
    _demand_orders(actor.domain, facts["orders"])


def _demand_way_back(actor: Actor, anchors: list[str]) -> None:
    """Refuse anchors without the root of an issuing CA of this server: devices could not reach it any more."""
    issuing = [row for row in ground.list_authorities(actor=actor) if row.kind == Authority.Kind.ISSUING and row.parent]
    ours = {row.parent.fingerprint for row in issuing if row.state == Authority.State.ACTIVE and row.parent}
    if not ours & set(anchors):
        msg = "The anchors include no root of this domain's CAs, so devices would no longer trust this server."
        raise RefusedBundleError(msg)


def _demand_address(slug: str, server: str | None) -> None:
    """Refuse a configuration that would reset devices to the factory's address by omission."""
    if server is None and (now := campaigns.server_in_force(slug)):
        msg = (
            f"The current configuration sends devices to {now}. "
            'Repeat `server`, or set it to "" for the factory\'s address.'
        )
        raise InvalidError(msg)


def _demand_orders(slug: str, told: Mapping[str, object]) -> None:
    """Refuse a configuration that would remove an order by omission."""
    if forgotten := sorted(set(campaigns.orders_in_force(slug)) - set(told)):
        msg = f"The current configuration sets `{forgotten[0]}`. Repeat it, or set it to an empty value to clear it."
        raise InvalidError(msg)
