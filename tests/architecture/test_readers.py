"""Outside data is read by our strict readers; the libraries' own readers are called for our own data only."""

import ast

from tests.architecture.sources import modules
from tests.regressions import regression

LIBRARIES = {"json", "cbor2", "tomllib", "yaml", "ruamel"}
#: the readers themselves, and the verifier that runs alone, on a machine without the rest
READERS = {"pki/kernel/strict_json.py", "pki/kernel/cbor.py", "pki/ledger/verifier.py"}
#: reads one format as its device's tool does, and refuses what that tool and people would understand differently
AS_THE_TOOL = {"ota/formats/swupdate/json_form.py"}
#: what this program itself has written, to its own database, vault, folder or child process
OWN = {
    "devices/services/drift.py",
    "fleet/agent/oscore.py",
    "fleet/agent/slots.py",
    "fleet/agent/state.py",
    "fleet/agent/trial.py",
    "fleet/officer/metadata.py",
    "fleet/simulator/fleet.py",
    "fleet/simulator/packs/__init__.py",
    "ota/verifier_sandbox/supervisor.py",
    "ota/verifier_sandbox/request.py",
    "ota/selectors/statements.py",
    "ota/trust/prepared.py",
    "pki/kernel/handover.py",
    "pki/models/driver.py",
    "pki/services/ledger_proofs.py",
    "pki/signer/metadata.py",
    "pki/signer/online.py",
}
#: tools that measure or demonstrate a server that they started themselves
TOOLS = ("fleet/management/benches/", "fleet/management/quickstart/")


def readings():
    """Yield the modules that call a library's reader of documents, in whatever way it was imported."""
    for path, tree in modules().items():
        for node in ast.walk(tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            owner = node.func.value.id if called and isinstance(node.func.value, ast.Name) else ""
            by_name = isinstance(node, ast.ImportFrom) and node.module in LIBRARIES
            if (owner in LIBRARIES and node.func.attr in {"load", "loads", "safe_load", "JSONDecoder"}) or (
                by_name and {"load", "loads", "safe_load", "JSONDecoder"} & {one.name for one in node.names}
            ):
                yield str(path)


@regression("V3", "JSON, CBOR, TOML or YAML from outside, read by a library that lets a second key win")
def test_outside_data_is_read_by_the_strict_readers_only():
    found = {path for path in readings() if not path.startswith(TOOLS)}
    assert found - READERS - AS_THE_TOOL - OWN == set()
    assert OWN - found == set(), "the list of exceptions names a module that has become strict"


@regression("V3", "TUF metadata read by python-tuf without our strict reader")
def test_metadata_is_read_by_the_strict_reader_only():
    bare = [
        str(path)
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"from_bytes", "from_file"}
        and "Metadata" in ast.unparse(node.func.value)
        and "StrictDeserializer" not in ast.unparse(node)
    ]
    fetchers = [
        str(path)
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if not str(path).startswith(TOOLS)
        and isinstance(node, ast.ClassDef)
        and "FetcherInterface" in [ast.unparse(base) for base in node.bases]
    ]
    assert (bare, fetchers) == ([], ["ota/contract/tuf_json.py"])
