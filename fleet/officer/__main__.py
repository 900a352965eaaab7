"""``python -m fleet.officer``: make keys, certify the issuing CA, sign root, targets and releases."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from fleet.officer import authority, describe, keys, metadata, papers
from fleet.officer.token import Place
from pki.kernel import files
from pki.kernel.errors import ConflictError, DomainError


def main() -> int:
    """Run one act; 0 when it is done, 1 when it is refused."""
    given = _parser().parse_args()
    try:
        given.run(given)
    except (DomainError, OSError, ValueError, KeyError) as error:
        print(f"muster-sign: {getattr(error, 'detail', error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="muster-sign", description=__doc__)
    acts = parser.add_subparsers(required=True)

    def act(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        made = acts.add_parser(name, help=text)
        made.set_defaults(run=run)
        return made

    made = act("keygen", _keygen, "make an officer's key")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--name", required=True)
    made.add_argument("--p256", action="store_true", help="for fleets with microcontrollers: signs SUIT manifests too")
    made.add_argument("--pkcs11", metavar="MODULE", default="", help="make it in a token: the vendor's library")
    made.add_argument("--token", default="", help="label of the token, with --pkcs11")
    made = act("ca-root", _ca_root, "make the offline root CA")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--name", required=True)
    made = act("ca-issue", _ca_issue, "certify an issuing CA")
    made.add_argument("--root", type=Path, required=True)
    made.add_argument("--csr", type=Path, required=True)
    made.add_argument("--permit-dns", action="append", default=[], help="bound the CA to names below this one")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--yes", action="store_true")
    made = act("ca-cross", _ca_cross, "certify another root's key: a link of a rollover")
    made.add_argument("--root", type=Path, required=True, help="folder of the root that certifies")
    made.add_argument("--other", type=Path, required=True, help="certificate of the other root")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--yes", action="store_true")
    _signing(act)
    return parser


def _signing(act: Callable[..., argparse.ArgumentParser]) -> None:
    made = act("tuf-root", _tuf_root, "make and sign the first TUF root")
    made.add_argument("--officer", type=Path, action="append", required=True)
    made.add_argument("--online", type=Path, required=True)
    made.add_argument("--key", type=Path, action="append", required=True)
    made.add_argument("--out", type=Path, required=True)
    made = act(
        "tuf-next-root", _tuf_next_root, "make and sign the root that follows: other online keys, or other officers"
    )
    made.add_argument("--root", type=Path, required=True, help="the installed root")
    made.add_argument("--online", type=Path, help="what `manage.py release online-keys --next` printed")
    text = "public half of each who shall be an officer from now on; none when nobody changes"
    made.add_argument("--officer", type=Path, action="append", default=[], help=text)
    made.add_argument("--key", type=Path, action="append", required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--yes", action="store_true", help="do not ask")
    made = act("tuf-targets", _tuf_targets, "make and sign the first TUF targets with their bins")
    made.add_argument("--root", type=Path, required=True, help="the root that names the officers")
    made.add_argument("--key", type=Path, action="append", required=True)
    made.add_argument("--bits", type=int, default=8, choices=range(1, 15), help="2 ** BITS bins (default: 8, so 256)")
    made.add_argument("--out", type=Path, required=True)
    made = act("show", _show, "show what a paper would do")
    made.add_argument("prepared", type=Path)
    _proofs(made)
    made = act("sign", _sign, "sign a paper: a release, a withdrawal, floors, a renewal")
    made.add_argument("--key", type=Path, required=True)
    made.add_argument("--in", dest="prepared", type=Path, required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--yes", action="store_true", help="do not ask")
    _proofs(made)


def _proofs(parser: argparse.ArgumentParser) -> None:
    text = "your own copy of the newest TUF root: it proves what holds now"
    parser.add_argument("--root", type=Path, required=True, help=text)
    parser.add_argument("--former-root", type=Path, action="append", default=[], help="after officers were exchanged")
    parser.add_argument("--bundle", type=Path, help="your own copy of the bundle, to compare a release with")


def _keygen(given: argparse.Namespace) -> None:
    place = Place(given.pkcs11, given.token, given.name) if given.pkcs11 else None
    print(keys.generate(given.out, given.name, p256=given.p256, place=place))


def _ca_root(given: argparse.Namespace) -> None:
    print(authority.make_root(given.out, given.name))


def _ca_issue(given: argparse.Namespace) -> None:
    csr = given.csr.read_bytes()
    _ask(given, [f"This certifies {authority.describe(csr, given.permit_dns)}."])
    _write(given.out, authority.certify(given.root, csr, given.permit_dns))


def _ca_cross(given: argparse.Namespace) -> None:
    _ask(given, [f"This certifies the root in {given.other} by the root in {given.root}."])
    _write(given.out, authority.cross(given.root, given.other.read_bytes()))


def _tuf_root(given: argparse.Namespace) -> None:
    online = json.loads(given.online.read_text())
    _write(given.out, metadata.root(given.officer, online, given.key))


def _tuf_next_root(given: argparse.Namespace) -> None:
    online = json.loads(given.online.read_text()) if given.online else {}
    named = {name: key if isinstance(key, list) else [key] for name, key in online.items()}
    lines = [f"{name}: {', '.join(key['keyid'][:16] for key in held)}" for name, held in sorted(named.items())]
    if online:
        lines = ["The next root names these online keys:", *lines]
    if given.officer:
        lines += ["The next root names these officers:", *(path.name for path in given.officer)]
    _ask(given, lines)
    _write(given.out, metadata.next_root(given.root.read_bytes(), online, given.key, given.officer))


def _tuf_targets(given: argparse.Namespace) -> None:
    _write(given.out, metadata.first_targets(given.root.read_bytes(), given.key, given.bits))


def _show(given: argparse.Namespace) -> None:
    _, told = _read(given)
    print("\n".join(told))


def _sign(given: argparse.Namespace) -> None:
    paper, told = _read(given, papers.seen(given.key))
    _ask(given, told)
    _write(given.out, papers.sign(paper, given.key))
    papers.remember(paper, given.key)


def _read(given: argparse.Namespace, seen: dict[str, int] | None = None) -> tuple[papers.Paper, list[str]]:
    """Return a paper that may be signed, and what it would do."""
    paper = papers.read(given.prepared.read_bytes())
    change = papers.check(paper, [path.read_bytes() for path in (given.root, *given.former_root)], seen)
    if given.bundle:
        describe.compare(change, given.bundle)
    return paper, describe.lines(paper, change)


def _ask(given: argparse.Namespace, lines: list[str]) -> None:
    print("\n".join(lines))
    if not given.yes and input("Sign this? Type yes: ").strip() != "yes":
        msg = "Nothing was signed."
        raise ConflictError(msg)


def _write(path: Path, data: bytes) -> None:
    if path.exists():
        msg = f"{path} exists already and is not overwritten."
        raise ConflictError(msg)
    files.write_public(path, data)


if __name__ == "__main__":
    sys.exit(main())
