"""Map each operation to its permission, so that the OpenAPI document lists the roles that may call it.

This is documentation only: services enforce permissions. A test calls every operation with every role and compares.
An operation that is not listed here only reads, and every role may call it. ``admin`` is one of the roles.
"""

from collections.abc import Mapping

from pki.kernel.permissions import Action, roles_for

#: method and path below ``/api/v1``, with ID for every id
ACTIONS: Mapping[str, Action] = {
    "PUT hardware-models/ID/runtime": Action.DESCRIBE_HARDWARE,
    "PUT hardware-models/ID/telemetry": Action.CLASSIFY_TELEMETRY,
    "POST hardware-models": Action.REGISTER_HARDWARE,
    "POST devices": Action.REGISTER_CHILD,
    "PATCH devices/ID": Action.DESCRIBE_DEVICE,
    "PATCH devices/ID/twin": Action.CONFIGURE_DEVICE,
    "GET devices/ID/logs": Action.READ_DEVICE_LOGS,
    "POST devices/ID/commands": Action.COMMAND_DEVICE,
    "POST devices/ID/quarantine": Action.QUARANTINE_DEVICE,
    "POST devices/ID/release": Action.END_QUARANTINE,
    "POST devices/ID/suspend": Action.SUSPEND_DEVICE,
    "POST devices/ID/resume": Action.RESUME_DEVICE,
    "POST devices/ID/return": Action.RETURN_DEVICE,
    "POST devices/ID/retire": Action.RETIRE_DEVICE,
    "POST devices/ID/decommission": Action.ERASE_DEVICE,
    "POST devices/ID/transfer": Action.OFFER_DEVICE,
    "POST devices/ID/board": Action.REPLACE_BOARD,
    "POST transfers": Action.TAKE_OVER_DEVICE,
    "POST commands/ID/cancel": Action.CANCEL_COMMAND,
    "POST groups": Action.CHANGE_GROUPS,
    "PATCH groups/ID": Action.CHANGE_GROUPS,
    "DELETE groups/ID": Action.CHANGE_GROUPS,
    "POST enrolment-tokens": Action.CREATE_ENROLMENT_TOKEN,
    "POST enrolment-tokens/ID/withdraw": Action.WITHDRAW_ENROLMENT_TOKEN,
    "POST enrolment-requests/ID/approve": Action.APPROVE_ENROLMENT,
    "POST enrolment-requests/ID/deny": Action.APPROVE_ENROLMENT,
    "POST expected-devices": Action.PREREGISTER_DEVICE,
    "POST vendors": Action.TRUST_VENDOR,
    "POST vendors/ID/distrust": Action.DISTRUST_VENDOR,
    "POST incidents/ID/close": Action.CLOSE_INCIDENT,
    "POST certificates/ID/revoke": Action.REVOKE_CERTIFICATE,
    "POST certificate-profiles": Action.DEFINE_PROFILE,
    "POST authorities/ID/switch": Action.SWITCH_AUTHORITY,
    "POST trust-keys": Action.MANAGE_TRUST_KEYS,
    "POST bundles": Action.UPLOAD_BUNDLE,
    "DELETE bundles/ID": Action.DELETE_BUNDLE,
    "POST releases": Action.RELEASE_BUNDLE,
    "POST releases/ID/withdraw": Action.WITHDRAW_RELEASE,
    "POST statements/ID/signatures": Action.SUBMIT_SIGNATURE,
    "POST statements/ID/publish": Action.PUBLISH_STATEMENT,
    "POST floors": Action.RAISE_FLOOR,
    "POST renewals": Action.RENEW_TARGETS,
    "POST rollouts": Action.CREATE_ROLLOUT,
    "POST rollouts/ID/start": Action.START_ROLLOUT,
    "POST rollouts/ID/pause": Action.PAUSE_ROLLOUT,
    "POST rollouts/ID/resume": Action.RESUME_ROLLOUT,
    "POST rollouts/ID/abort": Action.ABORT_ROLLOUT,
}


def roles_of(operation: str) -> list[str]:
    """Return the roles that may call an operation, in their usual order.

    Args:
        operation: method and path, as in ``ACTIONS``.
    """
    return [str(role) for role in roles_for(ACTIONS.get(operation, Action.READ))]
