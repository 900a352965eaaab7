"""One person counts once: keys are compared by value, however they are written, by server, officers' tool and device."""

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Key, Metadata, Root, Targets

from fleet.agent import roots
from fleet.agent.errors import RefusedError
from fleet.officer import keys
from fleet.officer import metadata as officer
from ota.errors import MetadataError
from ota.services import metadata
from ota.trust import documents, policy
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from pki.services import signing
from tests.factories.ground import system
from tests.regressions import regression

pytestmark = pytest.mark.django_db


def upper(text):
    return text.upper()


def crlf(text):
    return text.replace("\n", "\r\n")


def with_a_comment(text):
    return f"bruno's own key\n\n{text}\n"


def one_line_more(text):
    return text + "\n \n"


def forge(root, key, spelling, person="mallory", replacing="carla"):
    """Give the seat of one officer to another key id of a key that is there already."""
    facts = json.loads(json.dumps(key.to_dict()))
    facts["keyval"]["public"] = spelling(facts["keyval"]["public"])
    facts["x-muster-officer"] = person
    twin = Key.from_dict("f" * 64, facts)
    gone = [keyid for keyid, one in root.keys.items() if one.unrecognized_fields.get("x-muster-officer") == replacing]
    for role in ("root", "targets"):
        for keyid in gone:
            root.revoke_key(keyid, role)
        root.add_key(twin, role)
    return root


@pytest.fixture(params=["ed25519", "p256"])
def anna(request, workshop):
    """Return a workshop whose anna has a key of one kind."""
    if request.param == "p256":
        for path in workshop.folder.glob("anna.*"):
            path.unlink()
        keys.generate_key(workshop.folder, "anna", p256=True)
    workshop.ceremony()
    return workshop


def spellings(key):
    return [upper] if key.scheme == "ed25519" else [crlf, with_a_comment, one_line_more]


def signed_next(workshop, change):
    document = Metadata[Root].from_bytes(workshop.root)
    document.signed.version = 2
    change(document.signed)
    document.signatures.clear()
    return officer.sign_document(document, workshop.signers)


@regression("V1", "one key under a second id, name and spelling in the next root")
def test_a_key_in_another_spelling_takes_no_second_seat(anna, tmp_path):
    _, key = keys.load_officer(anna.folder / "anna.pub.json")
    for spelling in spellings(key):
        new = signed_next(anna, lambda root, spelling=spelling: forge(root, key, spelling))
        with pytest.raises(MetadataError, match="list one key twice"):
            metadata.install_root(actor=system(anna.domain), root=new)
        with pytest.raises(InvalidError, match="list one key twice"):
            officer.make_next_root(new, {})
        with pytest.raises(InvalidError, match="list one key twice"):
            officer.first_targets(new, anna.signers, 1)
        kept = roots.KeptRoots(tmp_path)
        kept.check_kept(anna.root)
        with pytest.raises(RefusedError, match="list one key twice"):
            kept.admit(new)


def a_server_key(line, domain, name):
    raw = next(iter(line.every_key(domain.slug, name).values()))
    return SSlibKey("e" * 64, "ed25519", "ed25519", {"public": raw.hex().upper()}, {"x-muster-officer": "dora"})


@regression("V1", "a server's online key, present or past, as an officer's")
def test_a_key_of_the_server_is_nobodys(published, tmp_path):
    line, root = signing.signer_client("admin"), published.root
    both = metadata.next_online_keys(actor=system(published.domain), names=["timestamp"])
    spare = SSlibKey.from_dict("d" * 64, {**json.loads(json.dumps(both["timestamp"][1])), "x-muster-officer": "dora"})
    dora = [a_server_key(line, published.domain, name) for name in ("snapshot", "director", "ledger")] + [spare]
    for key in dora:
        new = signed_next(published, lambda found, key=key: found.add_key(key, "targets"))
        with pytest.raises(MetadataError, match=r"online key may not sign targets|list one key twice"):
            metadata.install_root(actor=system(published.domain), root=new)
        kept = roots.KeptRoots(tmp_path)
        kept.check_kept(root)
        if key is not spare:
            with pytest.raises(RefusedError, match=r"online key may not sign targets|list one key twice"):
                kept.admit(new)


@regression("V1", "a certified key (device, CA) as an officer's")
def test_a_certified_key_is_nobodys(published, enrol):
    certificate = enrol("dev-1").certificate
    from cryptography import x509

    public = x509.load_der_x509_certificate(bytes(certificate.der)).public_key()
    key = SSlibKey.from_crypto(public)
    key.unrecognized_fields["x-muster-officer"] = "dora"
    new = signed_next(published, lambda root: root.add_key(key, "root"))
    with pytest.raises(MetadataError, match="may not sign root"):
        metadata.install_root(actor=system(published.domain), root=new)


