"""A place in a file that only grows is recognised later, and no other file passes for it."""

import pytest

from pki.kernel import line_places
from pki.kernel.line_places import is_unchanged, last_place


@pytest.fixture(params=[1, 5, 1 << 16])
def block(request, monkeypatch):
    """Read in pieces of this many bytes."""
    monkeypatch.setattr(line_places, "BLOCK", request.param)


@pytest.fixture
def path(tmp_path, block):
    """Return a file of three lines, of which the last is not finished."""
    path = tmp_path / "lines"
    path.write_bytes(b"first\nsecond line\nthi")
    return path


def test_the_last_place_is_behind_the_last_whole_line(path):
    place = last_place(path)
    assert (place.end, place.length) == (18, 12)
    assert place == last_place(path, 18)
    assert (last_place(path, 17).end, last_place(path, 6).end, last_place(path, 5)) == (6, 6, None)


@pytest.mark.parametrize("content", [b"", b"no line break"])
def test_a_file_without_a_whole_line_has_no_place(tmp_path, block, content):
    (tmp_path / "lines").write_bytes(content)
    assert last_place(tmp_path / "lines") is None
    assert last_place(tmp_path / "missing") is None


def test_empty_lines_are_lines(tmp_path, block):
    (tmp_path / "lines").write_bytes(b"\n\n")
    assert (last_place(tmp_path / "lines").end, last_place(tmp_path / "lines").length) == (2, 1)


def test_a_place_holds_while_the_file_only_grows(path):
    place = last_place(path)
    with path.open("ab") as file:
        file.write(b"rd\nfourth\n")
    assert is_unchanged(path, place)
    assert last_place(path).end == 31


@pytest.mark.parametrize(
    "content",
    [
        b"first\nsecond line",  # one byte short
        b"first\nsecond lime\nthi",
        b"first second line\nthi",  # the same bytes, but no line begins there
        b"",
    ],
)
def test_a_file_that_was_cut_or_changed_at_the_place_is_noticed(path, content):
    place = last_place(path)
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(content)
    assert not is_unchanged(path, place)


def test_a_copy_and_a_missing_file_are_other_files(path):
    place = last_place(path)
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    assert not is_unchanged(path, place)
    path.unlink()
    assert not is_unchanged(path, place)
