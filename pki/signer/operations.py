"""The few things that the signer does; each is typed, none signs bytes that it does not understand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki import crl
from pki import x509 as certificates
from pki.kernel import clock
from pki.kernel.errors import InvalidError
from pki.keys import PublicKey
from pki.profiles import ALL_KEY_TYPES, DEVICE, LONGEST, OCSP, SERVER, CertificateRules
from pki.signer import metadata, online, oscore
from pki.signer.fields import bytes_field, integer_field, octets_field, text_of_request, uuid_text, words_field
from pki.signer.issuers import Issuers
from pki.signer.online import OnlineKeys
from pki.vault.store import Vault

CRL_LIFE = timedelta(days=7)
#: fields by name, of which nothing is known before ``pki.signer.fields`` has read them
Request = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class OperationResult:
    """The result of an operation: the answer for the caller, and the facts for the signer's log."""

    answer: Mapping[str, object]
    facts: Mapping[str, object]


class Operations:
    """The signer's operations over one vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._issuers = Issuers(vault)
        self._online = OnlineKeys(vault)
        self.table: dict[str, Callable[[str, Request], OperationResult]] = {
            "ping": lambda _domain, _request: OperationResult({}, {}),
            "public_keys": self._public_keys,
            "authority_keys": self._authority_keys,
            "last_head": self._last_head,
            "issue_device": self._issue_device,
            "door_identity": self._server_identity,
            "create_authority_key": self._create_authority_key,
            "install_authority": self._install_authority,
            "create_online_keys": self._create_online_keys,
            "prepare_online_keys": self._prepare_online_keys,
            "switch_online_keys": self._switch_online_keys,
            "retire_online_keys": self._retire_online_keys,
            "use_authority": self._use_authority,
            "sign_crl": self._sign_crl,
            "ocsp_identity": self._ocsp_identity,
            "oscore_secret": self._oscore_secret,
        }
        for name in metadata.DOCUMENTS:
            self.table[name] = self._signing(name)

    def _issue_device(self, domain: str, request: Request) -> OperationResult:
        """Issue a device certificate: the CSR gives the key only, the profile life and key types within our own."""
        key, name = uuid_text(request, "device_key"), text_of_request(request, "device_name", 100)
        days = integer_field(request, "days", 1, LONGEST.days, DEVICE.validity.days)
        key_types = words_field(request, "key_types", ALL_KEY_TYPES, DEVICE.key_types)
        issuer = self._issuers.get(domain, str(request.get("authority", ""))[:64])
        public, private = _device_key(bytes_field(request, "csr"), key_types)
        subject = certificates.device_subject(domain, key, name, public)
        profile = replace(DEVICE, validity=timedelta(days=days))
        now = clock.now()
        done = self._issued(certificates.issue_certificate(issuer, profile, subject, now, now + profile.validity))
        return OperationResult({**done.answer, "key": private}, done.facts)

    def _server_identity(self, domain: str, request: Request) -> OperationResult:
        """Make a TLS server key and certificate for a listener of this server."""
        names = request.get("host_names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            msg = "host_names must be a list of names."
            raise InvalidError(msg)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = certificates.server_subject(names, key.public_key())
        return self._identity(self._issuers.get(domain, ""), SERVER, subject, key)

    def _ocsp_identity(self, domain: str, request: Request) -> OperationResult:
        """Make a short-lived key and certificate by which a responder answers in a CA's name."""
        issuer = self._issuers.get(domain, text_of_request(request, "authority", 64))
        key = ec.generate_private_key(ec.SECP256R1())
        subject = certificates.responder_subject(f"OCSP of {domain}", key.public_key())
        return self._identity(issuer, OCSP, subject, key)

    def _identity(
        self,
        issuer: certificates.Issuer,
        profile: CertificateRules,
        subject: certificates.Subject,
        key: ec.EllipticCurvePrivateKey,
    ) -> OperationResult:
        now = clock.now()
        done = self._issued(certificates.issue_certificate(issuer, profile, subject, now, now + profile.validity))
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return OperationResult({**done.answer, "key": pem, "chain": [_der(issuer.certificate)]}, done.facts)

    def _sign_crl(self, domain: str, request: Request) -> OperationResult:
        """Sign one shard of a CA's revocation list; number and life are decided here."""
        issuer = self._issuers.get(domain, text_of_request(request, "authority", 64))
        shard = integer_field(request, "shard", 0, certificates.SHARDS - 1)
        entries = bytes_field(request, "entries")
        number = self._crl_number(domain)
        now = clock.now().replace(microsecond=0)
        der, held = crl.build_crl(issuer, shard, entries, number, now, now + CRL_LIFE)
        facts = {"authority": certificates.key_id(issuer.certificate), "shard": shard, "number": number, "held": held}
        return OperationResult({"crl": der, "number": number, "until": (now + CRL_LIFE).isoformat()}, facts)

    def _crl_number(self, domain: str) -> int:
        """Return the next CRLNumber: above all earlier ones of the domain, and above the clock after a loss."""
        last = int(self._vault.read_fact(domain, "crl.number") or 0)
        number = max(last + 1, clock.unix())
        self._vault.write_fact(domain, "crl.number", str(number).encode())
        return number

    def _create_authority_key(self, domain: str, request: Request) -> OperationResult:
        """Create the key of an issuing CA, or find the pending or named one; return its CSR."""
        name = text_of_request(request, "name", 64)
        if authority := str(request.get("authority", ""))[:64]:
            key = self._issuers.key(domain, authority)
        else:
            _, key = self._issuers.waiting(domain)
        csr = certificates.authority_csr(key, name)
        return OperationResult({"csr": csr.public_bytes(serialization.Encoding.PEM)}, {})

    def _install_authority(self, domain: str, request: Request) -> OperationResult:
        """Take an issuing CA's certificate from an offline root."""
        certificate = _certificate(bytes_field(request, "certificate"))
        root = _certificate(bytes_field(request, "root"))
        url = str(request.get("status_url", ""))[:400]
        self._issuers.install(domain, certificate, root, url, clock.now())
        return OperationResult(
            {}, {"fingerprint": certificates.certificate_fingerprint(certificate), "status_url": url}
        )

    def _use_authority(self, domain: str, request: Request) -> OperationResult:
        """Switch issuance to another CA."""
        authority = text_of_request(request, "authority", 64)
        self._issuers.use(domain, authority)
        return OperationResult({}, {"authority": authority})

    def _create_online_keys(self, domain: str, _request: Request) -> OperationResult:
        """Make the online metadata keys that are missing; return the public halves of all."""
        self._online.create_missing(domain)
        return self._public_keys(domain, {})

    def _prepare_online_keys(self, domain: str, request: Request) -> OperationResult:
        """Make the next generation of some online keys; they sign nothing before the switch."""
        names = words_field(request, "names", frozenset(online.NAMES), frozenset(online.NAMES))
        self._online.prepare(domain, names)
        return OperationResult(self._public_keys(domain, {}).answer, {"names": sorted(names)})

    def _switch_online_keys(self, domain: str, request: Request) -> OperationResult:
        """Let the next generation of some online keys sign from now on."""
        names = words_field(request, "names", frozenset(online.NAMES), frozenset(online.NAMES))
        self._online.switch(domain, names)
        return OperationResult(self._public_keys(domain, {}).answer, {"names": sorted(names)})

    def _retire_online_keys(self, domain: str, _request: Request) -> OperationResult:
        """Destroy the private halves of the generations that sign no more."""
        gone = self._online.retire(domain)
        return OperationResult({"retired": gone}, {"retired": gone})

    def _public_keys(self, domain: str, _request: Request) -> OperationResult:
        held = self._online.held(domain)
        keys = {name: generations[0] for name, generations in held.items()}
        return OperationResult({"keys": keys, "held": held, "past": self._online.past(domain)}, {})

    def _authority_keys(self, domain: str, _request: Request) -> OperationResult:
        """Return the identities of a domain's CA keys, so that none of them is accepted as another party's key."""
        return OperationResult({"identities": self._issuers.identities(domain)}, {})

    def _last_head(self, domain: str, _request: Request) -> OperationResult:
        """Return the newest signed audit-log head, which no owner of database or journal can remove."""
        head = metadata.last_head(self._vault, domain)
        return OperationResult(
            {"head": {**head, "unsigned_restores": metadata.unsigned_restores(self._vault, domain)}}, {}
        )

    def _oscore_secret(self, domain: str, request: Request) -> OperationResult:
        """Derive the secret of one OSCORE context: always the same for the same context and certificate."""
        kid, certificate = octets_field(request, "kid", oscore.KID_BYTES), octets_field(request, "certificate", 32)
        return OperationResult(
            {"secret": oscore.derive_secret(self._vault, domain, kid, certificate)}, {"kid": kid.hex()}
        )

    def _signing(self, operation: str) -> Callable[[str, Request], OperationResult]:
        def sign(domain: str, request: Request) -> OperationResult:
            payload = bytes_field(request, "payload")
            name = metadata.check_role_document(self._vault, operation, domain, payload)
            key_name = self._online.current(domain, name)
            signature = self._vault.online(domain, key_name).sign(payload)
            keyid = self._online.public(domain, key_name)["keyid"]
            return OperationResult({"keyid": keyid, "sig": signature.hex()}, {"bytes": len(payload)})

        return sign

    @staticmethod
    def _issued(certificate: x509.Certificate) -> OperationResult:
        der = _der(certificate)
        facts = {"fingerprint": certificates.certificate_fingerprint(certificate), "der": der.hex()}
        return OperationResult({"certificate": der}, facts)


def _device_key(csr: bytes, key_types: frozenset[str]) -> tuple[PublicKey, bytes]:
    """Return the key of a request; without one a new key, and its private half for the answer alone."""
    if csr:
        return certificates.csr_key(certificates.parse_csr(csr, key_types)), b""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.public_key(), key.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())


def _certificate(data: bytes) -> x509.Certificate:
    try:
        pem = data.lstrip().startswith(b"-----")
        return x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion) as error:
        msg = "This is not an X.509 certificate."
        raise InvalidError(msg) from error


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
