"""Count who signed: TUF counts key ids, we count keys. Two ids of one key are one signer. Pure.

Source: TUF specification 1.0, 4.3 (a threshold is a number of keys), and TAP 12 (the author of a document chooses the
id of a key, so different ids do not mean different keys).
"""

from tuf.api.metadata import Root, Targets, VerificationResult

from ota.contract.tuf_json import RoleMetadata
from pki.kernel.errors import InvalidError
from pki.kernel.public_keys import key_identity, read_tuf_fields


def signer_identities(result: VerificationResult) -> set[str]:
    """Return the identities of the keys whose signatures are valid; a key that is not accepted counts for nothing."""
    identities = set()
    for key in result.signed.values():
        try:
            identities.add(key_identity(read_tuf_fields(key.to_dict())))
        except InvalidError:
            continue
    return identities


def signed_by_enough(delegator: Root | Targets, role: str, document: RoleMetadata) -> bool:
    """Return whether as many different keys as a role demands have signed a document.

    Args:
        delegator: names keys and threshold of the role.
        role: of the document.
        document: with its signatures.
    """
    result = delegator.get_verification_result(role, document.signed_bytes, document.signatures)
    return bool(result) and len(signer_identities(result)) >= result.threshold
