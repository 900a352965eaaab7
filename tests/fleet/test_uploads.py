"""Files of an upload by the path that was sent: what a form, the REST API and the command make of subfolders."""

from contextlib import closing
from pathlib import Path

import pytest
from django.test import RequestFactory

from fleet.uploads import files_by_path
from pki.kernel.errors import InvalidError
from tests.regressions import regression


def sent(*names):
    """Return the request of a multipart form with a file of each name, written as browsers and curl write it."""
    lines = [
        f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n{number}\r\n'
        for number, name in enumerate(names)
    ]
    body = ("".join(lines) + "--edge--\r\n").encode()
    return RequestFactory().post("/bundles", body, content_type="multipart/form-data; boundary=edge")


def paths(*names):
    with closing(sent(*names)) as request:
        found = files_by_path(request.FILES.getlist("files"))
        return {path: file.read() for path, file in found.items()}


@regression("C7", "paths, entities, quotes and other scripts in the file names of a multipart form")
@pytest.mark.parametrize(
    "name", ["a.bin", "sub/a.bin", "a/b/c d.bin", "../a.bin", "/etc/passwd", "a&amp;b.swu", "ü+%20;#?.swu", "a/.."]
)
def test_a_file_keeps_the_path_that_was_sent(name):
    assert paths(name) == {name: b"0"}


@regression("C7", "two files of one name in different folders, and one path twice")
def test_one_name_in_two_folders_is_two_files():
    assert paths("a/model.bin", "b/model.bin") == {"a/model.bin": b"0", "b/model.bin": b"1"}
    with pytest.raises(InvalidError, match="appears twice in the upload"):
        paths("a/model.bin", "a/model.bin")


def test_no_path_reaches_the_disk(settings, tmp_path):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    with closing(sent("../../escape/a.bin")) as request:
        [file] = request.FILES.getlist("files")
        assert (file.name, file.sent_as) == ("a.bin", "../../escape/a.bin")
        assert Path(file.temporary_file_path()).parent == tmp_path


def test_a_path_with_characters_that_no_name_holds_is_refused():
    with pytest.raises(InvalidError, match="not printable"):
        paths("a\x07/b.bin")
