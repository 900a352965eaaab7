"""Which version a Mender artifact is of: compared whole, never by the end of its name."""

import pytest

from ota.formats.mender_header import names_version
from tests.regressions import regression


def says(name, version, identity="app", **provides):
    return names_version(
        {"artifact": name, "provides": {f"{key}.version": one for key, one in provides.items()}}, identity, version
    )


@pytest.mark.parametrize(
    ("name", "version"),
    [("2.3.4", "2.3.4"), ("rel-2.3.4", "2.3.4"), ("rel_2.3.4", "2.3.4"), ("rel 2.3.4", "2.3.4"), ("fw-v1.2.3-4-gabc-dirty", "v1.2.3-4-gabc-dirty"),
     ("fw-v1.2.3", "1.2.3"), ("app-a1b2c3d", "a1b2c3d"), ("app-kirkstone-4.0.2", "kirkstone-4.0.2"), ("imx8-board-1.0-rc1", "1.0-rc1")],
)  # fmt: skip
def test_a_name_says_its_version(name, version):
    assert says(name, version)


@pytest.mark.parametrize(
    ("name", "version"),
    [("fw-2.11.0", "1.0"), ("fw-2.11.0", "11.0"), ("fw-2.11.0", "0"), ("fw-1.0-rc1", "rc1"), ("fw-1.0-2", "2"), ("fw-11.0", "1.0"),
     ("fw-1.0.0", "1.0"), ("fw-a1b2c3d", "3d"), ("other-kirkstone-4.0.2", "kirkstone-4.0.2"), ("fw-1.0", "")],
)  # fmt: skip
@regression("C5", "Mender artifact names that only end with the version of bundle.json")
def test_the_end_of_a_name_is_not_enough(name, version):
    assert not says(name, version)


def test_the_software_version_that_is_provided_counts():
    assert says("nightly", "2.3.4", **{"rootfs-image.app": "2.3.4"})
    assert not says("nightly", "2.3.4", **{"rootfs-image.app": "12.3.4"})


OWN = {"rootfs-image": "2.11.0", "data-partition.app": "1.0"}


@regression("C5", "a Mender artifact that provides versions of several components, of which one is its own")
@pytest.mark.parametrize(
    ("provides", "payload", "own"),
    [
        (OWN, "rootfs-image", "2.11.0"),
        (OWN, "single-file", "2.11.0"),
        ({"rootfs-image.single-file": "2.0", "data-partition.tool": "1.0"}, "single-file", "2.0"),
        ({"data.node-app": "2.0", "data.library": "1.0"}, "single-file", "2.0"),
        ({"data.other": "1.0"}, "single-file", "1.0"),
        ({"data.other": "1.0", "data.library": "2.0"}, "single-file", None),
        ({"data.node-app": "1.0", "rootfs-image.node-app": "2.0"}, "single-file", None),
    ],
)
def test_only_the_version_of_the_artifacts_own_software_counts(provides, payload, own):
    facts = {
        "artifact": "nightly",
        "payloads": [payload],
        "provides": {f"{key}.version": one for key, one in provides.items()},
    }
    assert [one for one in ("1.0", "2.0", "2.11.0") if names_version(facts, "node-app", one)] == ([own] if own else [])


def test_a_list_that_is_provided_says_no_version():
    facts = {"artifact": "app-1.0", "provides": {"rootfs-image.version": ["2.0"]}}
    assert names_version(facts, "app", "1.0")
    assert not names_version(facts, "app", "2.0")
