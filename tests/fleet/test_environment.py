"""Where a set-up lies, by its environment."""

from fleet import environment


def test_an_empty_folder_name_is_none(monkeypatch):
    monkeypatch.setenv("FLEET_DIR", "")
    assert str(environment.fleet_folder()) == environment.DEFAULTS["FLEET_DIR"]


def test_a_folder_that_is_named_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("FLEET_DIR", str(tmp_path))
    assert environment.fleet_folder() == tmp_path
