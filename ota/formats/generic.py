"""Anything else that a device takes as it is: a file, and beside it a detached CMS or an ES256 JWS."""

from ota.errors import RefusedBundleError
from ota.formats import detached, magic
from ota.formats.judgement import ArtefactToVerify, Judgement


def judge(case: ArtefactToVerify) -> Judgement:
    """Return what is known of the file, when one of the anchors has signed it.

    Raises:
        RefusedBundleError: unsigned, signed by a stranger, or a file of a format that has a verifier of its own.
    """
    with case.image.open("rb") as file:
        known = magic.kind_of_artefact(file)
    if known is not None:
        msg = f"The file is {magic.NAMES[known]}: upload it with the format {known!r}, so that it is verified as such."
        raise RefusedBundleError(msg)
    facts, said = detached.verify_detached(case, "The file")
    return Judgement({**facts, "flash": case.image.stat().st_size}, [said])
