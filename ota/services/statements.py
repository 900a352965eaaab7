"""Signing requests for officers, their signatures, and publication by these signatures only."""

import json
from collections.abc import Mapping

from django.db import transaction
from django.db.models import QuerySet
from tuf.api.metadata import Root

from ota.contract import suit
from ota.contract.root_keys import THRESHOLD
from ota.errors import MetadataError, ReleaseStateError
from ota.models import Release, Statement, StatementSignature
from ota.selectors import statements as rows
from ota.services import backsteps, metadata, online_roles, successors
from ota.trust import documents, policy, prepared
from ota.trust.prepared import Documents, PreparedRequest
from ota.trust.repository import Repository, manifest_name
from pki import selectors as ground
from pki.kernel import clock
from pki.kernel.actor import Actor
from pki.kernel.permissions import Action, permitted_rows, pick_one
from pki.services import journal, ledger

Kind, State = Statement.Kind, Statement.State
#: the release's state and its audit-log action after a statement is published
_ENDS: Mapping[str, tuple[str, str]] = {
    Kind.RELEASE: (Release.State.PUBLISHED, "release.published"),
    Kind.WITHDRAWAL: (Release.State.WITHDRAWN, "release.withdrawal-published"),
}


def write_statement(
    *, actor: Actor, kind: Statement.Kind, summary: str, request: PreparedRequest, release: Release | None = None
) -> Statement:
    """Store a signing request; an older unpublished one about the same object becomes stale.

    The caller has checked the actor and holds a transaction.
    """
    older = Statement.objects.filter(domain__slug=actor.domain, kind=kind, release=release, state=State.PREPARED)
    if release is None:
        older = older.filter(summary=summary[:300])
    older.update(state=State.STALE)
    statement = Statement.objects.create(
        domain=ground.get_domain(actor.domain),
        kind=kind,
        release=release,
        summary=summary[:300],
        paper=json.dumps(request.to_json(), separators=(",", ":")).encode(),
        digest=request.digest,
    )
    detail = {
        "kind": kind,
        "summary": summary[:300],
        "digest": statement.digest,
        "documents": sorted(request.documents),
    }
    ledger.record(actor=actor, action="statement.prepared", thing=("statement", statement.public_id), detail=detail)
    return statement


def submit(*, actor: Actor, statement: Statement, signature: bytes) -> StatementSignature:
    """Take one officer's signatures, made with ``muster-sign`` on the officer's own machine.

    Args:
        actor: who submits it; need not be the officer.
        statement: what was signed.
        signature: the ``signature.json`` that ``muster-sign`` wrote.

    Raises:
        MetadataError: it is malformed, for another statement, by a stranger's key, or wrong.
        ReleaseStateError: the statement is not waiting for signatures.
    """
    signable = permitted_rows(actor, Action.SUBMIT_SIGNATURE, Statement.objects.all())
    given = prepared.parse_signature(signature)
    with transaction.atomic():
        statement = _locked(signable, statement)
        if given.statement != str(statement.public_id):
            msg = "This signature is for another statement."
            raise MetadataError(msg)
        if statement.state != State.PREPARED:
            msg = f"The statement is {statement.state} and accepts no more signatures."
            raise ReleaseStateError(msg)
        officer = _verify(_root(actor.domain), rows.request_of(statement), given)
        kept, created = StatementSignature.objects.get_or_create(
            statement=statement, keyid=given.keyid, defaults={"officer": officer, "sigs": dict(given.sigs)}
        )
        if created:
            ledger.record(
                actor=actor,
                action="statement.signed",
                thing=("statement", statement.public_id),
                detail={"officer": officer, "keyid": given.keyid, "digest": statement.digest},
            )
    return kept


def publish(*, actor: Actor, statement: Statement) -> Statement:
    """Publish documents that two different officers signed; the signatures decide, not a row.

    Raises:
        MetadataError: not enough different officers signed.
        StaleReleaseError: another statement about the same targets was published since this one was prepared.
        ReleaseStateError: another signing request has taken its place, or the release was withdrawn.
        RefusedBundleError: version or counter go back by now, and the bundle does not acknowledge that.
    """
    publishable = permitted_rows(actor, Action.PUBLISH_STATEMENT, Statement.objects.all())
    with transaction.atomic():
        statement = _locked(publishable, statement)
        if statement.state == State.PUBLISHED:
            return statement
        _demand_waiting(statement)
        _demand_acknowledged(statement)
        request, given = rows.request_of(statement), list(statement.signatures.all())
        for signature in given:
            for role in request.documents:
                documents.attach_signature(request.documents[role], signature.keyid, signature.sigs[role])
        metadata.publish_metadata(
            domain=statement.domain, given=request.documents, bases=request.bases, exhibits=_bundles(request)
        )
        _publish_manifests(statement, request, given)
        statement.state, statement.published_at = State.PUBLISHED, clock.now()
        statement.save(update_fields=["state", "published_at"])
        journal.append_fact("targets-published", domain=actor.domain, release=_release_key(statement))
        _record(actor, statement, sorted({signature.officer for signature in given}))
    return statement


