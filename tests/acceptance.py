"""The acceptance suite, ``make acceptance``: long forms with full counts and fixed seeds.

Each part writes its results to a file in docs/reference/judged/.

What the short forms in the suite sample, this runs whole: bit flips in signed images, malformed requests and
reports, and drift without any fault (A/A). It exits 1 when anything was accepted that had to be refused.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import differences, environment, flips, mutations
from tests.factories.artefacts import Makers, listed
from tests.fuzz import listeners, readers

COUNTS = {
    "bit flips": 1000,
    "formats": 10_000,
    "uploads": 200,
    "pki": 10_000,
    "reports": 10_000,
    "manifests": 10_000,
    "fleets": 100,
    "cuts": 2000,
    "fuzzing": 150,
    "contract seconds": 1800,
    "contract cases": 100,
}


def main(*parts):
    """Run everything, or the named parts (``python -m tests.acceptance artefacts``); write the table of each."""
    import django

    django.setup()
    if unknown := set(parts) - set(PARTS):
        print(f"There is no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    return max([_judged(part) for part in parts or PARTS])


def _judged(part):
    """Run one part and write its table; an interruption later loses nothing of it."""
    started = time.monotonic()
    rows = list(PARTS[part]())
    result = {"seconds": round(time.monotonic() - started), "load": os.getloadavg()[0], "rows": rows}
    target = Path(__file__).resolve().parents[1] / f"docs/reference/judged/{part}.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1), flush=True)
    return 0 if all(row["wrong"] == 0 for row in rows) else 1


def _artefacts():
    """Yield the rows of artefacts: what is read of bundles, and what is refused of damaged ones."""
    makers = Makers(Path(tempfile.mkdtemp()))
    for part in (_bit_flips(makers), _formats(makers), _descriptions(), _uploads(makers), _whole_uploads()):
        yield from part


def _services():
    """Yield the rows of what devices say, of certificates, of power cuts and of the listeners' fuzzing."""
    yield from _pki()
    yield from (_power(), _reports(), _manifests(), _quiet_fleets())
    yield from _listeners()


def _row(name, count, wrong, note):
    return {"name": name, "count": count, "wrong": wrong, "note": note}


def _bit_flips(makers):
    """Flip one bit at a time in the signed part of a good artefact of each format."""
    rows, scratch = [], Path(tempfile.mkdtemp())
    for format_ in sorted(flips.VERIFIERS):
        count = COUNTS["bit flips"]
        wrong = flips.wrong(format_, makers.make(format_), makers.anchors(format_), count, scratch)
        rows.append(_row(f"one bit flipped in the signed part, {format_}", count, len(wrong), "accepted"))
        shutil.rmtree(scratch)
        scratch.mkdir()
    return rows


def _formats(makers):
    """Feed 10,000 mutations to each reader of artefacts."""
    rows = []
    for target in mutations.format_targets(makers):
        wrong = mutations.survives(target, COUNTS["formats"])
        print("\n".join(wrong[:5]), file=sys.stderr)
        note = "ended otherwise than in a refusal, or late"
        rows.append(_row(f"mutated {target.name}", COUNTS["formats"], len(wrong), note))
    return rows


def _descriptions():
    """Feed 10,000 mutations to each reader of SWUpdate archives, compare with libconfig itself, and fuzz for 10 minutes."""
    rows = []
    for target in mutations.description_targets():
        wrong = mutations.survives(target, COUNTS["formats"])
        print("\n".join(wrong[:5]), file=sys.stderr)
        note = "ended otherwise than in a refusal, or late"
        rows.append(_row(f"mutated {target.name}", COUNTS["formats"], len(wrong), note))
    wrong = differences.between(differences.mutated_texts(COUNTS["formats"], 14))
    print("\n".join(map(str, wrong[:5])), file=sys.stderr)
    note = "read otherwise than by the library, without a stated reason"
    rows.append(_row("mutated libconfig texts beside the library", COUNTS["formats"], len(wrong), note))
    return rows + [
        _fuzzed("tests.fuzz.readers", target, f"inputs to the reader of {target}") for target in readers.TARGETS
    ]


