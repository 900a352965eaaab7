"""Rows of composites and of patches, in the hands of somebody who owns the database, give devices nothing more."""

import hashlib
import io
import random

import pytest
import zstandard
from django.db import connection

from ota import blobs
from ota.deltas.candidates import CANDIDATES
from ota.deltas.heads import bytes_needed, is_patch
from ota.errors import RefusedBundleError
from ota.models import Bundle, BundleFile, BundleHardware, Delta, Release, Statement, StatementSignature
from ota.services import bundles, composites, releases
from pki.kernel import canonical
from tests.attacks import test_gate
from tests.factories.ground import system
from tests.regressions import regression

pytestmark = pytest.mark.django_db
PART = "net-core"
fleet = test_gate.fleet


class Site:
    """A device whose open action is a composite of two parts, one of which officers have withdrawn or not."""

    def __init__(self, fleet):
        self.fleet, self.workshop = fleet, fleet.workshop
        self.members = [fleet.upload("1.0.0", 1, id=name, component=name) for name in ("app", PART)]
        self.releases = [self.workshop.release(one) for one in self.members]

    def upload(self, streams=None):
        made = composites.write_composite(bundles=self.members, name="site", version="1.0.0", counter=1)
        files = streams or {composites.FILE: io.BytesIO(made.parts)}
        return bundles.upload(actor=system(self.fleet.domain), manifest=made.manifest, files=files)

    def assign(self):
        self.whole = self.upload()
        self.workshop.release(self.whole)
        self.made = self.fleet.assign(self.whole)
        return self

    def withdraw(self):
        """Let officers withdraw a part, and the rows say that they did not."""
        release = releases.withdraw(actor=system(self.fleet.domain), release=self.releases[1], reason="bad")
        self.workshop.publish(release.withdrawal)
        Release.objects.update(state="published")

    def part(self):
        return Bundle.objects.filter(pk=self.members[1].pk)

    def remove(self):
        """Remove the part with all that refers to it."""
        BundleFile.objects.filter(bundle=self.members[1]).delete()
        BundleHardware.objects.filter(bundle=self.members[1]).delete()
        StatementSignature.objects.filter(statement__release__bundle=self.members[1]).delete()
        Statement.objects.filter(release__bundle=self.members[1]).delete()
        Release.objects.filter(bundle=self.members[1]).delete()
        self.part().delete()

    def fetched(self):
        return [self.fleet.has_file(f"/v1/blob/{one.image.sha256}") for one in (self.whole, self.members[0])]


def facts_forget_the_part(site):
    facts = {**site.whole.facts, "parts": [one for one in site.whole.facts["parts"] if one["component"] != PART]}
    Bundle.objects.filter(pk=site.whole.pk).update(facts=facts)


def facts_name_no_part(site):
    Bundle.objects.filter(pk=site.whole.pk).update(facts={**site.whole.facts, "parts": []})


def no_composite(site):
    Bundle.objects.filter(pk=site.whole.pk).update(kind="firmware")


def manifest_names_other_parts(site):
    """The row of the manifest and of the file name another parts.json, without the part."""
    one = canonical.dumps({"schema": 1, "version": "1.0.0", "parts": site.whole.facts["parts"][:1] * 2})
    digest, size = blobs.blob_store().put(io.BytesIO(one), len(one))
    files = [{**site.whole.manifest["files"][0], "sha256": digest, "size": size}]
    Bundle.objects.filter(pk=site.whole.pk).update(manifest={**site.whole.manifest, "files": files})
    BundleFile.objects.filter(bundle=site.whole).update(sha256=digest, size=size)


def other_digest(site):
    site.part().update(digest="0" * 64)


def other_version(site):
    site.part().update(version="0.9.0")


def other_name(site):
    site.part().update(name="radio")


def part_of_another_bundle(site):
    """The row of the part is renamed, and that of a bundle which may be given takes its digest and names."""
    digest = site.members[1].digest
    site.part().update(digest="0" * 64, version="0.9.0")
    Bundle.objects.filter(pk=site.members[0].pk).update(digest=digest)


def no_row(site):
    site.remove()


EDITS = [
    facts_forget_the_part, facts_name_no_part, no_composite, manifest_names_other_parts, other_digest, other_version,
    other_name, part_of_another_bundle, no_row,
]  # fmt: skip


