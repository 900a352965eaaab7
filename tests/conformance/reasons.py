"""Operations that may refuse what their schema allows, each with the rule that no JSON Schema can say.

The check ``positive_data_acceptance`` stays on for them, with 422 among the statuses that it expects, and 400 for text
with characters that no database takes, at which the reader of JSON ends. All other
operations have to accept whatever their schema allows.
"""

_NAME = "names hold no controls, directions or spaces alone, in Unicode's composed form"
_THING = "a filter names a thing that must exist"
_TEXT = "texts hold no controls, directions or spaces alone"
_PEM = "a PEM block that holds a certificate or a key"

RULES = {
    "GET /api/v1/assignments": _THING,
    "GET /api/v1/certificates": _THING,
    "GET /api/v1/commands": _THING,
    "GET /api/v1/devices": f"{_THING}; and the query language has its own grammar",
    "GET /api/v1/incidents": _THING,
    "GET /api/v1/ledger/consistency/{old}": "the older tree is no larger than the newest one",
    "PATCH /api/v1/devices/{public_id}": f"{_NAME}; tags have a grammar; a gateway must exist",
    "PATCH /api/v1/devices/{public_id}/twin": "the members of a configuration are a list of their own, with bounds",
    "PATCH /api/v1/groups/{public_id}": "names of devices that must exist, for groups without a query",
    "POST /api/v1/bundles": "bundle.json has a schema of its own, and lists the files",
    "POST /api/v1/certificate-profiles": "names of key types, proofs and CAs that must exist; days that fit one another",
    "POST /api/v1/certificates/{fingerprint}/revoke": "whether renewals go too depends on the reason",
    "POST /api/v1/devices": "names of a hardware model and a gateway that must exist; " + _NAME,
    "POST /api/v1/devices/{public_id}/commands": _TEXT,
    "POST /api/v1/devices/{public_id}/decommission": "the device's own name, typed again",
    "POST /api/v1/devices/{public_id}/quarantine": _TEXT,
    "POST /api/v1/devices/{public_id}/release": _TEXT,
    "POST /api/v1/enrolment-requests/{public_id}/approve": _TEXT,
    "POST /api/v1/enrolment-requests/{public_id}/deny": _TEXT,
    "POST /api/v1/enrolment-tokens": "names of a hardware model and a profile that must exist; " + _NAME,
    "POST /api/v1/expected-devices": "names of a hardware model and a profile that must exist; " + _NAME,
    "POST /api/v1/floors": "names of a hardware model that must exist; " + _NAME,
    "POST /api/v1/groups": f"the query language has its own grammar; {_NAME}",
    "POST /api/v1/hardware-models": f"a vendor is a domain name; {_NAME}",
    "POST /api/v1/me/tokens": _NAME,
    "POST /api/v1/releases": "a bundle that must exist",
    "POST /api/v1/releases/{public_id}/withdraw": _TEXT,
    "POST /api/v1/renewals": "bins become more, never fewer, and their names no longer than they are now",
    "POST /api/v1/rollouts": "waves that grow to the whole, a release that must exist, a query with its own grammar",
    "POST /api/v1/statements/{public_id}/signatures": "signatures over the documents of this very statement",
    "POST /api/v1/transfers": "a code that another trust domain has made",
    "POST /api/v1/trust-keys": _PEM,
    "POST /api/v1/vendors": _PEM,
    "PUT /api/v1/hardware-models/{public_id}/runtime": "a runtime has a schema of its own",
    "PUT /api/v1/hardware-models/{public_id}/telemetry": "names of metrics have a grammar, and classes are three words",
}
