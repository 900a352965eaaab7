"""The running image stays whole until the new one has shown itself to work."""

import hashlib

import pytest

from fleet.agent import selftest
from fleet.agent.errors import RefusedError
from fleet.agent.slots import SlotImage, Slots
from tests.regressions import regression

OLD = SlotImage("1.0.0", hashlib.sha256(b"old").hexdigest(), 1)
NEW = SlotImage("2.0.0", hashlib.sha256(b"new").hexdigest(), 2)


@pytest.fixture
def slots(tmp_path):
    made = Slots(tmp_path / "app")
    made.provision(b"old", OLD)
    return made


def test_a_factory_image_runs_and_is_confirmed(slots):
    assert (slots.running, slots.confirmed, slots.read_running()) == (OLD, True, b"old")


def test_provisioning_twice_does_not_undo_an_update(slots):
    slots.inactive.write_bytes(b"new")
    slots.swap(NEW)
    slots.provision(b"old", OLD)
    assert slots.running == NEW


def test_a_new_image_is_on_probation_until_confirmed(slots):
    slots.inactive.write_bytes(b"new")
    slots.swap(NEW)
    assert (slots.running, slots.confirmed, slots.read_running()) == (NEW, False, b"new")
    slots.confirm()
    assert (slots.running, slots.confirmed) == (NEW, True)


def test_writing_the_inactive_slot_leaves_the_running_image_alone(slots):
    slots.inactive.write_bytes(b"half of a new im")
    assert slots.read_running() == b"old"


def test_rolling_back_boots_what_ran_before(slots):
    slots.inactive.write_bytes(b"new")
    slots.swap(NEW)
    slots.roll_back()
    assert (slots.running, slots.confirmed, slots.read_running()) == (OLD, True, b"old")


def test_state_survives_a_restart(slots, tmp_path):
    slots.inactive.write_bytes(b"new")
    slots.swap(NEW)
    again = Slots(tmp_path / "app")
    assert (again.running, again.confirmed) == (NEW, False)


@regression("R4", "bytes that change in the slot between verification and swap")
def test_other_bytes_than_were_verified_are_not_swapped_in(slots):
    slots.inactive.write_bytes(b"evil")
    with pytest.raises(RefusedError, match="not those that were verified"):
        slots.swap(NEW)
    slots.inactive.unlink()
    with pytest.raises(RefusedError, match="not those that were verified"):
        slots.swap(NEW)
    assert (slots.running, slots.confirmed) == (OLD, True)


@regression("R4", "bytes that change in the slot between swap and confirmation")
def test_other_bytes_than_were_verified_are_not_confirmed(slots):
    slots.inactive.write_bytes(b"new")
    slots.swap(NEW)
    slots.image.write_bytes(b"evil")
    with pytest.raises(RefusedError, match="not those that were verified"):
        slots.confirm()
    assert (slots.running, slots.confirmed, slots.read_running()) == (OLD, True, b"old")


@regression("R4", "a slot that is a link to another file")
def test_a_link_in_a_slot_is_not_followed(slots, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"new")
    slots.inactive.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="not those that were verified"):
        slots.swap(NEW)


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"\x3d\xb8\xf3\x96" + b"\0" * 28, b"\x3d\xb8\xf3\x96" + b"\xff" * 60])
def test_firmware_that_would_not_boot_fails_its_self_test(data):
    with pytest.raises(RefusedError, match="self-test"):
        selftest.check_image("app", data)


def test_an_image_of_imgtool_passes_its_self_test_and_one_with_a_flipped_bit_does_not(tmp_path):
    from imgtool.main import imgtool

    flat, signed = tmp_path / "flat.bin", tmp_path / "signed.bin"
    flat.write_bytes(b"\1" * 5000)
    command = ["sign", "--version", "1.0.0", "--header-size", "0x20", "--pad-header", "--align", "4"]
    imgtool.main([*command, "--slot-size", "0x20000", str(flat), str(signed)], standalone_mode=False)
    data = bytearray(signed.read_bytes())
    selftest.check_image("app", bytes(data))
    data[1000] ^= 1
    with pytest.raises(RefusedError, match="hash"):
        selftest.check_image("app", bytes(data))


def test_a_model_must_be_one(tmp_path):
    selftest.check_image("model-kws", b"\x1c\0\0\0TFL3" + b"\0" * 20)
    with pytest.raises(RefusedError, match="TensorFlow"):
        selftest.check_image("model-kws", b"\0" * 40)