@pytest.fixture
def site(fleet):
    return Site(fleet)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@regression("R1", "a withdrawn part of a composite whose rows were edited, renamed or deleted")
def test_rows_do_not_hide_a_part_that_may_not_be_given(site, edit):
    site.assign()
    assert site.fetched() == [True, True]
    site.withdraw()
    assert site.fetched() == [False, False]
    edit(site)
    assert site.fetched() == [False, False]
    assert site.fleet.given(site.made) == set()


@regression("R1", "the row of a part that nobody withdrew is gone")
def test_a_composite_without_the_row_of_a_part_is_not_given(site):
    site.assign().remove()
    assert site.fetched() == [False, False]


def runs_once(when, edit):
    """Return a wrapper of queries that edits rows before the first query of which a condition holds."""
    done = []

    def wrapper(execute, sql, params, many, context):
        if not done and when(sql):
            done.append(sql)
            edit()
        return execute(sql, params, many, context)

    return wrapper, done


@regression("C9", "a part is deleted while a composite that names it is being uploaded")
def test_a_part_that_is_deleted_during_the_upload_is_missed(site):
    wrapper, done = runs_once(lambda sql: 'ORDER BY "ota_bundle"."security_counter" DESC' in sql, site.remove)
    with (
        connection.execute_wrapper(wrapper),
        pytest.raises(RefusedBundleError, match=r"net-core 1\.0\.0 .*does not exist"),
    ):
        site.upload()
    assert done
    assert not Bundle.objects.filter(kind="composite").exists()


@regression("C9", "the bytes of a file are forgotten, with another bundle, between the upload and its rows")
def test_bytes_that_are_forgotten_during_the_upload_are_kept_again(fleet):
    data = fleet.workshop.image("3.0.0", 3)
    digest = hashlib.sha256(data).hexdigest()

    def there():
        return any(one.sha256 == digest for one in blobs.blob_store().listed())

    wrapper, done = runs_once(
        lambda sql: sql.startswith("SAVEPOINT") and there(), lambda: blobs.blob_store().remove(digest)
    )
    with connection.execute_wrapper(wrapper):
        fleet.workshop.upload(data, fleet.workshop.manifest(data, "3.0.0", 3))
    assert done
    assert there()


@pytest.mark.parametrize("format_", sorted(CANDIDATES))
@regression("R1", "the row of a patch names the image of a bundle that nobody released, or other stored bytes")
def test_a_row_makes_no_patch_of_other_bytes(fleet, format_):
    bundle, secret = fleet.upload("2.0.0", 2), fleet.upload("6.6.6", 6)
    fleet.workshop.release(bundle)
    fleet.assign(bundle)
    packed = zstandard.ZstdCompressor(level=19).compress(bytes(bundle.image.size))
    other, size = blobs.blob_store().put(io.BytesIO(packed), len(packed))
    for sha256, length in ((secret.image.sha256, secret.image.size), (other, size)):
        facts = {"domain": fleet.domain, "sha256": sha256, "size": length, "base": sha256, "format": format_}
        Delta.objects.create(**facts, ram=1, seconds=1, result=bundle.image.sha256)
    named = secret.image.sha256
    BundleFile.objects.filter(bundle=secret).delete()
    assert not fleet.has_file(f"/v1/blob/{named}")
    assert not fleet.has_file(f"/v1/blob/{other}")
    assert fleet.has_file(f"/v1/blob/{fleet.patch}")


@pytest.mark.parametrize("length", [100, 5000, 200_000])
@pytest.mark.parametrize("format_", sorted(CANDIDATES))
def test_each_format_is_known_by_its_head_and_the_length_that_it_makes(format_, length):
    old = random.Random(1).randbytes(length)
    new = old[: length // 2] + b"changed" + old[length // 2 :]
    made = CANDIDATES[format_].make(old, new)
    shown = made[: bytes_needed(format_, len(made))]
    assert is_patch(format_, shown, len(made), len(new))
    assert not is_patch(format_, shown, len(made), len(new) + 1)
    assert not is_patch(format_, new[: bytes_needed(format_, len(new))], len(new), len(new))
    assert not any(is_patch(format_, made[:cut], cut, len(new)) for cut in (0, 1, 2))
