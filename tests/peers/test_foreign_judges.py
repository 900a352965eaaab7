"""What we accept and emit, judged by the formats' own tools: each of them says yes, and no to one flipped bit of it."""

import http.server
import subprocess
import threading
from functools import partial

import cbor2
import pytest
from cwt import COSE, COSEKey
from django.conf import settings
from tuf.api.exceptions import RepositoryError
from tuf.ngclient import Updater

from ota import sandbox
from ota.services import manifests
from tests.factories.artefacts import BIN, Makers, listed, public
from tests.ota.test_manifests import offered, small  # noqa: F401  because pytest finds the fixture by its name
from tests.peers.programs import require

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    made = Makers(tmp_path_factory.mktemp("judges"))
    (made.folder / "key.pub").write_text(public(made.key))
    # SWUpdate and OpenSSL want the whole chain.
    chain = made.pki.folder / "chain.pem"
    chain.write_text(made.pki.pem("signing-ca") + made.pki.pem("root"))
    (made.folder / "rauc.conf").write_text(
        f"[system]\ncompatible=node\nbootloader=noop\n[keyring]\npath={chain}\ncheck-purpose=codesign\n"
    )
    return made


def said(command, folder):
    done = subprocess.run(
        [str(one) for one in command], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def mcuboot(makers, file, _beside):
    return said([BIN / "imgtool", "verify", "--key", makers.folder / "key.pub", file], file.parent)[0] == 0


def esp(makers, file, _beside):
    command = [BIN / "espsecure", "verify-signature", "--version", "2", "--keyfile", makers.folder / "key.pub", file]
    return said(command, file.parent)[0] == 0


def swu(makers, file, _beside):
    chain = makers.pki.folder / "chain.pem"
    command = [require("swupdate"), "-c", "-i", file, "-H", "board:1.0", "-k", chain, "--cert-purpose", "codeSigning"]
    # Its exit code is racy, its closing line is not.
    return "SWUPDATE successful" in said(command, file.parent)[1]


def rauc(makers, file, _beside):
    command = [require("rauc"), f"--conf={makers.folder / 'rauc.conf'}", "extract", file, file.parent / "extracted"]
    return said(command, file.parent)[0] == 0


def mender(makers, file, _beside):
    command = [require("mender-artifact"), "validate", "-k", makers.folder / "key.pub", file]
    return said(command, file.parent)[0] == 0


def generic_cms(makers, file, beside):
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", beside, "-content", file]
    command += ["-CAfile", makers.pki.folder / "chain.pem", "-purpose", "any", "-out", "/dev/null"]
    return said(command, file.parent)[0] == 0


JUDGES = {"mcuboot": mcuboot, "esp": esp, "swu": swu, "rauc": rauc, "mender": mender, "generic-cms": generic_cms}


@pytest.mark.parametrize("format_", JUDGES)
def test_what_we_accept_the_formats_own_tool_accepts_and_what_it_refuses_we_do(makers, format_, tmp_path):
    image, signature = makers.make(format_)
    file, beside = tmp_path / "artefact", tmp_path / "artefact.sig"
    beside.write_bytes(signature or b"")
    file.write_bytes(image)
    known = makers.anchors(format_)
    given = {"signature": beside if signature else None, "listed": dict(listed(format_, image))}
    assert sandbox.judge_artefact(format_.split("-")[0], file, known, **given).facts["signer"]
    assert JUDGES[format_](makers, file, beside)
    flipped = bytearray(image)
    flipped[len(image) // 3] ^= 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "artefact").write_bytes(flipped)
    assert not JUDGES[format_](makers, other / "artefact", beside)


@pytest.mark.django_db
def test_python_tufs_own_client_finds_a_release_in_what_we_publish(published, tmp_path):
    """No rule of ours: the plain client, the root that devices have, and the files as they lie on the disk."""
    bundle = published.bundle()
    published.release(bundle)
    folder = settings.FLEET_DIR / "tuf" / published.domain.slug
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        updater = Updater(str(tmp_path), address, bootstrap=published.root)
        updater.refresh()
        found = updater.get_targetinfo(bundle.target_path)
        assert found.hashes == {"sha256": bundle.digest}
        stranger = Updater(str(tmp_path / "other"), address, bootstrap=_another(published, tmp_path))
        with pytest.raises(RepositoryError):
            stranger.refresh()
        server.shutdown()


def _another(published, folder):
    """Return a root of other officers."""
    from fleet.officer import keys, metadata
    from ota.services import metadata as repository
    from tests.factories.ground import system

    (folder / "other").mkdir()
    for name in ("anna", "bruno", "carla"):
        keys.generate_key(folder / "strangers", name)
    names = [folder / "strangers" / f"{name}.pub.json" for name in ("anna", "bruno", "carla")]
    online = dict(repository.online_keys(actor=system(published.domain)))
    return metadata.signed_root(names, online, [folder / "strangers" / f"{name}.key" for name in ("anna", "bruno")])


@pytest.mark.django_db
def test_cwt_accepts_both_signatures_of_a_manifest_that_we_publish(small, enrol):  # noqa: F811  because it is the fixture
    device, actor = offered(small, enrol, small.release(small.bundle()))
    wrapper = cbor2.loads(cbor2.loads(manifests.current_envelope(actor=actor, device=device)).value[2])
    people = {name: COSEKey.from_pem(_pem(small.folder / f"{name}.key"), alg="ES256") for name in ("anna", "bruno")}
    blocks = wrapper[1:]
    assert len(blocks) == 2
    accepted = {name for name, key in people.items() for block in blocks if _accepts(block, key, wrapper[0])}
    assert accepted == set(people)


def _pem(path):
    from cryptography.hazmat.primitives import serialization

    return public(serialization.load_pem_private_key(path.read_bytes(), None))


def _accepts(block, key, payload):
    try:
        COSE.new().decode(block, key, detached_payload=payload)
    except Exception:
        return False
    return True
