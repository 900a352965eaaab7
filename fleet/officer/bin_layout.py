"""Check the layout of a signing request: each path in its hash bin, each bin under its own name."""

from collections.abc import Mapping

from tuf.api.metadata import Metadata, SuccinctRoles, Targets

from ota.contract.field_names import BIN_FIELD

Documents = Mapping[str, Metadata[Targets]]


def find_misplaced(kind: str, documents: Documents, before: Documents) -> list[str]:
    """Return misplaced and missing entries, one sentence each.

    Args:
        kind: kind of the signing request.
        documents: the documents to sign, by role.
        before: the current documents of the same roles, and always the current targets.
    """
    present = _bins(before)
    layout = _bins(documents) if Targets.type in documents else present
    if present is None or layout is None:
        return ["Its targets do not define the hash bins."]
    troubles = [*_bin_troubles(before, present), *_bin_troubles(documents, layout)]
    if kind == "renewal":
        return [*troubles, *_missing(documents, layout), *_missing(before, present)]
    return troubles if present.to_dict() == layout.to_dict() else [*troubles, "It changes the layout of the hash bins."]


def _bins(documents: Documents) -> SuccinctRoles | None:
    delegations = documents[Targets.type].signed.delegations if Targets.type in documents else None
    return delegations.succinct_roles if delegations else None


def _missing(documents: Documents, roles: SuccinctRoles) -> list[str]:
    whole = set(roles.get_roles()) | {Targets.type}
    return [] if set(documents) == whole else ["A renewal must include the targets and all hash bins."]


def _bin_troubles(documents: Documents, roles: SuccinctRoles) -> list[str]:
    names = set(roles.get_roles())
    return [
        trouble
        for role, document in documents.items()
        if (trouble := _bin_trouble(role, document.signed, roles, names))
    ]


def _bin_trouble(role: str, signed: Targets, roles: SuccinctRoles, names: set[str]) -> str:
    if role == Targets.type:
        return "Its targets list files directly; only hash bins may list files." if signed.targets else ""
    if role not in names or signed.unrecognized_fields != {BIN_FIELD: role} or signed.delegations:
        return f"{role[:60]} is not a hash bin of these targets, or carries another bin's name."
    if any(roles.get_role_for_target(path) != role for path in signed.targets):
        return f"{role} lists a path that belongs to another hash bin."
    return ""
