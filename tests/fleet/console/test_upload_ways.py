"""One bundle with files in subfolders, by the console, the REST API and the command: the same row three times."""

import hashlib
import json

import pytest
from django.core.management import call_command

from ota.models import Bundle
from tests.regressions import regression

pytestmark = pytest.mark.django_db
NOTE = b"two files of one name"


@pytest.fixture
def parts(workshop):
    """Return bundle.json and the files that it lists, by path."""
    image = workshop.image()
    files = {"images/app+1.bin": image, "docs/ü/bundle.json": NOTE, "docs/app+1.bin": NOTE + b"!"}
    listed = [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": role}
        for (path, data), role in zip(files.items(), ("image", "asset", "asset"), strict=True)
    ]
    return json.dumps(workshop.manifest(image, files=listed)).encode(), files


def body(manifest, files):
    heads = [("manifest", "bundle.json", manifest), *(("files", path, data) for path, data in files.items())]
    made = b""
    for field, name, data in heads:
        head = f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        made += head.encode() + data + b"\r\n"
    return made + b"--edge--\r\n"


def by_form(address):
    def upload(client, _folder, manifest, files):
        kind = "multipart/form-data; boundary=edge"
        answer = client.post(address, body(manifest, files), content_type=kind, secure=True)
        assert answer.status_code in {201, 302}, answer.content

    return upload


def by_command(client, folder, manifest, files):
    for path, data in {"bundle.json": manifest, **files}.items():
        (folder / "new" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "new" / path).write_bytes(data)
    call_command("bundle", "--domain", client.operator.domain.slug, "upload", folder / "new")


WAYS = {"console": by_form("/bundles"), "rest": by_form("/api/v1/bundles"), "command": by_command}


@regression("C7", "files of one name in subfolders, one of them called bundle.json, on all three ways in")
@pytest.mark.parametrize("way", WAYS)
def test_files_in_subfolders_are_taken(client, workshop, parts, tmp_path, way):
    manifest, files = parts
    WAYS[way](client, tmp_path, manifest, files)
    [bundle] = Bundle.objects.filter(domain=workshop.domain)
    assert {one.path: one.sha256 for one in bundle.files.all()} == {
        path: hashlib.sha256(data).hexdigest() for path, data in files.items()
    }


@regression("C7", "a file that is sent from outside the folder")
@pytest.mark.parametrize("address", ["/bundles", "/api/v1/bundles"])
@pytest.mark.parametrize("path", ["../images/app+1.bin", "/images/app+1.bin", "images\\app+1.bin", "app+1.bin"])
def test_a_path_that_is_not_the_listed_one_is_refused(client, workshop, parts, address, path):
    manifest, files = parts
    sent = {path: files.pop("images/app+1.bin"), **files}
    answer = client.post(address, body(manifest, sent), content_type="multipart/form-data; boundary=edge", secure=True)
    assert answer.status_code in {400, 422}
    assert not Bundle.objects.filter(domain=workshop.domain).exists()
