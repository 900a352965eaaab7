"""The read model: views ask selectors, and selectors ask who asks."""

import ast

from tests.architecture import counts
from tests.architecture.sources import modules

#: selectors that say nothing of a domain's things to anybody, or are asked before it is known who asks
NOBODY_ASKS = {
    ("pki/selectors/domains.py", "get_domain"),
    ("pki/selectors/domains.py", "list_domains"),
    ("pki/selectors/domains.py", "known_domain"),
    ("pki/selectors/domains.py", "known_domains"),
    ("pki/selectors/certificates.py", "certificate_by_fingerprint"),
    ("pki/selectors/certificates.py", "standing_by_serial"),
    ("pki/selectors/trust.py", "authority_der"),
    ("devices/selectors/connections.py", "barred_fingerprints"),
    ("devices/selectors/enrolment.py", "vendor_identities"),
    ("devices/selectors/presence.py", "last_seen"),
    # Parts of a service's own work, for which the service has asked.
    ("ota/selectors/fitting.py", "released_counters"),
    ("ota/selectors/officers.py", "list_officers"),
    ("ota/selectors/predecessors.py", "models_before"),
    ("ota/selectors/predecessors.py", "published_before"),
    ("ota/selectors/predecessors.py", "uploaded_before"),
    ("ota/selectors/predecessors.py", "model_changes"),
    ("ota/selectors/signed.py", "hold_roots"),
    ("ota/selectors/signed.py", "newest_versions"),
    ("ota/selectors/signed.py", "is_fresh"),
    ("ota/selectors/patches.py", "count_outcomes"),
    ("ota/selectors/patches.py", "in_rollout"),
    ("ota/selectors/patches.py", "in_rollouts"),
    ("ota/selectors/patches.py", "switched_off"),
}
SCALARS = {"str", "int", "bool", "UUID", "datetime", "Iterable", "Sequence", "list"}


def test_views_check_no_role_and_ask_no_model():
    trees = counts.views()
    assert {name: counts.calls(trees, method) for name, method in counts.CALLS.items()} == {
        "role checks": [],
        "filters": [],
    }
    assert counts.managers(trees) == []
    assert counts.querysets(trees) == []


def test_every_selector_takes_who_asks_or_a_thing_that_was_asked_for():
    """A thing comes from a selector that asked; a slug, a name or an id could come from anywhere."""
    trees = {str(path): tree for path, tree in modules().items()}
    silent = set()
    for path, name, parameters in counts.selectors():
        if "finding" in path or "keyset" in path:
            continue
        function = next(one for one in trees[path].body if isinstance(one, ast.FunctionDef) and one.name == name)
        every = [*function.args.args, *function.args.kwonlyargs]
        things = [one for one in every if _first_name(one.annotation) not in SCALARS]
        if "actor" not in parameters and not things:
            silent.add((path, name))
    assert silent - NOBODY_ASKS == set()
    assert NOBODY_ASKS - {(path, name) for path, name, _ in counts.selectors()} == set()


def _first_name(annotation):
    if isinstance(annotation, ast.Subscript) and _first_name(annotation.value) in SCALARS:
        return _first_name(annotation.slice)
    if isinstance(annotation, ast.BinOp):
        annotation = annotation.left
    return annotation.id if isinstance(annotation, ast.Name) else ""
