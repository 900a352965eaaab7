"""Composite bundles: bundles that are installed together or not at all. The officers' signature covers them.

Format: ``parts.json`` in canonical JSON, as ``ota.contract.composite`` defines it for server and device.
"""

from ota.contract import composite
from ota.errors import RefusedBundleError
from ota.facts import BundleFacts, PartFacts
from ota.formats.judgement import ArtefactToVerify, Judgement, read_whole_file, report_line
from pki.kernel.errors import InvalidError


def judge(case: ArtefactToVerify) -> Judgement:
    """Return which bundles it names.

    Raises:
        RefusedBundleError: it is no such document.
    """
    data = read_whole_file(case.image, composite.MAX_PARTS, "list of parts")
    try:
        version, parts = composite.read_parts(data)
    except InvalidError as error:
        raise RefusedBundleError(error.detail) from error
    listed = [
        PartFacts(component=part.component, id=part.id, version=part.version, digest=part.digest) for part in parts
    ]
    facts: BundleFacts = {"version": version, "parts": listed, "flash": len(data)}
    named = ", ".join(f"{part.id} {part.version} ({part.component})" for part in parts)
    return Judgement(facts, [report_line("parts", "muster", named)])
