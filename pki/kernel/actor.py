"""Who acts: the value that every service requires, for every listener, command and job."""

from dataclasses import dataclass
from enum import StrEnum

from pki.kernel.errors import DeniedError


class Role(StrEnum):
    """The fixed roles of people and of their tokens."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    RELEASE_OFFICER = "release-officer"
    SECURITY_OFFICER = "security-officer"
    ADMIN = "admin"


class ActorKind(StrEnum):
    """The kind of actor."""

    OPERATOR = "operator"
    DEVICE = "device"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """One authenticated party in one trust domain.

    Args:
        kind: operator (people and their tokens), device, or system (jobs and commands).
        key: stable name of the party: an operator's public id, a device's public id, a job's name.
        domain: slug of the trust domain in which the party acts; services never look beyond it.
        roles: what an operator may do; empty for devices and the system.
        via: the entry point: ``console``, ``api``, ``command``, ``device``, ``ddi``, ``est``, ``job``.
        request_id: ties log lines and ledger entries of one request together.
        token: public id of the API token by which an operator's program came; empty for people and the system.
    """

    kind: ActorKind
    key: str
    domain: str
    roles: frozenset[Role] = frozenset()
    via: str = ""
    request_id: str = ""
    token: str = ""

    @property
    def is_system(self) -> bool:
        """Return whether the actor is a job or a command on the server."""
        return self.kind is ActorKind.SYSTEM

    def require_person(self) -> None:
        """Refuse API tokens: only a person signed in with both factors, or the system, may do this."""
        if self.token:
            msg = "An API token may not do this. Sign in to the console with password and code."
            raise DeniedError(msg)

    def require_device(self, key: str) -> None:
        """Refuse unless the actor is the system or the device itself."""
        if self.kind is ActorKind.SYSTEM or (self.kind is ActorKind.DEVICE and self.key == key):
            return
        msg = "A device may act only for itself."
        raise DeniedError(msg)


def system_actor(domain: str, job: str, *, via: str = "job", request_id: str = "") -> Actor:
    """Return the actor of a job or of a command run on the server."""
    return Actor(ActorKind.SYSTEM, job, domain, via=via, request_id=request_id)


def device_actor(domain: str, key: str, *, via: str = "device", request_id: str = "") -> Actor:
    """Return the actor of an authenticated device, named by its public id."""
    return Actor(ActorKind.DEVICE, key, domain, via=via, request_id=request_id)
