"""Names of files in a bundle: which are taken, and how each stands in a link."""

import re
from urllib.parse import quote, unquote, urlsplit

import pytest

from fleet.gateway.ddi.adapter import ROUTES
from ota.errors import ManifestError
from ota.manifest.paths import check_path, check_paths, content_disposition, quote_path
from tests.ota.odd_names import BAD, GOOD
from tests.regressions import regression


def routed(form):
    """Return the name that the route of artifacts reads in a link: the server decodes a path once."""
    path = unquote(urlsplit(f"https://localhost/softwaremodules/1/artifacts/{form}").path)[1:]
    [found] = [
        match[2] for _, pattern, *_ in ROUTES if "artifacts" in pattern and (match := re.fullmatch(pattern, path))
    ]
    return found


@regression("C1", "more than thirty odd file names, quoted in links so that the route reads the same name")
@pytest.mark.parametrize("name", GOOD)
def test_a_name_is_taken_and_its_link_leads_back_to_it(name):
    assert check_path(name) == name
    link = quote_path(name)
    lower = re.sub("%..", lambda found: found[0].lower(), link)
    assert link.isascii()
    assert {routed(form) for form in (link, lower, quote(name, safe=""))} == {name}
    assert routed(quote(link, safe="")) == link, "what is quoted twice is another name"


@regression("C1", "names that step up, end early, look like another or are too long")
@pytest.mark.parametrize("name", BAD)
def test_a_name_is_refused(name):
    with pytest.raises(ManifestError, match="Rename the file"):
        check_path(name)


@regression("C1", "names that one folder cannot hold together")
@pytest.mark.parametrize("names", [("a.swu", "A.SWU"), ("straße", "STRASSE"), ("a", "a/b"), ("x/y/z", "X")])
def test_names_of_one_bundle_can_lie_in_one_folder(names):
    check_paths(["a.swu", "a.swu.sig", "b/a.swu"])
    with pytest.raises(ManifestError, match="one of the two"):
        check_paths(names)


@pytest.mark.parametrize("name", GOOD)
def test_the_header_of_a_download_is_ascii_and_cannot_be_split(name):
    value = content_disposition(name)
    assert value.isascii()
    assert value.isprintable()
    last = name.rsplit("/", 1)[-1]
    assert value == f"attachment;filename={last}" or unquote(value.rpartition("''")[2]) == last
