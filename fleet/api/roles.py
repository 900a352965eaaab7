"""Which roles may call what, as the OpenAPI document says it.

Services decide; this table only tells people and programs. A test tries every operation with every role and compares.
What is not named here may be called by every role, and ``admin`` is one of them.
"""

from collections.abc import Mapping

from pki.kernel.actor import Role

_OPERATOR, _SECURITY, _RELEASE = Role.OPERATOR, Role.SECURITY_OFFICER, Role.RELEASE_OFFICER
EVERYBODY = tuple(Role)
#: method and path below ``/api/v1``, with every id as ID
ROLES: Mapping[str, tuple[Role, ...]] = {
    "PUT hardware-models/ID/runtime": (_OPERATOR,),
    "PUT hardware-models/ID/telemetry": (_OPERATOR, _SECURITY),
    "POST hardware-models": (_OPERATOR,),
    "POST devices": (_OPERATOR,),
    "PATCH devices/ID": (_OPERATOR,),
    "PATCH devices/ID/twin": (_OPERATOR,),
    "GET devices/ID/logs": (_OPERATOR, _SECURITY),
    "POST devices/ID/commands": (_OPERATOR, _SECURITY),
    "POST devices/ID/quarantine": (_OPERATOR, _SECURITY),
    "POST devices/ID/release": (_SECURITY,),
    "POST devices/ID/suspend": (_SECURITY,),
    "POST devices/ID/resume": (_SECURITY,),
    "POST devices/ID/return": (_SECURITY,),
    "POST devices/ID/retire": (_SECURITY,),
    "POST devices/ID/decommission": (_SECURITY,),
    "POST devices/ID/transfer": (_SECURITY,),
    "POST devices/ID/board": (_SECURITY,),
    "POST transfers": (_SECURITY,),
    "POST commands/ID/cancel": (_OPERATOR, _SECURITY),
    "POST groups": (_OPERATOR,),
    "PATCH groups/ID": (_OPERATOR,),
    "DELETE groups/ID": (_OPERATOR,),
    "POST enrolment-tokens": (_OPERATOR, _SECURITY),
    "POST enrolment-tokens/ID/withdraw": (_OPERATOR, _SECURITY),
    "POST enrolment-requests/ID/approve": (_OPERATOR, _SECURITY),
    "POST enrolment-requests/ID/deny": (_OPERATOR, _SECURITY),
    "POST expected-devices": (_OPERATOR, _SECURITY),
    "POST vendors": (_SECURITY,),
    "POST vendors/ID/distrust": (_SECURITY,),
    "POST incidents/ID/close": (_OPERATOR, _SECURITY),
    "POST certificates/ID/revoke": (_SECURITY,),
    "POST certificate-profiles": (_SECURITY,),
    "POST authorities/ID/switch": (_SECURITY,),
    "POST trust-keys": (_SECURITY,),
    "POST bundles": (_OPERATOR, _RELEASE),
    "DELETE bundles/ID": (_OPERATOR, _RELEASE),
    "POST releases": (_RELEASE,),
    "POST releases/ID/withdraw": (_RELEASE, _SECURITY),
    "POST statements/ID/signatures": (_RELEASE,),
    "POST statements/ID/publish": (_RELEASE,),
    "POST floors": (_RELEASE,),
    "POST renewals": (_RELEASE,),
    "POST rollouts": (_OPERATOR,),
    "POST rollouts/ID/start": (_OPERATOR,),
    "POST rollouts/ID/pause": (_OPERATOR,),
    "POST rollouts/ID/resume": (_OPERATOR,),
    "POST rollouts/ID/abort": (_OPERATOR,),
}
