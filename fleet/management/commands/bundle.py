"""``manage.py bundle …``: manage trust keys and bundles, and write files for bundle authors."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from django.core.management.base import BaseCommand, CommandParser

from fleet.management.command_support import add_filter_options, command_actor, command_errors, filter_of
from ota.measuring import vectors
from ota.models import Bundle, TrustKey
from ota.selectors import bundles as rows
from ota.services import bundles, composites, removals, trust_keys
from pki.kernel.actor import Actor
from pki.kernel.errors import NotFoundError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    #: declares the actions of a command
    _Acts = _SubParsersAction[CommandParser]

MOST_LISTED = 200


class BundleOptions(TypedDict, total=False):
    """Options of the command; only those of the chosen action are set."""

    domain: str
    act: str
    name: str
    format: str
    component: str
    product: str
    pem: Path
    revocation: str
    crl: Path
    issuer: Path | None
    choice: str
    version: str
    counter: int
    part: list[str]
    out: Path
    model: Path
    cases: int
    steps: int
    seed: int
    tolerance: float | None
    inputs: list[Path] | None
    folder: Path
    bundle: str
    json: bool


class Command(BaseCommand):
    """Manage bundles from the server's shell."""

    help = "Register trust keys, upload and list bundles, write composite bundles and golden vectors."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        parser.add_argument("--domain", default="default", help="slug of the trust domain (default: %(default)s)")
        acts = parser.add_subparsers(dest="act", required=True)
        trust = acts.add_parser("trust", help="register a public key or a signing CA that verifies artefacts")
        trust.add_argument("name", help="name of the trust key")
        trust.add_argument("--format", required=True, choices=TrustKey.Format.values, help="artefact format")
        trust.add_argument("--component", default="", help="for this component only")
        trust.add_argument("--product", default="", help="for bundles of this id only")
        trust.add_argument("--pem", type=Path, required=True, help="public key, or certificate of the signing CA")
        _for_revocation(acts, trust)
        _for_authors(acts)
        upload = acts.add_parser("upload", help="upload a folder with bundle.json and the files that it lists")
        upload.add_argument("folder", type=Path, help="folder with bundle.json")
        delete = acts.add_parser("delete", help="delete a bundle that was never published")
        delete.add_argument("bundle", help="id of the bundle")
        listed = acts.add_parser("list", help="list bundles")
        listed.add_argument("--json", action="store_true", help="write the result as JSON")
        add_filter_options(listed, rows.BundleFilter)

    def handle(self, *_args: object, **options: Unpack[BundleOptions]) -> None:
        """Run one action."""
        with command_errors():
            self.stdout.write(getattr(self, f"_{options['act']}")(command_actor(options["domain"]), options))

    def _trust(self, who: Actor, options: BundleOptions) -> str:
        key = trust_keys.add(
            actor=who,
            name=options["name"],
            format=options["format"],
            component=options["component"],
            product=options["product"],
            revocation=options["revocation"],
            pem=options["pem"].read_text(),
        )
        said = f"{key.name} verifies {key.format} ({key.fingerprint[:16]}…)."
        return f"{said}{self._warning(key)}"

    def _warning(self, key: TrustKey) -> str:
        """Return a warning, in red, if revoked signers of a key are not detected."""
        words = {
            "unstated": "no CRL is registered (`bundle crl`), and `bundle revocation` states no choice",
            "none": "stated by `bundle revocation`",
        }.get(key.revocation_state)
        if words is None:
            return ""
        return "\n" + self.style.ERROR(f"Revoked signers below {key.name} are NOT detected: {words}.")

    def _keys(self, who: Actor, _options: BundleOptions) -> str:
        lines = []
        for key in rows.trust_keys(actor=who):
            ended = " withdrawn" if key.withdrawn_at else ""
            lines.append(
                f"{key.name}  {key.format}  {key.fingerprint[:16]}…  revocation: {key.revocation_state}{ended}"
            )
            lines += [self._warning(key).strip()] if self._warning(key) and not ended else []
        return "\n".join(lines) or "None."

    def _revocation(self, who: Actor, options: BundleOptions) -> str:
        key = trust_keys.choose_revocation(actor=who, key=self._key(who, options), revocation=options["choice"])
        return f"Revocation of signers below {key.name}: {key.revocation_state}.{self._warning(key)}"

    def _crl(self, who: Actor, options: BundleOptions) -> str:
        key, issuer = self._key(who, options), options["issuer"].read_text() if options["issuer"] else ""
        flagged = trust_keys.renew_crl(actor=who, key=key, crl=options["crl"].read_text(), issuer=issuer)
        told = [f"  its signer was revoked: {bundle} — withdraw its release" for bundle in flagged]
        return "\n".join(["CRL registered.", *told])

    def _key(self, who: Actor, options: BundleOptions) -> TrustKey:
        key = rows.trust_keys(actor=who).filter(name=options["name"]).first()
        if key is None:
            msg = "No trust key has this name. List the names with `manage.py bundle keys`."
            raise NotFoundError(msg)
        return key

    def _upload(self, who: Actor, options: BundleOptions) -> str:
        folder = options["folder"]
        manifest = folder / "bundle.json"
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != manifest]
        with contextlib.ExitStack() as stack:
            files = {path.relative_to(folder).as_posix(): stack.enter_context(path.open("rb")) for path in paths}
            bundle = bundles.upload(actor=who, manifest=manifest.read_bytes(), files=files)
        checks = [f"  {check['check']}: {check['outcome']} ({check['tool']})" for check in bundle.report]
        hints = [f"  advice: {bundle.facts['advice']}"] if bundle.facts.get("advice") else []
        return "\n".join([f"{bundle} is accepted: {bundle.public_id}", *checks, *hints])

    def _delete(self, who: Actor, options: BundleOptions) -> str:
        bundle = rows.get_bundle(actor=who, public_id=options["bundle"])
        removals.delete_bundle(actor=who, bundle=bundle)
        return f"{bundle} deleted."

    def _composite(self, who: Actor, options: BundleOptions) -> str:
        parts = [rows.get_bundle(actor=who, public_id=public_id) for public_id in options["part"]]
        name, version, counter = options["name"], options["version"], options["counter"]
        document = composites.write_composite(bundles=parts, name=name, version=version, counter=counter)
        options["out"].mkdir(parents=True, exist_ok=True)
        (options["out"] / "bundle.json").write_bytes(document.manifest)
        (options["out"] / composites.FILE).write_bytes(document.parts)
        return f"{options['out']}: Upload it with `manage.py bundle upload`, then release it like any other bundle."

    def _golden(self, _who: Actor, options: BundleOptions) -> str:
        data = vectors.make_vectors(
            options["model"].read_bytes(),
            inputs=options["inputs"],
            cases=options["cases"],
            steps=options["steps"],
            seed=options["seed"],
            tolerance=options["tolerance"],
        )
        options["out"].write_bytes(data)
        return f"{options['out']}: {len(data)} bytes. List it in bundle.json with the role golden."

    def _list(self, who: Actor, options: BundleOptions) -> str:
        wanted = filter_of(options, rows.BundleFilter)
        bundle_rows = [_bundle_row(bundle) for bundle in rows.list_bundles(actor=who, wanted=wanted)[:MOST_LISTED]]
        if options["json"]:
            return json.dumps(bundle_rows, indent=1)
        return (
            "\n".join(f"{row['id']}  {row['bundle']}  {row['format']}  {row['release']}" for row in bundle_rows)
            or "None."
        )


