"""Bad bundles through the whole listener, as a stranger with an operator's token sends them: refused, cheap, nothing left."""

import hashlib
import io
import json
import resource
import socket
import ssl
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest

from ota import sandbox
from ota.errors import RefusedBundleError
from pki.kernel.errors import DomainError
from tests.factories.artefacts import Makers, archive, public
from tests.factories.story import eventually
from tests.peers.operator import Operator

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("story")]
MOST_SERVER_KB, MOST_CHILD_KB = 300 << 10, 1 << 20
BOARD = "bad-node"


def peak_kb(pid):
    """Return the most memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def zeros(size):
    """Return a gzip stream of that many zeros; one piece is packed, and repeated."""
    piece = 1 << 26
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(piece)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + packed * (size // piece) + packer.flush(zlib.Z_FINISH) + bytes(8)


def tarred(entries):
    """Return a tar archive of headers alone: (name, declared size, type, link)."""
    out = io.BytesIO()
    for name, size, kind, link in entries:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = size, kind, link
        out.write(member.tobuf(tarfile.GNU_FORMAT))
    return out.getvalue() + bytes(1024)


def zipped():
    """Return a zip bomb."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("../../evil", bytes(64 << 20))
    return out.getvalue()


def mender_bomb(makers):
    """Return an artifact whose header is a bomb of ten gigabytes; its manifest is not even looked at."""
    good = makers.mender()[0]
    with tarfile.open(fileobj=io.BytesIO(good)) as found:
        members = {one.name: found.extractfile(one).read() for one in found.getmembers()}
    members["header.tar.gz"] = zeros(10 << 30)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as made:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return out.getvalue()


BAD = {
    "a zip bomb as firmware": ("mcuboot", lambda _: zipped()),
    "ten gigabytes in a header": ("mender", mender_bomb),
    "a member of ten gigabytes": ("mender", lambda _: tarred([("version", 10 << 30, tarfile.REGTYPE, "")])),
    "a sparse member": ("mender", lambda _: tarred([("version", 512, tarfile.GNUTYPE_SPARSE, "")])),
    "a climbing name": ("mender", lambda _: tarred([("../../../etc/cron.d/evil", 9, tarfile.REGTYPE, "")])),
    "a symlink": ("mender", lambda _: tarred([("version", 0, tarfile.SYMTYPE, "/etc/passwd")])),
    "a device file": ("mender", lambda _: tarred([("version", 0, tarfile.CHRTYPE, "")])),
    "a climbing cpio name": ("swu", lambda _: archive([("sw-description", b"x"), ("../evil", b"x")])),
    "a cpio member of four gigabytes": ("swu", lambda _: archive([("sw-description", b"x")]).replace(b"00000001", b"ffffffff", 9)),
    "a gigabyte of nothing": ("generic", lambda _: zeros(1 << 30)),
}  # fmt: skip


@pytest.fixture(scope="module")
def operator(story, tmp_path_factory):
    made = Operator(story, tmp_path_factory.mktemp("bad"))
    made.board(BOARD)
    return made


@pytest.fixture(scope="module")
def makers(operator):
    made = Makers(operator.folder / "makers")
    for form in ("mender", "generic"):
        operator.trust(f"bad-{form}", public(made.key), form)
    operator.trust("bad-swu", made.pki.pem("signing-ca"), "swu")
    return made


def left(story):
    """Return what lies where uploads pass through; blobs of the server's own work (patches) are none of it."""
    folders = {path for path in (story.folder / "blobs").iterdir() if len(path.name) > len("ab")}
    kept = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    words = ("muster-judge-", "muster-measure-", "upload", "tmp")
    passing = {path for path in Path(tempfile.gettempdir()).iterdir() if path.name.lower().startswith(words)}
    return kept | passing


