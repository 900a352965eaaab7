"""Not one bit inside the signed part of an artefact can change unnoticed, in any format."""

import pytest

from tests import flips
from tests.factories.artefacts import Makers


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    return Makers(tmp_path_factory.mktemp("artefacts"))


@pytest.mark.parametrize("format_", sorted(flips.VERIFIERS))
def test_a_flipped_bit_is_refused(makers, format_, tmp_path):
    assert flips.wrong(format_, makers.make(format_), makers.anchors(format_), 100, tmp_path) == []