def _uploads(makers):
    """Let 200 damaged artefacts of each format be judged by the child that a real upload starts."""
    from ota import sandbox
    from ota.errors import RefusedBundleError

    rows, folder = [], Path(tempfile.mkdtemp())
    place = folder / "tmp"  # of this run alone: what lies there afterwards was left behind by it
    place.mkdir()
    tempfile.tempdir = str(place)
    for format_ in ("mcuboot", "esp", "swu", "rauc", "mender", "generic", "tflite", "onnx", "oms"):
        image, signature = makers.make(format_)
        source, wrong = random.Random(format_), 0
        beside = folder / "signature"
        if signature is not None:
            beside.write_bytes(signature)
        for _ in range(COUNTS["uploads"]):
            damaged = mutations.mutated(source, image)
            if damaged == image:  # a byte was replaced by itself
                continue
            (folder / "image").write_bytes(damaged)
            try:
                given = beside if signature is not None else None
                facts = dict(listed(format_, damaged))
                sandbox.judge_artefact(
                    format_, folder / "image", makers.anchors(format_), signature=given, listed=facts
                )
                wrong += 1
            except RefusedBundleError:
                continue
        left = len(list(place.glob("muster-judge-*")))
        rows.append(
            _row(
                f"damaged uploads judged by the child, {format_}",
                COUNTS["uploads"],
                wrong + left,
                "not refused, or left files",
            )
        )
    tempfile.tempdir = None
    return rows


def _whole_uploads():
    """Let 200 damaged artefacts of each format go through the service that takes uploads, database and store."""
    rows, test = [], "tests/ota/test_format_mutations.py::test_through_the_whole_upload"
    surroundings = {**os.environ, "MUSTER_MUTATED_UPLOADS": str(COUNTS["uploads"])}
    for format_ in ("mcuboot", "esp", "swu", "rauc", "mender", "generic", "tflite", "onnx", "oms"):
        command = [sys.executable, "-m", "pytest", "-q", f"{test}[{format_}]"]
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout[-2000:], file=sys.stderr)
        note = "1 if any was not refused, or left a file"
        rows.append(
            _row(f"damaged uploads through the whole upload, {format_}", COUNTS["uploads"], done.returncode, note)
        )
    return rows


def _hostile_values():
    """Put every hostile value into every place of every route of every listener, on both databases; then raw bytes."""
    rows = [_hostile("values", database) for database in ("sqlite", "postgresql")]
    return [*rows, _hostile("wire", "sqlite")]


def _hostile(what, database):
    """Run the full form of one of the hostile tests; return its row."""
    result = Path(tempfile.mkdtemp()) / "result.json"
    surroundings = {
        **os.environ,
        "MUSTER_HOSTILE_VALUES": "0",
        "MUSTER_HOSTILE_WIRE": "0",
        "MUSTER_HOSTILE_RESULT": str(result),
        "MUSTER_TEST_DATABASE": database,
    }
    test = f"tests/fleet/hostile/test_{what}.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:logging", "--show-capture=no", test]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    found = json.loads(result.read_text()) if result.exists() else {"sent": 0, "wrong": ["it did not run"]}
    print("\n".join([*found["wrong"][:20], done.stdout[-500:] if done.returncode else ""]), file=sys.stderr)
    note = f"500, dropped, stored as poison or logged as a crash; memory grew by {found.get('growth_mb')} MB"
    return _row(f"hostile {what}, {database}", found["sent"], len(found["wrong"]) or done.returncode, note)


def _growth():
    """Fill the large set-ups on both databases and ask everything; a row a database, wrong are the goals not met."""
    rows = []
    for database in ("sqlite", "postgresql"):
        result = Path(tempfile.mkdtemp()) / "rows.json"
        command = [sys.executable, "manage.py", "bench", "growth", "--database", database, "--json", str(result)]
        done = subprocess.run(command, check=False)
        found = json.loads(result.read_text()) if done.returncode == 0 else []
        missed = [one["name"] for one in found if not one["met"]]
        print("\n".join(missed), file=sys.stderr)
        note = "goals of manage.py bench growth that were not met"
        rows.append(_row(f"growth, {database}", len(found), len(missed) if found else 1, note))
    return rows


def _contract():
    """Run every check of schemathesis over every operation of the API for half an hour, on both databases."""
    return [_checked(database) for database in ("sqlite", "postgresql")]


def _checked(database):
    """Run the long form of the contract test; return its row."""
    result = Path(tempfile.mkdtemp()) / "result.json"
    surroundings = {
        **os.environ,
        "MUSTER_CONTRACT_SECONDS": str(COUNTS["contract seconds"]),
        "MUSTER_CONTRACT_CASES": str(COUNTS["contract cases"]),
        "MUSTER_CONTRACT_RESULT": str(result),
        "MUSTER_TEST_DATABASE": database,
    }
    command = [sys.executable, "-m", "pytest", "-q", "--show-capture=no", "tests/conformance"]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    found = json.loads(result.read_text()) if result.exists() else {"sent": 0, "wrong": ["it did not run"]}
    print("\n".join([*found["wrong"][:20], done.stdout[-500:] if done.returncode else ""]), file=sys.stderr)
    note = f"{found.get('operations')} operations, {sum(found.get('checks', {}).values())} checks made; kinds of faults"
    return _row(f"requests by schemathesis, {database}", found["sent"], len(found["wrong"]) or done.returncode, note)


