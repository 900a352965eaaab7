"""``python -m fleet.officer``: create keys, certify CAs, and sign TUF metadata and releases."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from fleet.officer import authority, describe, keys, metadata, root_summary
from fleet.officer.signing_requests.compare import check_request
from fleet.officer.signing_requests.read import SigningRequest, read_request
from fleet.officer.signing_requests.sign import remember_versions, seen_versions, sign_request
from fleet.officer.token import TokenKeyAddress
from ota.contract import root_keys
from pki.kernel import canonical, clock, files
from pki.kernel.errors import ConflictError, DomainError, InvalidError

MAX_JSON = 256 * 1024


def main() -> int:
    """Run one command. Return 0 on success and 1 when the command is refused."""
    given = _parser().parse_args()
    try:
        given.run(given)
    except (DomainError, OSError, ValueError, KeyError) as error:
        print(f"muster-sign: {getattr(error, 'detail', error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muster-sign", description="Create keys, certify CAs, and sign TUF metadata and releases."
    )
    acts = parser.add_subparsers(required=True)

    def act(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        subparser = acts.add_parser(name, help=text)
        subparser.set_defaults(run=run)
        return subparser

    subparser = act("keygen", _keygen, "create an officer's key pair")
    subparser.add_argument("--out", type=Path, required=True, help="folder for the key pair")
    subparser.add_argument("--name", required=True, help="name of the officer")
    subparser.add_argument("--p256", action="store_true", help="P-256 key, which can also sign SUIT manifests")
    subparser.add_argument("--pkcs11", metavar="MODULE", default="", help="create it in a PKCS#11 token: library path")
    subparser.add_argument("--token", default="", help="label of the token; requires --pkcs11")
    subparser = act("ca-root", _ca_root, "create the offline root CA")
    subparser.add_argument("--out", type=Path, required=True, help="folder for the root CA")
    subparser.add_argument("--name", required=True, help="common name of the root CA")
    subparser = act("ca-issue", _ca_issue, "certify an issuing CA from its certificate request")
    subparser.add_argument("--root", type=Path, required=True, help="folder of the root CA")
    subparser.add_argument("--csr", type=Path, required=True, help="certificate request of the issuing CA")
    subparser.add_argument("--permit-dns", action="append", default=[], help="restrict the CA to this DNS subtree")
    subparser.add_argument("--out", type=Path, required=True, help="file for the certificate")
    subparser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    subparser = act("ca-cross", _ca_cross, "cross-certify another root CA for a rollover")
    subparser.add_argument("--root", type=Path, required=True, help="folder of the root CA that signs")
    subparser.add_argument("--other", type=Path, required=True, help="certificate of the other root CA")
    subparser.add_argument("--out", type=Path, required=True, help="file for the cross-certificate")
    subparser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    _signing(act)
    _requests(act)
    return parser


def _signing(act: Callable[..., argparse.ArgumentParser]) -> None:
    subparser = act("tuf-root", _tuf_root, "create and sign the first TUF root")
    subparser.add_argument(
        "--officer", type=Path, action="append", required=True, help="public key file of an officer; may be repeated"
    )
    subparser.add_argument("--online", type=Path, required=True, help="output of `manage.py release online-keys`")
    subparser.add_argument(
        "--key", type=Path, action="append", required=True, help="key file of an officer; may be repeated"
    )
    subparser.add_argument("--out", type=Path, required=True, help="file for the signed root")
    subparser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    subparser = act(
        "tuf-next-root", _tuf_next_root, "create and sign the next TUF root, with new online keys or new officers"
    )
    subparser.add_argument("--root", type=Path, required=True, help="the current TUF root")
    subparser.add_argument("--online", type=Path, help="output of `manage.py release online-keys --next`")
    text = "public key file of each officer of the new root; omit it to keep the current officers"
    subparser.add_argument("--officer", type=Path, action="append", default=[], help=text)
    subparser.add_argument(
        "--key", type=Path, action="append", required=True, help="key file of an officer; may be repeated"
    )
    subparser.add_argument("--out", type=Path, required=True, help="file for the signed root")
    subparser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    subparser = act("tuf-targets", _tuf_targets, "create and sign the first TUF targets and their hash bins")
    subparser.add_argument("--root", type=Path, required=True, help="the TUF root that lists the officers")
    subparser.add_argument(
        "--key", type=Path, action="append", required=True, help="key file of an officer; may be repeated"
    )
    subparser.add_argument("--bits", type=int, default=8, choices=range(1, 15), help="2 ** BITS hash bins (default: 8)")
    subparser.add_argument("--out", type=Path, required=True, help="file for the signed targets and bins")
    subparser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    subparser = act("show-root", _show_root, "show the officers and keys of a TUF root, and what changes")
    subparser.add_argument("shown", type=Path, help="file of the TUF root")
    subparser.add_argument("--root", type=Path, help="your own copy of the previous root")


def _requests(act: Callable[..., argparse.ArgumentParser]) -> None:
    subparser = act("show", _show, "show what a signing request changes")
    subparser.add_argument("prepared", type=Path, help="file of the signing request")
    _proofs(subparser)
    subparser = act("sign", _sign, "sign a signing request: a release, a withdrawal, counter floors or a renewal")
    subparser.add_argument("--key", type=Path, required=True, help="key file of the officer")
    subparser.add_argument("--in", dest="prepared", type=Path, required=True, help="file of the signing request")
    subparser.add_argument("--out", type=Path, required=True, help="file for the signature")
    subparser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    _proofs(subparser)


def _proofs(parser: argparse.ArgumentParser) -> None:
    text = "your own copy of the newest TUF root, which verifies the current metadata"
    parser.add_argument("--root", type=Path, required=True, help=text)
    parser.add_argument("--former-root", type=Path, action="append", default=[], help="once after officers changed")
    parser.add_argument("--bundle", type=Path, help="your own copy of the bundle, compared with the release")


def _keygen(given: argparse.Namespace) -> None:
    address = TokenKeyAddress(given.pkcs11, given.token, given.name) if given.pkcs11 else None
    path = keys.generate_key(given.out, given.name, p256=given.p256, address=address)
    name, key = keys.load_officer(path)
    print("\n".join([str(path), f"{name}: {root_keys.describe_key(key.to_dict())}"]))


def _ca_root(given: argparse.Namespace) -> None:
    path = authority.make_root_ca(given.out, given.name)
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    print("\n".join([str(path), "New root CA:", *authority.certificate_lines(certificate)]))


def _ca_issue(given: argparse.Namespace) -> None:
    _certify(given, authority.issuing_ca(given.root, given.csr.read_bytes(), given.permit_dns))


def _ca_cross(given: argparse.Namespace) -> None:
    _certify(given, authority.unsigned_link(given.root, given.other.read_bytes()))


def _certify(given: argparse.Namespace, certification: authority.Certification) -> None:
    _ask(given, certification.lines())
    _write(given.out, certification.sign())


def _tuf_root(given: argparse.Namespace) -> None:
    document = metadata.make_root(given.officer, _json(given.online))
    _ask(given, root_summary.root_lines(document.signed, None))
    _write(given.out, metadata.sign_document(document, given.key))


def _tuf_next_root(given: argparse.Namespace) -> None:
    present = given.root.read_bytes()
    document = metadata.make_next_root(present, _json(given.online) if given.online else {}, given.officer)
    _ask(given, root_summary.root_lines(document.signed, metadata.read_root(present).signed))
    _write(given.out, metadata.sign_document(document, given.key))


def _tuf_targets(given: argparse.Namespace) -> None:
    root = given.root.read_bytes()
    end = f"{clock.now() + metadata.LIFE:%Y-%m-%d}"
    _ask(given, root_summary.targets_lines(metadata.read_root(root).signed, 2**given.bits, end))
    _write(given.out, metadata.first_targets(root, given.key, given.bits))


def _show_root(given: argparse.Namespace) -> None:
    new = metadata.read_root(given.shown.read_bytes()).signed
    old = metadata.read_root(given.root.read_bytes()).signed if given.root else None
    print("\n".join(root_summary.root_lines(new, old)))
    root_keys.check_root_keys(new.to_dict(), root_keys.read_root_keys(old.to_dict()).online_identities() if old else ())


def _json(path: Path) -> dict[str, object]:
    value = canonical.loads(path.read_bytes(), max_bytes=MAX_JSON)
    if not isinstance(value, dict):
        msg = f"{path} must contain a JSON object with the online keys."
        raise InvalidError(msg)
    return value


def _show(given: argparse.Namespace) -> None:
    _, told = _read(given)
    print("\n".join(told))


def _sign(given: argparse.Namespace) -> None:
    request, told = _read(given, seen_versions(given.key))
    _ask(given, told)
    _write(given.out, sign_request(request, given.key))
    remember_versions(request, given.key)


def _read(given: argparse.Namespace, seen: dict[str, int] | None = None) -> tuple[SigningRequest, list[str]]:
    """Return a verified signing request and the description of its changes."""
    request = read_request(given.prepared.read_bytes())
    change = check_request(request, [path.read_bytes() for path in (given.root, *given.former_root)], seen)
    if given.bundle:
        describe.compare_release(change, given.bundle)
    return request, describe.describe_lines(request, change)


def _ask(given: argparse.Namespace, lines: list[str]) -> None:
    print("\n".join(lines))
    if not given.yes and not _agrees():
        msg = "Nothing was signed."
        raise ConflictError(msg)


def _agrees() -> bool:
    try:
        return input("Sign this? Type yes: ").strip() == "yes"
    except EOFError:  # stdin is closed; scripts pass --yes
        return False


def _write(path: Path, data: bytes) -> None:
    if path.exists():
        msg = f"{path} already exists. Choose another path."
        raise ConflictError(msg)
    files.write_public(path, data)


if __name__ == "__main__":
    sys.exit(main())
