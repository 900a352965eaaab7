"""Trust domains: the only objects that are read without an actor."""

from pki.kernel.errors import NotFoundError
from pki.kernel.recent import Recent
from pki.models import TrustDomain

_domains: Recent[str, list[TrustDomain]] = Recent(seconds=1.0)


def get_domain(slug: str) -> TrustDomain:
    """Return a trust domain by its slug.

    Raises:
        NotFoundError: there is none.
    """
    domain = TrustDomain.objects.filter(slug=slug).first()
    if domain is None:
        msg = "There is no such trust domain."
        raise NotFoundError(msg)
    return domain


def list_domains() -> list[TrustDomain]:
    """Return every trust domain of this server; jobs iterate over them."""
    return list(TrustDomain.objects.order_by("id"))


def known_domains() -> list[TrustDomain]:
    """Return every trust domain, cached for at most a second, because listeners need them for each request."""
    return _domains.get("", list_domains)


def known_domain(slug: str) -> TrustDomain:
    """Return a trust domain by its slug, cached for at most a second.

    Raises:
        NotFoundError: there is none.
    """
    found = next((domain for domain in known_domains() if domain.slug == slug), None)
    return found or get_domain(slug)