def _survives(name, good, parse, refusals):
    """Count inputs on which a parser fails otherwise than by a refusal."""
    wrong = mutations.survives(mutations.Target(name, good, parse, (refusals,)), COUNTS[name])
    print("\n".join(wrong[:5]), file=sys.stderr)
    return len(wrong)


def _pki():
    """Feed 10,000 mutations to each reader of the CA."""
    rows = []
    for target in mutations.pki_targets():
        wrong = mutations.survives(target, COUNTS["pki"])
        rows.append(
            _row(f"mutated {target.name}", COUNTS["pki"], len(wrong), "ended otherwise than in a refusal, or late")
        )
    return rows


def _power():
    """Cut the power at 2,000 moments of enrolments and revocations over the real gateway."""
    from tests.faults import test_power

    base = Path(tempfile.mkdtemp())
    wrong = test_power.judge(test_power.record(base), COUNTS["cuts"], 7, base)
    print("\n".join(wrong[:5]), file=sys.stderr)
    return _row("power cuts during enrolments and revocations", COUNTS["cuts"], len(wrong), "things told were lost")


def _listeners():
    """Let a coverage-guided fuzzer at the entries of the listeners, ten minutes in all."""
    return [
        _fuzzed("tests.fuzz.listeners", target, f"inputs to the {target} entry of the doors")
        for target in listeners.TARGETS
    ]


def _fuzzed(module, target, name):
    """Return the row of one run of the fuzzer."""
    command = [sys.executable, "-m", module, target, str(COUNTS["fuzzing"]), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stderr[-2000:] if done.returncode else "", file=sys.stderr)
    runs = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    count = int(runs[1]) if runs else 0
    wrong = 0 if done.returncode == 0 and count else 1
    return _row(name, count, wrong, f"crashes, hangs or memory in {COUNTS['fuzzing']} s of atheris")


def _reports():
    import cbor2

    from ota.services.reports import parse_report
    from pki.kernel.errors import DomainError

    part = {"version": "1.0.0", "sha256": "a" * 64, "counter": 1, "confirmed": True}
    body = {"device": "d", "sequence": 3, "at": 1, "components": {"app": part}, "action": 2, "state": "failed"}
    wrong = _survives("reports", cbor2.dumps(body), parse_report, DomainError)
    return _row("mutated device reports", COUNTS["reports"], wrong, "ended otherwise than in a refusal")


def _manifests():
    from ota.manifest import parse_manifest
    from pki.kernel.errors import DomainError

    file = {"path": "a.bin", "size": 1, "sha256": "a" * 64, "role": "image"}
    hw = {"vendor_id": "0" * 8 + "-0000-5000-8000-" + "0" * 12, "class_id": "1" * 8 + "-0000-5000-8000-" + "0" * 12}
    body = {"schema": 1, "id": "a", "version": "1.0", "kind": "firmware", "format": "mcuboot", "component": "app"}
    body |= {"security_counter": 1, "audience": ["lab"], "hw": [{**hw, "name": "n"}], "files": [file]}
    wrong = _survives("manifests", json.dumps(body).encode(), parse_manifest, DomainError)
    return _row("mutated bundle manifests", COUNTS["manifests"], wrong, "ended otherwise than in a refusal")


def _quiet_fleets():
    """A/A: fleets without a fault, with two rollouts each; nothing may be flagged."""
    from tests.devices.drift.test_engine import test_nothing_is_flagged_in_ordinary_life_with_two_rollouts as run

    wrong = 0
    for seed in range(1000, 1000 + COUNTS["fleets"]):
        try:
            run(seed)
        except AssertionError:
            wrong += 1
    return _row("fleets of 51 devices over 300 ticks without a fault", COUNTS["fleets"], wrong, "had a device flagged")


PARTS = {
    "artefacts": _artefacts,
    "services": _services,
    "hostile": _hostile_values,
    "contract": _contract,
    "growth": _growth,
}


if __name__ == "__main__":
    assert environment
    sys.exit(main(*sys.argv[1:]))
