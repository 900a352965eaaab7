"""Trust domains: the only objects that are read without an actor."""

from pki.kernel.errors import NotFoundError
from pki.kernel.recent import Recent
from pki.models import TrustDomain

_domains: Recent[str, list[TrustDomain]] = Recent(seconds=1.0)


def domain(slug: str) -> TrustDomain:
    """Return a trust domain by its slug.

    Raises:
        NotFoundError: there is none.
    """
    found = TrustDomain.objects.filter(slug=slug).first()
    if found is None:
        msg = "There is no such trust domain."
        raise NotFoundError(msg)
    return found


def domains() -> list[TrustDomain]:
    """Return every trust domain of this server; jobs iterate over them."""
    return list(TrustDomain.objects.order_by("id"))


def known_domains() -> list[TrustDomain]:
    """Return every trust domain, cached for at most a second, because listeners need them for each request."""
    return _domains.get("", domains)


def known_domain(slug: str) -> TrustDomain:
    """Return a trust domain by its slug, cached for at most a second.

    Raises:
        NotFoundError: there is none.
    """
    found = next((one for one in known_domains() if one.slug == slug), None)
    return found or domain(slug)
