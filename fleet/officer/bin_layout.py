"""Check that a request puts everything where devices look for it: each path in its bin, each bin by its name."""

from collections.abc import Mapping

from tuf.api.metadata import Metadata, SuccinctRoles, Targets

from ota.contract.field_names import BIN_FIELD

Documents = Mapping[str, Metadata[Targets]]


def wrong(kind: str, documents: Documents, before: Documents) -> list[str]:
    """Return what is out of its place or missing, one sentence each.

    Args:
        kind: of the request.
        documents: to be signed, by role.
        before: what holds now: the same roles, and the targets in any case.
    """
    present = _bins(before)
    wanted = _bins(documents) if Targets.type in documents else present
    if present is None or wanted is None:
        return ["It does not say which bins there are."]
    found = [*_strays(before, present), *_strays(documents, wanted)]
    if kind == "renewal":
        return [*found, *_missing(documents, wanted), *_missing(before, present)]
    return found if present.to_dict() == wanted.to_dict() else [*found, "It changes the bins."]


def _bins(documents: Documents) -> SuccinctRoles | None:
    delegations = documents[Targets.type].signed.delegations if Targets.type in documents else None
    return delegations.succinct_roles if delegations else None


def _missing(documents: Documents, roles: SuccinctRoles) -> list[str]:
    whole = set(roles.get_roles()) | {Targets.type}
    return [] if set(documents) == whole else ["It speaks of some of the documents only."]


def _strays(documents: Documents, roles: SuccinctRoles) -> list[str]:
    names = set(roles.get_roles())
    return [trouble for role, one in documents.items() if (trouble := _stray(role, one.signed, roles, names))]


def _stray(role: str, signed: Targets, roles: SuccinctRoles, names: set[str]) -> str:
    if role == Targets.type:
        return "Its targets list something themselves." if signed.targets else ""
    if role not in names or signed.unrecognized_fields != {BIN_FIELD: role} or signed.delegations:
        return f"{role[:60]} is no bin of these targets, or not marked as such."
    if any(roles.get_role_for_target(path) != role for path in signed.targets):
        return f"{role} lists what belongs into another bin."
    return ""