def demand_nothing_left(story, before, data=b""):
    """Whatever is there now and was not before goes away by itself: other tests judge uploads beside this one."""
    digest = hashlib.sha256(data).hexdigest()
    assert not (story.folder / "blobs" / digest[:2] / digest).exists()
    new = left(story) - before
    eventually(lambda: not new & left(story), 60, f"left behind: {sorted(new)[:5]}")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_artefact_is_refused_and_leaves_nothing(story, operator, makers, name):
    form, make = BAD[name]
    before, data = left(story), make(makers)
    with pytest.raises(DomainError):
        operator.upload(data, "1.0.0", board=BOARD, form=form, name=f"bad-{uuid.uuid4().hex[:8]}", component="os")
    demand_nothing_left(story, before, data)
    pid = json.loads((story.folder / "run" / "serve.json").read_text())["pids"]["operator-door"]
    assert peak_kb(pid) < MOST_SERVER_KB


def test_a_bundle_that_lists_ten_gigabytes_is_refused_before_anything_is_kept(story, operator):
    before, model = left(story), operator.board(BOARD)
    data = bytes(1000)
    file = operator.folder / "huge.bin"
    file.write_bytes(data)
    facts = {
        "schema": 1, "id": "huge", "version": "1.0.0", "kind": "firmware", "format": "generic", "component": "os",
        "security_counter": 1, "audience": ["production"],
        "hw": [{name: model[name] for name in ("vendor_id", "class_id", "name")}],
        "files": [{"path": "huge.bin", "size": 10 << 30, "sha256": hashlib.sha256(data).hexdigest(), "role": "image"}],
    }  # fmt: skip
    with pytest.raises(DomainError, match="larger than the"):
        operator.rest.upload("/bundles", json.dumps(facts).encode(), {"huge.bin": file})
    demand_nothing_left(story, before, data)


@pytest.mark.parametrize("declared", [True, False])
def test_ten_gigabytes_on_the_line_are_not_taken_in(story, declared):
    """A sparse file costs its sender nothing; the listener says so at its limit, and closes."""
    context = ssl.create_default_context(cafile=story.anchor)
    token = (story.folder / "secrets" / "quickstart-token").read_text().strip()
    head = f"POST /api/v1/bundles HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n"
    head += f"Content-Length: {10 << 30}\r\n\r\n" if declared else "Transfer-Encoding: chunked\r\n\r\n"
    piece = bytes(1 << 20)
    chunk = piece if declared else f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    sent = 0
    with ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection(("localhost", story.operator_port), timeout=60))
        line = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
        line.sendall(head.encode())
        try:
            while sent < 2000:
                line.sendall(chunk)
                sent += 1
                line.settimeout(0.001)
                try:
                    answer = line.recv(4096)
                except (TimeoutError, ssl.SSLWantReadError):
                    line.settimeout(60)
                    continue
                break
        except OSError:
            answer = b""
    assert sent < (100 if declared else 400)
    assert not answer or b" 413 " in answer.split(b"\r\n", 1)[0]
    pid = json.loads((story.folder / "run" / "serve.json").read_text())["pids"]["operator-door"]
    assert peak_kb(pid) < MOST_SERVER_KB


def test_the_child_that_judges_a_bomb_stays_within_its_memory(makers, tmp_path):
    image = tmp_path / "bomb"
    image.write_bytes(mender_bomb(makers))
    with pytest.raises(RefusedBundleError):
        sandbox.judge_artefact("mender", image, makers.anchors("mender"))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MOST_CHILD_KB


def test_a_detached_signature_over_a_bomb_is_judged_and_the_bomb_not_unpacked(makers, tmp_path):
    """What nobody here reads is not unpacked: only its signature counts, and its length."""
    image, beside = tmp_path / "bomb", tmp_path / "beside"
    data = zeros(1 << 30)
    image.write_bytes(data)
    beside.write_bytes(makers.jws(data))
    try:
        found = sandbox.judge_artefact("generic", image, makers.anchors("generic"), signature=beside)
    except RefusedBundleError as error:
        assert "bytes; at most" in error.detail
    else:
        assert found.facts["flash"] == len(data)
