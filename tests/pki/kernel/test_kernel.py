import stat
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from pki.kernel import actor, clock, files, ids, monotone
from pki.kernel.actor import Actor, ActorKind, Role
from pki.kernel.errors import DeniedError
from pki.kernel.permissions import Action, require_action


def someone(*roles):
    return Actor(ActorKind.OPERATOR, "anna", "default", frozenset(roles))


def test_a_role_that_is_asked_for_suffices():
    require_action(someone(Role.OPERATOR), Action.QUARANTINE_DEVICE)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.SECURITY_OFFICER, Role.ADMIN])
def test_no_other_role_includes_that_of_the_release_officer(role):
    with pytest.raises(DeniedError, match="release-officer"):
        require_action(someone(role), Action.RELEASE_BUNDLE)


def test_every_role_may_look_and_no_role_may_not():
    for role in Role:
        require_action(someone(role), Action.READ)
    with pytest.raises(DeniedError):
        require_action(someone(), Action.READ)


def test_a_device_speaks_for_itself_only():
    device = actor.device_actor("default", "d1")
    device.require_device("d1")
    with pytest.raises(DeniedError):
        device.require_device("d2")
    with pytest.raises(DeniedError):
        require_action(device, Action.READ)


def test_the_clock_can_be_held():
    at = datetime(2030, 1, 2, tzinfo=UTC)
    with clock.frozen(at):
        assert clock.now() == at
        assert clock.unix() == int(at.timestamp())
    assert clock.now() > datetime(2026, 1, 1, tzinfo=UTC)


def test_ids_are_version_7_sortable_by_time_and_unique():
    with clock.frozen(datetime(2030, 1, 1, tzinfo=UTC)):
        early = ids.uuid7()
    with clock.frozen(datetime(2030, 1, 2, tzinfo=UTC)):
        late = {ids.uuid7() for _ in range(1000)}
    assert early.version == 7
    assert early.variant == "specified in RFC 4122"
    assert len(late) == 1000
    assert all(early < one for one in late)


@pytest.mark.parametrize(("last", "now", "following"), [(None, 50, 50), (3, 50, 50), (50, 50, 51), (99, 50, 100)])
def test_numbers_never_go_back(last, now, following):
    assert monotone.next_after(last, now) == following


def test_private_files_are_whole_and_readable_by_their_owner_only(tmp_path):
    path = tmp_path / "secret"
    files.write_private(path, b"one")
    files.write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_lines_are_added_and_never_lost(tmp_path):
    path = tmp_path / "log"
    for word in (b"a", b"b"):
        growing = files.Growing(path)
        growing.add(word)
        growing.close()
    assert path.read_bytes() == b"a\nb\n"


CONFINED = """
import sys
from pathlib import Path
from pki.kernel import confine
allowed, secret = Path(sys.argv[1]), Path(sys.argv[2])
if not confine.landlock([Path(sys.prefix), Path(sys.base_prefix), Path("/usr"), Path("/lib")], [allowed]):
    print("no-landlock")
    raise SystemExit
(allowed / "mine").write_text("x")
look = lambda: list(secret.parent.iterdir())
for act in (secret.read_bytes, lambda: secret.write_bytes(b""), secret.unlink, look):
    try:
        act()
    except PermissionError:
        continue
    print("reached")
print("confined")
"""


def test_a_confined_process_reaches_only_what_it_was_given(tmp_path):
    allowed, kept = tmp_path / "allowed", tmp_path / "kept"
    allowed.mkdir()
    kept.mkdir()
    (kept / "key").write_text("secret")
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, allowed, kept / "key"], capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "no-landlock":
        pytest.skip("this kernel has no Landlock")
    assert done.stdout.split() == ["confined"]
    assert (kept / "key").read_text() == "secret"


def test_the_kernel_loads_without_django():
    code = "import pki.kernel.canonical, pki.kernel.confine, sys; print('django' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