@regression("V1", "two people of one name; a name with another case")
def test_people_of_one_name_are_one(published):
    keys.generate_key(published.folder, "Anna")
    _, other = keys.load_officer(published.folder / "Anna.pub.json")
    new = signed_next(published, lambda root: root.add_key(other, "targets"))
    with pytest.raises(MetadataError, match="different people"):
        metadata.install_root(actor=system(published.domain), root=new)


@regression("V1", "a second key of one person under a name that looks the same, that cannot be read, or none")
@pytest.mark.parametrize(
    "name", ["anna\u200b", "\u0430nna", "anna\ufe0f", "Anna.", "", None, 7, "dora\u3164", "a" * 61]
)
def test_a_second_key_of_one_person_takes_no_seat(published, tmp_path, name):
    other = CryptoSigner.generate_ed25519().public_key
    if name is not None:
        other.unrecognized_fields["x-muster-officer"] = name
    new = signed_next(published, lambda root: root.add_key(other, "targets"))
    with pytest.raises(MetadataError, match=r"different people|has no person|is refused"):
        metadata.install_root(actor=system(published.domain), root=new)
    if name != "dora\u3164":  # a new person by name; only the server and the officers' tool look at how it is spelt
        kept = roots.KeptRoots(tmp_path)
        kept.check_kept(published.root)
        with pytest.raises(RefusedError, match=r"different people|has no person"):
            kept.admit(new)


@regression("V1", "a key whose type or scheme is not that of its bytes")
def test_a_key_is_what_it_says(published):
    _, carla = keys.load_officer(published.folder / "carla.pub.json")
    pem = ec.generate_private_key(ec.SECP384R1()).public_key()
    text = pem.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    for facts in (
        {**carla.to_dict(), "keyval": {"public": text}},
        {**carla.to_dict(), "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": text}},
        {**carla.to_dict(), "keyval": {"public": "01" + "00" * 31}},
    ):
        odd = Key.from_dict("c" * 64, json.loads(json.dumps(facts)))
        new = signed_next(published, lambda root, odd=odd: root.add_key(odd, "targets"))
        with pytest.raises(MetadataError, match=r"is refused|list one key twice"):
            metadata.install_root(actor=system(published.domain), root=new)


@regression("V1", "a release signed twice with one key under two ids")
def test_signatures_are_counted_by_key(published):
    """Were such a root installed by an older version, nothing would be published under it."""
    private = keys.load_signer(published.folder / "anna.key")
    root = forge(Metadata[Root].from_bytes(published.root).signed, private.public_key, upper)
    targets = documents.renewed_document(
        Targets(version=1, delegations=documents.bin_delegations(root, 1)), 2, clock.now()
    )
    twin = CryptoSigner(private._private_key, root.keys["f" * 64])
    targets.sign(private, append=True)
    targets.sign(twin, append=True)
    assert root.get_verification_result("targets", targets.signed_bytes, targets.signatures)
    with pytest.raises(MetadataError, match="at least two officers"):
        policy.check_targets(root, targets)
    after = Metadata(Root(version=2, keys=root.keys, roles=root.roles, consistent_snapshot=True))
    after.sign(private, append=True)
    after.sign(twin, append=True)
    with pytest.raises(MetadataError, match="not signed by enough"):
        policy.check_root(after, Metadata(root), {}, clock.now())


@regression("V1", "a key that was online under an earlier root, on the device")
def test_a_device_remembers_which_keys_were_online(published, tmp_path):
    old = published.root
    both = metadata.next_online_keys(actor=system(published.domain), names=["timestamp"])
    fresh = officer.next_root(old, {"timestamp": [both["timestamp"][1]]}, published.signers)
    (tmp_path / "2.root.json").write_bytes(fresh)
    kept = roots.KeptRoots(tmp_path)
    kept.check_kept(old)
    facts = {**json.loads(json.dumps(both["timestamp"][0])), "x-muster-officer": "dora"}
    former = SSlibKey.from_dict("d" * 64, {name: one for name, one in facts.items() if name != "keyid"})
    document = Metadata[Root].from_bytes(fresh)
    document.signed.version = 3
    document.signed.add_key(former, "targets")
    with pytest.raises(RefusedError, match="is or was held by a server"):
        kept.admit(officer.sign_document(document, published.signers))