def statement_repository(slug: str) -> Repository:
    """Return the repository, for which signing requests can be made.

    Raises:
        ReleaseStateError: there is none yet.
    """
    store = online_roles.published_repository(slug)
    targets = store.targets()
    if targets is None or not targets.signed.delegations:
        msg = "There is no TUF repository yet. Install root and targets first (`manage.py release root`)."
        raise ReleaseStateError(msg)
    return store


def follows_documents(statement: Statement, held: Documents) -> bool:
    """Return whether a statement changes exactly these documents in these versions."""
    return rows.request_of(statement).bases == {role: document.signed.version for role, document in held.items()}


def _verify(root: Root, request: PreparedRequest, given: prepared.OfficerSignature) -> str:
    """Check an officer's signatures over all documents of a signing request; return the officer's name."""
    payloads = {role: document.signed_bytes for role, document in request.documents.items()}
    if policy.is_p256(root, given.keyid):
        payloads |= {role: suit.to_be_signed(manifest) for role, manifest in request.manifests().items()}
    if set(given.sigs) != set(payloads):
        msg = f"The statement has these documents to sign by this key: {', '.join(sorted(payloads))}."
        raise MetadataError(msg)
    return {policy.verify_one(root, given.keyid, given.sigs[role], payload) for role, payload in payloads.items()}.pop()


def _publish_manifests(statement: Statement, request: PreparedRequest, given: list[StatementSignature]) -> None:
    """Put a SUIT envelope in place for each hardware class, where enough officers have P-256 keys."""
    store = online_roles.published_repository(statement.domain.slug)
    for role, manifest in request.manifests().items():
        signed = {
            signature.officer: suit.raw_signature(bytes.fromhex(signature.sigs[role]))
            for signature in given
            if role in signature.sigs
        }
        if len(signed) >= THRESHOLD and statement.release is not None:
            name = manifest_name(statement.release.bundle.digest, role.removeprefix("suit-"))
            store.publish(name, suit.suit_envelope(manifest, [signed[officer] for officer in sorted(signed)]))


def _bundles(request: PreparedRequest) -> list[str]:
    """Return the exhibits that devices fetch: each ``bundle.json`` that a document names."""
    named = {
        target.hashes["sha256"]
        for document in request.documents.values()
        for target in document.signed.targets.values()
    }
    return [text for digest, text in request.exhibits.items() if digest in named]


def _demand_acknowledged(statement: Statement) -> None:
    """Compare a release with what was published since it was prepared, unless devices are given it already."""
    release = statement.release
    if statement.kind == Kind.RELEASE and release is not None and not online_roles.is_listed(release.bundle):
        backsteps.demand_acknowledged_backsteps(release.bundle)
        successors.demand_acknowledged_changes(release.bundle)


def _demand_waiting(statement: Statement) -> None:
    if statement.state == State.STALE:
        msg = "This signing request was replaced by another one. Sign and publish that."
        raise ReleaseStateError(msg)
    withdrawn = statement.release is not None and statement.release.state == Release.State.WITHDRAWN
    if withdrawn and statement.kind == Kind.RELEASE:
        msg = "The release was withdrawn. Upload the bundle under a new version to release it again."
        raise ReleaseStateError(msg)


def _record(actor: Actor, statement: Statement, officers: list[str]) -> None:
    """Update the release by its statement, and record both."""
    release = statement.release
    detail: dict[str, object] = {"kind": statement.kind, "digest": statement.digest, "officers": officers}
    ledger.record(actor=actor, action="statement.published", thing=("statement", statement.public_id), detail=detail)
    if release is None:
        return
    state, act = _ENDS[statement.kind]
    release.state = state
    if state == Release.State.PUBLISHED:
        release.published_at = statement.published_at
    release.save(update_fields=["state", "published_at"])
    bundle = release.bundle
    detail = {"bundle": bundle.digest, "officers": officers}
    detail["uploaded_by"] = f"{bundle.uploaded_by_kind}:{bundle.uploaded_by_key}"
    ledger.record(actor=actor, action=act, thing=("release", release.public_id), detail=detail)


def _release_key(statement: Statement) -> str:
    return str(statement.release.public_id) if statement.release else ""


def _root(slug: str) -> Root:
    document = online_roles.published_repository(slug).root()
    if document is None:
        msg = "There is no TUF root yet. Install one first (`manage.py release root`)."
        raise ReleaseStateError(msg)
    return document.signed


def _locked(among: QuerySet[Statement], statement: Statement) -> Statement:
    related = among.select_related("domain", "release", "release__bundle")
    return pick_one(related.select_for_update(of=("self",)), statement)
