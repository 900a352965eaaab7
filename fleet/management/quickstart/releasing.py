"""Upload bundles, sign them with two officers' keys and publish releases: with the REST API and the officers' tool."""

import json
from dataclasses import dataclass
from pathlib import Path

from fleet.management.quickstart.ground import OFFICERS, QuickstartSetUp
from fleet.management.quickstart.material import (
    KINDS,
    VENDOR,
    BundleFiles,
    build_firmware,
    incompatible_bundle,
    public_key,
    sign_model,
    truncate_image,
)
from fleet.management.quickstart.processes import Processes
from fleet.management.quickstart.rest import Rest
from fleet.management.quickstart.voice import Voice
from pki.kernel.errors import ConflictError, DomainError, UnavailableError


@dataclass(frozen=True, slots=True)
class Published:
    """A published release."""

    release: str
    bundle: str
    made: BundleFiles


def register_models(rest: Rest, ground: QuickstartSetUp, voice: Voice) -> None:
    """Register hardware models and the keys that verify firmware and models."""
    with voice.step("register three hardware models", _curl(ground, "hardware-models", "…")):
        for kind in KINDS:
            facts = {"name": kind.name, "vendor": VENDOR, "flash_model": kind.flash_model, "arena": kind.arena}
            _once(rest, "/hardware-models", facts)
    with voice.step("register the keys that verify firmware and models", _curl(ground, "trust-keys", "…")):
        for name, form in (("firmware-signing", "mcuboot"), ("model-signing", "tflite")):
            pem = public_key(ground.offline / f"{name}.pem")
            rest.post("/trust-keys", {"name": name, "format": form, "pem": pem})


def make_bundles(ground: QuickstartSetUp, archives: dict[str, Path], voice: Voice) -> dict[str, BundleFiles]:
    """Create the demo's bundles from the downloaded packages."""
    folder = ground.folder / "material"
    with voice.step("sign firmware with imgtool, and the model with its own key"):
        bundles = {
            "old": build_firmware(ground.offline, folder, archives["uflash==1.1.0"], "1.1.0", 1),
            "new": build_firmware(ground.offline, folder, archives["uflash==1.2.4"], "1.2.4", 2),
            "model": sign_model(ground.offline, folder, archives["pymicro-wakeword==2.5.0"]),
        }
    return {
        **bundles,
        "cut": truncate_image(bundles["old"], folder),
        "incompatible": incompatible_bundle(bundles["model"]),
    }


def show_refusals(rest: Rest, bundles: dict[str, BundleFiles], voice: Voice) -> list[str]:
    """Upload a truncated image and an incompatible model, which the server rejects; return the reasons."""
    reasons = []
    with voice.step("the server rejects a truncated image at upload"):
        reasons.append(_refused(rest, bundles["cut"], release=False))
    voice.note(reasons[-1])
    with voice.step("the server rejects a model that is incompatible with its hardware, before officers sign"):
        reasons.append(_refused(rest, bundles["incompatible"], release=True))
    voice.note(reasons[-1])
    return reasons


def release_bundle(
    rest: Rest, ground: QuickstartSetUp, processes: Processes, source: BundleFiles, voice: Voice
) -> Published:
    """Upload a bundle, sign it with two of three officers' keys, publish it; completed steps are skipped."""
    name = f"{source.facts['id']} {source.facts['version']}"
    with voice.step(f"upload, verify and inspect {name}", _curl(ground, "bundles", "-F manifest=@bundle.json …")):
        bundle = rest.upload("/bundles", source.manifest, source.files)
    with voice.step(
        f"sign {name} with two officers' keys and publish it",
        "python -m fleet.officer sign --key offline/anna.key --root root.json --in prepared.json --out anna.json",
    ):
        prepared = rest.post("/releases", {"bundle": bundle["id"]})
        if prepared["state"] != "published":
            _sign(rest, ground, processes, prepared["statement"])
            rest.post(f"/statements/{prepared['statement']}/publish")
    return Published(prepared["id"], bundle["id"], source)


def _sign(rest: Rest, ground: QuickstartSetUp, processes: Processes, statement: str) -> None:
    request = ground.folder / "material" / f"prepared-{statement}.json"
    request.write_text(json.dumps(rest.get(f"/statements/{statement}/prepared")))
    for officer in OFFICERS[:2]:
        signature = request.with_name(f"{officer}-{statement}.json")
        signature.unlink(missing_ok=True)
        key = str(ground.offline / f"{officer}.key")
        files = ("--key", key, "--root", str(ground.tuf_root), "--in", str(request), "--out", str(signature))
        processes.run("-m", "fleet.officer", "sign", *files, "--yes")
        rest.post(f"/statements/{statement}/signatures", json.loads(signature.read_text()))


def _once(rest: Rest, path: str, facts: dict[str, object]) -> None:
    """Create an object unless it exists."""
    try:
        rest.post(path, facts)
    except ConflictError:
        return


def _refused(rest: Rest, source: BundleFiles, *, release: bool) -> str:
    try:
        bundle = rest.upload("/bundles", source.manifest, source.files)
        if release:
            rest.post("/releases", {"bundle": bundle["id"]})
    except UnavailableError:  # no answer is not a refusal
        raise
    except DomainError as error:
        return str(error.context.get("said", error.detail))
    msg = "The server accepted a bundle that it should have rejected."
    raise UnavailableError(msg)


def _curl(ground: QuickstartSetUp, path: str, body: str) -> str:
    address = f"https://localhost:{ground.operator_port}/api/v1/{path}"
    return f"curl --cacert {ground.anchor} -H 'Authorization: Bearer …' {address} {body}"
