"""Permissions: one table of actions and roles, and one function that all reads and writes call.

``permitted(actor, action, rows)`` returns the rows of a set that an actor may do an action to, and refuses an actor who
may not do it to any. Selectors cut what they show with it; services take from it what they change. A right that is
narrower than a trust domain (a scope of devices) is a further condition here, and nowhere else.
``docs/reference/permissions.md`` is written from ``RIGHTS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self, TypeVar

from pki.kernel.actor import Actor, ActorKind, Role
from pki.kernel.errors import DeniedError, NotFoundError


class Action(StrEnum):
    """The actions that roles permit or deny."""

    READ = "read"
    READ_DEVICE_LOGS = "read-device-logs"
    READ_PEOPLE = "read-people"
    READ_TOKENS_OF_OTHERS = "read-tokens-of-others"

    CREATE_DOMAIN = "create-domain"
    CREATE_OPERATOR = "create-operator"
    GRANT_ROLE = "grant-role"
    CREATE_SIGN_IN_LINK = "create-sign-in-link"
    APPROVE_RECOVERY = "approve-recovery"
    CREATE_TOKEN_FOR_OTHERS = "create-token-for-others"  # noqa: S105  because it is the name of an action
    REVOKE_TOKEN_OF_OTHERS = "revoke-token-of-others"  # noqa: S105  because it is the name of an action

    INSTALL_AUTHORITY = "install-authority"
    SWITCH_AUTHORITY = "switch-authority"
    RETIRE_AUTHORITY = "retire-authority"
    DEFINE_PROFILE = "define-profile"
    REVOKE_CERTIFICATE = "revoke-certificate"

    CREATE_ENROLMENT_TOKEN = "create-enrolment-token"  # noqa: S105  because it is the name of an action
    WITHDRAW_ENROLMENT_TOKEN = "withdraw-enrolment-token"  # noqa: S105  because it is the name of an action
    PREREGISTER_DEVICE = "preregister-device"
    APPROVE_ENROLMENT = "approve-enrolment"
    TRUST_VENDOR = "trust-vendor"
    DISTRUST_VENDOR = "distrust-vendor"

    REGISTER_HARDWARE = "register-hardware"
    DESCRIBE_HARDWARE = "describe-hardware"
    CLASSIFY_TELEMETRY = "classify-telemetry"
    REGISTER_CHILD = "register-child"
    DESCRIBE_DEVICE = "describe-device"
    CHOOSE_AUDIENCE = "choose-audience"
    CONFIGURE_DEVICE = "configure-device"
    CHANGE_GROUPS = "change-groups"

    QUARANTINE_DEVICE = "quarantine-device"
    END_QUARANTINE = "end-quarantine"
    SUSPEND_DEVICE = "suspend-device"
    RESUME_DEVICE = "resume-device"
    RETURN_DEVICE = "return-device"
    RETIRE_DEVICE = "retire-device"
    ERASE_DEVICE = "erase-device"
    REPLACE_BOARD = "replace-board"
    OFFER_DEVICE = "offer-device"
    TAKE_OVER_DEVICE = "take-over-device"
    OPEN_INCIDENT = "open-incident"
    CLOSE_INCIDENT = "close-incident"

    UPLOAD_BUNDLE = "upload-bundle"
    DELETE_BUNDLE = "delete-bundle"
    DELETE_SIGNED_BUNDLE = "delete-signed-bundle"
    RELEASE_BUNDLE = "release-bundle"
    WITHDRAW_RELEASE = "withdraw-release"
    SUBMIT_SIGNATURE = "submit-signature"
    PUBLISH_STATEMENT = "publish-statement"
    RAISE_FLOOR = "raise-floor"
    RENEW_TARGETS = "renew-targets"
    MANAGE_TRUST_KEYS = "manage-trust-keys"
    MANAGE_ONLINE_KEYS = "manage-online-keys"
    INSTALL_ROOT = "install-root"
    INSTALL_TARGETS = "install-targets"
    WRITE_CAMPAIGN = "write-campaign"

    CREATE_ROLLOUT = "create-rollout"
    START_ROLLOUT = "start-rollout"
    PAUSE_ROLLOUT = "pause-rollout"
    RESUME_ROLLOUT = "resume-rollout"
    HOLD_ROLLOUT = "hold-rollout"
    ABORT_ROLLOUT = "abort-rollout"
    FINISH_ROLLOUT = "finish-rollout"
    SET_TARGET = "set-target"
    CANCEL_ASSIGNMENT = "cancel-assignment"
    REPAIR_DEVICE = "repair-device"
    COMMAND_DEVICE = "command-device"
    CANCEL_COMMAND = "cancel-command"


@dataclass(frozen=True, slots=True)
class Right:
    """Who may do an action.

    Args:
        does: what the action does, as a phrase that begins with a verb.
        roles: one of which a person, or a person's API token, must hold.
    """

    does: str
    roles: frozenset[Role]


_ANYBODY = frozenset({Role.VIEWER})
_ADMIN = frozenset({Role.ADMIN})
_OPERATOR = frozenset({Role.OPERATOR})
_SECURITY = frozenset({Role.SECURITY_OFFICER})
_RELEASE = frozenset({Role.RELEASE_OFFICER})
_CARE = _OPERATOR | _SECURITY

#: every action, in the order in which the reference page shows them
RIGHTS: Mapping[Action, Right] = {
    Action.READ: Right("Read everything in the trust domain that is not listed below", _ANYBODY),
    Action.READ_DEVICE_LOGS: Right("Read the logs that devices send", _CARE),
    Action.READ_PEOPLE: Right("Read the list of users and their roles", _ADMIN),
    Action.READ_TOKENS_OF_OTHERS: Right("Read the API tokens of others; users can always read their own", _ADMIN),
    Action.CREATE_DOMAIN: Right("Create a trust domain, or change its host names", _ADMIN),
    Action.CREATE_OPERATOR: Right("Create an operator", _ADMIN),
    Action.GRANT_ROLE: Right("Grant a role", _ADMIN),
    Action.CREATE_SIGN_IN_LINK: Right("Create a link to set up or recover an account", _ADMIN),
    Action.APPROVE_RECOVERY: Right("Approve, as the second admin, the recovery of an account", _ADMIN),
    Action.CREATE_TOKEN_FOR_OTHERS: Right("Create an API token for another user", _ADMIN),
    Action.REVOKE_TOKEN_OF_OTHERS: Right("Revoke an API token of another user", _ADMIN),
    Action.INSTALL_AUTHORITY: Right("Request and install an issuing CA, its root, or a link between roots", _SECURITY),
    Action.SWITCH_AUTHORITY: Right("Switch issuance to another CA", _SECURITY),
    Action.RETIRE_AUTHORITY: Right("Stop issuance under a CA", _SECURITY),
    Action.DEFINE_PROFILE: Right("Create or change a certificate profile", _SECURITY),
    Action.REVOKE_CERTIFICATE: Right("Revoke a certificate", _SECURITY),
    Action.CREATE_ENROLMENT_TOKEN: Right("Create an enrolment token", _CARE),
    Action.WITHDRAW_ENROLMENT_TOKEN: Right("Withdraw an unused enrolment token", _CARE),
    Action.PREREGISTER_DEVICE: Right("Pre-register a device by serial number or key", _CARE),
    Action.APPROVE_ENROLMENT: Right("Approve or deny a pending enrolment", _CARE),
    Action.TRUST_VENDOR: Right("Trust a vendor's CA for first enrolments", _SECURITY),
    Action.DISTRUST_VENDOR: Right("Stop trusting a vendor's CA", _SECURITY),
    Action.REGISTER_HARDWARE: Right("Register a hardware model", _OPERATOR),
    Action.DESCRIBE_HARDWARE: Right("Set the runtime profile of a hardware model's firmware", _OPERATOR),
    Action.CLASSIFY_TELEMETRY: Right("Set the metrics that a hardware model may report", _CARE),
    Action.REGISTER_CHILD: Right("Register a device behind a gateway", _OPERATOR),
    Action.DESCRIBE_DEVICE: Right("Change site, owner, tags or gateway of a device", _OPERATOR),
    Action.CHOOSE_AUDIENCE: Right("Change the audience of a device: lab, canary, production", _OPERATOR),
    Action.CONFIGURE_DEVICE: Right("Change the desired configuration of a device", _OPERATOR),
    Action.CHANGE_GROUPS: Right("Create, change and delete groups", _OPERATOR),
    Action.QUARANTINE_DEVICE: Right("Quarantine a device", _CARE),
    Action.END_QUARANTINE: Right("End the quarantine of a device", _SECURITY),
    Action.SUSPEND_DEVICE: Right("Suspend a device", _SECURITY),
    Action.RESUME_DEVICE: Right("Resume a suspended device", _SECURITY),
    Action.RETURN_DEVICE: Right("Take a device out of service for repair or stock", _SECURITY),
    Action.RETIRE_DEVICE: Right("Retire a device permanently", _SECURITY),
    Action.ERASE_DEVICE: Right("Decommission a device and erase its personal data", _SECURITY),
    Action.REPLACE_BOARD: Right("Create a token for a replacement board of a device", _SECURITY),
    Action.OFFER_DEVICE: Right("Offer a device to another trust domain", _SECURITY),
    Action.TAKE_OVER_DEVICE: Right("Take over a device that another trust domain offers", _SECURITY),
    Action.OPEN_INCIDENT: Right("Open an incident or add a note to it; drift detection does this too", _SECURITY),
    Action.CLOSE_INCIDENT: Right("Close an incident with a verdict", _CARE),
    Action.UPLOAD_BUNDLE: Right("Upload a bundle", _OPERATOR | _RELEASE),
    Action.DELETE_BUNDLE: Right("Delete a bundle that was never published", _OPERATOR | _RELEASE),
    Action.DELETE_SIGNED_BUNDLE: Right("Delete a never-published bundle whose release an officer has signed", _RELEASE),
    Action.RELEASE_BUNDLE: Right("Prepare a release for officers to sign", _RELEASE),
    Action.WITHDRAW_RELEASE: Right("Withdraw a release", _RELEASE | _SECURITY),
    Action.SUBMIT_SIGNATURE: Right("Submit an officer's signature", _RELEASE),
    Action.PUBLISH_STATEMENT: Right("Publish what enough officers have signed", _RELEASE),
    Action.RAISE_FLOOR: Right("Prepare a higher security-counter floor for officers to sign", _RELEASE),
    Action.RENEW_TARGETS: Right("Prepare another year of the targets metadata for officers to sign", _RELEASE),
    Action.MANAGE_TRUST_KEYS: Right("Add and withdraw keys that verify images, and renew their CRLs", _SECURITY),
    Action.MANAGE_ONLINE_KEYS: Right("Create, prepare and switch the online keys of the update metadata", _SECURITY),
    Action.INSTALL_ROOT: Right("Install a root of the update metadata that officers signed", _SECURITY),
    Action.INSTALL_TARGETS: Right("Install the first targets metadata that officers signed", _SECURITY),
    Action.WRITE_CAMPAIGN: Right("Write the configuration bundle of a trust-anchor campaign", _SECURITY),
    Action.CREATE_ROLLOUT: Right("Create a rollout", _OPERATOR),
    Action.START_ROLLOUT: Right("Start a rollout", _OPERATOR),
    Action.PAUSE_ROLLOUT: Right("Pause a rollout", _OPERATOR),
    Action.RESUME_ROLLOUT: Right("Resume a paused or held rollout", _OPERATOR),
    Action.HOLD_ROLLOUT: Right("Hold a rollout that looks wrong", _OPERATOR),
    Action.ABORT_ROLLOUT: Right("Abort a rollout", _OPERATOR),
    Action.FINISH_ROLLOUT: Right("Finish a rollout; the server does this after the last wave", _OPERATOR),
    Action.SET_TARGET: Right("Set the target version of a component of a device; rollouts and repairs do this", _CARE),
    Action.CANCEL_ASSIGNMENT: Right("Cancel an assignment", _OPERATOR),
    Action.REPAIR_DEVICE: Right("Roll a device back to the bundle before its newest update", _CARE),
    Action.COMMAND_DEVICE: Right("Send a command to a device", _CARE),
    Action.CANCEL_COMMAND: Right("Cancel a command", _CARE),
}


class Rows(Protocol):
    """A set of objects in a database, as far as it can be narrowed."""

    def filter(self, **conditions: object) -> Self:
        """Return the rows that meet every condition."""


_Rows = TypeVar("_Rows", bound=Rows)
_Row_co = TypeVar("_Row_co", covariant=True)


class RowsOf(Rows, Protocol[_Row_co]):
    """A set of objects of one class."""

    def first(self) -> _Row_co | None:
        """Return one row, or None if there is none."""


class Stored(Protocol):
    """An object that was read from a database."""

    @property
    def pk(self) -> object:
        """Return its internal id."""


def roles_for(action: Action) -> tuple[Role, ...]:
    """Return the roles that allow an action; every role includes the rights of a viewer."""
    roles = RIGHTS[action].roles
    return tuple(role for role in Role if role in roles or Role.VIEWER in roles)


def may_do(actor: Actor, action: Action) -> bool:
    """Return whether an actor may do an action to anything: what a page asks before it shows a button."""
    roles = RIGHTS[action].roles
    if actor.kind is ActorKind.OPERATOR:
        return bool(actor.roles & roles or (Role.VIEWER in roles and actor.roles))
    return actor.is_system


def require_action(actor: Actor, action: Action) -> None:
    """Refuse an actor who may not do an action to any object; the system may do everything.

    Any role includes ``viewer``. ``admin`` includes no other role but that: a person who grants roles should not for
    that reason alone be able to release firmware.

    Raises:
        DeniedError: no role of the actor allows it.
    """
    if may_do(actor, action):
        return
    if actor.kind is not ActorKind.OPERATOR:
        msg = "Devices may not do this."
        raise DeniedError(msg)
    roles = sorted(RIGHTS[action].roles)
    msg = f"This needs the role {' or '.join(roles)}. Ask an admin to grant it."
    raise DeniedError(msg, wanted=roles)


def permitted_rows(actor: Actor, action: Action, rows: _Rows, domain: str = "domain") -> _Rows:
    """Return the rows that an actor may do an action to.

    Args:
        actor: who asks.
        action: what is meant to be done; reading is an action too.
        rows: of which some may belong to others.
        domain: name of the field that leads from a row to its trust domain.

    Raises:
        DeniedError: no role of the actor allows the action.
    """
    require_action(actor, action)
    return rows.filter(**{f"{domain}__slug": actor.domain})


def pick_one(rows: RowsOf[_Row_co], wanted: Stored) -> _Row_co:
    """Return an object as it is in the database now, if it is among those that ``permitted_rows`` returned.

    Args:
        rows: what may be changed; locked, when the caller changes it.
        wanted: the object, read earlier.

    Raises:
        NotFoundError: it is not among them; the message does not say whether it exists.
    """
    row = rows.filter(pk=wanted.pk).first()
    if row is None:
        msg = "This object no longer exists, or you may not change it."
        raise NotFoundError(msg)
    return row


def require_on(actor: Actor, action: Action, rows: RowsOf[_Row_co], wanted: Stored, domain: str = "domain") -> _Row_co:
    """Return an object that an actor may do an action to, as it is in the database now.

    Raises:
        DeniedError: no role of the actor allows the action.
        NotFoundError: the object is none that the actor may do it to.
    """
    return pick_one(permitted_rows(actor, action, rows, domain), wanted)
