"""``python -m fleet.officer``: make keys, certify the issuing CA, sign root, targets and releases."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from fleet.officer import authority, keys, metadata
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
    made = act("tuf-next-root", _tuf_next_root, "make and sign the root that follows: other online keys")
    made.add_argument("--root", type=Path, required=True, help="the installed root")
    made.add_argument("--online", type=Path, required=True, help="what `manage.py release online-keys --next` printed")
    made.add_argument("--key", type=Path, action="append", required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--yes", action="store_true", help="do not ask")
    made = act("tuf-targets", _tuf_targets, "make and sign the first TUF targets")
    made.add_argument("--key", type=Path, action="append", required=True)
    made.add_argument("--out", type=Path, required=True)
    made = act("show", _show, "show what a prepared release would release")
    made.add_argument("prepared", type=Path)
    made = act("sign", _sign, "sign a prepared release")
    made.add_argument("--key", type=Path, required=True)
    made.add_argument("--in", dest="prepared", type=Path, required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--yes", action="store_true", help="do not ask")


def _keygen(given: argparse.Namespace) -> None:
    print(keys.generate(given.out, given.name))


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
    online = json.loads(given.online.read_text())
    named = {name: key if isinstance(key, list) else [key] for name, key in online.items()}
    lines = [f"{name}: {', '.join(key['keyid'][:16] for key in held)}" for name, held in sorted(named.items())]
    _ask(given, ["The next root names these online keys:", *lines])
    _write(given.out, metadata.next_root(given.root.read_bytes(), online, given.key))


def _tuf_targets(given: argparse.Namespace) -> None:
    _write(given.out, metadata.first_targets(given.key))


def _show(given: argparse.Namespace) -> None:
    _, document = metadata.read_prepared(given.prepared.read_bytes())
    print("\n".join(metadata.describe(document)))


def _sign(given: argparse.Namespace) -> None:
    prepared, document = metadata.read_prepared(given.prepared.read_bytes())
    _ask(given, metadata.describe(document))
    _write(given.out, metadata.sign(prepared, document, given.key))


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
