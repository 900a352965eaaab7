"""The online metadata keys of a domain, in generations: one signs, one may be made ready, old ones are destroyed.

A generation's key is stored under ``snapshot``, ``snapshot-2``, ``snapshot-3``…; one small file says
which one signs; it is replaced atomically. Public keys are kept forever: old ledger heads need them.
"""

import json
from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric import ed25519
from securesystemslib.signer import SSlibKey

from pki.kernel.errors import ConflictError, InvalidError, NotFoundError
from pki.kernel.public_keys import TufKey
from pki.vault.store import Vault

NAMES = ("snapshot", "timestamp", "director", "ledger")


class OnlineKeys:
    """The online keys in one vault.

    Args:
        vault: holds them.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[tuple[str, str], TufKey] = {}

    def create_missing(self, domain: str) -> None:
        """Make the first generation of each key that is not there."""
        for name in NAMES:
            if not self._vault.has(domain, self.current(domain, name)):
                self._create(domain, name)

    def prepare(self, domain: str, names: Iterable[str]) -> None:
        """Make the next generation of these keys, unless it is there; it signs nothing yet."""
        for name in _known_names(names):
            self.create_missing(domain)
            following = _key_name(name, self._generation(domain, name) + 1)
            if not self._vault.has(domain, following):
                self._create(domain, following)

    def switch(self, domain: str, names: Iterable[str]) -> None:
        """Let the next generation of these keys sign from now on.

        Raises:
            NotFoundError: none was made ready.
        """
        known_names = _known_names(names)
        for name in known_names:
            if not self._vault.has(domain, _key_name(name, self._generation(domain, name) + 1)):
                msg = f"There is no next key {name}. Create it with `manage.py release online-keys --next {name}`."
                raise NotFoundError(msg)
        for name in known_names:
            following = self._generation(domain, name) + 1
            self._vault.write_fact(domain, f"{name}.generation", str(following).encode())

    def retire(self, domain: str) -> list[str]:
        """Destroy the private halves of all generations before the ones that sign; return their places."""
        gone = []
        for name in NAMES:
            for generation in range(1, self._generation(domain, name)):
                key_name = _key_name(name, generation)
                if self._vault.has(domain, key_name):
                    self._vault.destroy(domain, key_name)
                    gone.append(key_name)
        return gone

    def current(self, domain: str, name: str) -> str:
        """Return the place of the key that signs."""
        return _key_name(name, self._generation(domain, name))

    def public(self, domain: str, key_name: str) -> TufKey:
        """Return the public half of the key in a place, also when its private half is destroyed."""
        if (domain, key_name) not in self._known:
            kept = self._vault.read_fact(domain, f"{key_name}.public")
            if kept is None:
                key = SSlibKey.from_crypto(self._vault.online(domain, key_name).public_key())
                kept = json.dumps({"keyid": key.keyid, **key.to_dict()}).encode()
                self._vault.write_fact(domain, f"{key_name}.public", kept)
            self._known[domain, key_name] = json.loads(kept)
        return self._known[domain, key_name]

    def held(self, domain: str) -> dict[str, list[TufKey]]:
        """Return, by name, the public key in use, followed by the next one, if any."""
        keys = {}
        for name in NAMES:
            generation = self._generation(domain, name)
            key_names = [_key_name(name, number) for number in (generation, generation + 1)]
            here = [key_name for key_name in key_names if self._vault.has(domain, key_name)]
            if here:
                keys[name] = [self.public(domain, key_name) for key_name in here]
        return keys

    def past(self, domain: str) -> dict[str, list[TufKey]]:
        """Return, by name, the public keys of earlier generations."""
        return {
            name: [self.public(domain, _key_name(name, number)) for number in range(1, self._generation(domain, name))]
            for name in NAMES
        }

    def _create(self, domain: str, key_name: str) -> None:
        try:
            self._vault.create(domain, key_name, ed25519.Ed25519PrivateKey.generate())
        except ConflictError as error:
            msg = f"The key {key_name} already exists."
            raise ConflictError(msg) from error
        self.public(domain, key_name)

    def _generation(self, domain: str, name: str) -> int:
        return int(self._vault.read_fact(domain, f"{name}.generation") or 1)


def _key_name(name: str, generation: int) -> str:
    return name if generation == 1 else f"{name}-{generation}"


def _known_names(names: Iterable[str]) -> list[str]:
    known = sorted(set(names))
    if not known or not set(known) <= set(NAMES):
        msg = f"The online keys are: {', '.join(NAMES)}."
        raise InvalidError(msg)
    return known