def _for_revocation(acts: "_Acts", trust: CommandParser) -> None:
    """Declare the actions for revoked signers."""
    choices = TrustKey.Revocation.values
    words = "crl: reject signers without a current CRL; none: do not detect revoked signers"
    trust.add_argument("--revocation", default="", choices=["", *choices], help=f"for a signing CA; {words}")
    crl = acts.add_parser("crl", help="register the newest CRL of a signing CA, complete or all its shards")
    crl.add_argument("name", help="name of the trust key")
    crl.add_argument("--crl", type=Path, required=True, help="one or more CRLs in PEM")
    crl.add_argument("--issuer", type=Path, help="certificate of the parent CA, if it issued the CRLs")
    choice = acts.add_parser("revocation", help="choose how revoked signers below a signing CA are detected")
    choice.add_argument("name", help="name of the trust key")
    choice.add_argument("choice", choices=choices, help=words)
    acts.add_parser("keys", help="list trust keys, and how revoked signers are detected")


def _for_authors(acts: "_Acts") -> None:
    """Declare the actions for bundle authors."""
    composite = acts.add_parser("composite", help="write a bundle that installs other bundles together")
    composite.add_argument("name", help="id of the composite bundle")
    composite.add_argument("version", help="version of the composite bundle")
    composite.add_argument("--counter", type=int, required=True, help="security counter of the composite bundle")
    composite.add_argument("--part", action="append", required=True, help="id of a bundle; give at least two")
    composite.add_argument("--out", type=Path, required=True, help="folder for bundle.json and parts.json")
    golden = acts.add_parser("golden", help="generate golden vectors for a model with the reference interpreter")
    golden.add_argument("model", type=Path, help="the .tflite file")
    golden.add_argument(
        "out", type=Path, help="output file, such as golden.cbor; list it in bundle.json with the role golden"
    )
    golden.add_argument("--cases", type=int, default=16, help="number of cases (default: %(default)s)")
    golden.add_argument("--steps", type=int, default=1, help="steps per case, for stateful models")
    golden.add_argument("--seed", type=int, default=1, help="seed of random inputs (default: %(default)s)")
    words = "steps of a quantised output, or a number; by itself one step, or a thousandth"
    golden.add_argument("--tolerance", type=float, help=words)
    golden.add_argument(
        "--inputs",
        type=Path,
        nargs="*",
        help="one .npy file per input, cases on the first axis; default: random inputs",
    )


def _bundle_row(bundle: Bundle) -> dict[str, object]:
    release = getattr(bundle, "release", None)
    return {
        "id": str(bundle.public_id),
        "bundle": str(bundle),
        "format": bundle.format,
        "counter": bundle.security_counter,
        "release": release.state if release else "not prepared",
    }
