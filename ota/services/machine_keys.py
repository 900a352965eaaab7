"""Keys that machines hold: present and past online keys of all domains, CAs and certified keys. None is a person's."""

from collections.abc import Iterator

from tuf.api.metadata import Root

from ota.contract import root_keys
from ota.errors import MetadataError
from ota.services.online_roles import published_repository
from ota.trust import policy
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity, read_raw
from pki.models import Certificate, TrustDomain
from pki.services import own_keys, signing


def machine_identities(root: Root) -> set[str]:
    """Return the identities of keys that servers, CAs and devices hold or held, as far as a root could name them.

    Args:
        root: whose people's keys are looked up among the certified ones.
    """
    identities = own_keys.own_identities()
    for slug in TrustDomain.objects.values_list("slug", flat=True):
        identities.update(_online(slug))
    try:
        people = root_keys.read_root_keys(root.to_dict()).people
    except InvalidError:
        return identities  # the check of the root reports what is wrong with it
    named = {identity for held in people.values() for identity in held.values()}
    certified = Certificate.objects.filter(spki_sha256__in=named).values_list("spki_sha256", flat=True)
    return identities | set(certified)


def _online(slug: str) -> Iterator[str]:
    """Yield keys of the signer, and keys in published roots that the signer does not know any more."""
    line = signing.signer_client("admin")
    for name in policy.ONLINE:
        yield from (key_identity(read_raw(raw)) for raw in line.every_key(slug, name).values())
    store = published_repository(slug)
    for version in store.versions(Root.type):
        try:
            yield from root_keys.read_root_keys(store.root_of(version).signed.to_dict()).online_identities()
        except (InvalidError, MetadataError):
            continue
