import pytest

from pki.kernel import actor as actors
from pki.services import ledger


def test_an_entry_outside_a_transaction_is_refused():
    with pytest.raises(RuntimeError, match="transaction"):
        ledger.record(actor=actors.system_actor("default", "test"), action="thing.done", thing=("thing", 1))
