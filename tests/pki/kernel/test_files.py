from pki.kernel import files


def append(path, line):
    """Append a line as a process would that starts for it and ends."""
    growing = files.Growing(path)
    growing.add(line)
    growing.sync()
    growing.close()


def test_a_line_that_a_crash_has_cut_does_not_spoil_the_next_one(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"n":1}\n{"n":2')
    append(path, b'{"n":3}')
    assert path.read_bytes().splitlines() == [b'{"n":1}', b'{"n":2', b'{"n":3}']


def test_lines_follow_one_another_in_a_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "journal.jsonl"
    for number in range(3):
        append(path, b"%d" % number)
    assert path.read_bytes() == b"0\n1\n2\n"
    assert path.stat().st_mode & 0o777 == 0o600
