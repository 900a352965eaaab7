"""A long step does as much at a time as keeps its transactions short."""

from django.db import connection

from ota.services.pace import LEAST, WISHED_BESIDE_OTHERS, WISHED_SECONDS, TransactionPace

WISHED = WISHED_SECONDS if connection.vendor == "sqlite" else WISHED_BESIDE_OTHERS


def test_it_grows_to_the_most_while_transactions_are_short():
    pace, seen = TransactionPace(330), []
    for _ in range(20):
        seen.append(pace.devices)
        pace.took(WISHED / 10)
    assert seen[0] < seen[1]
    assert seen == sorted(seen)
    assert seen[-1] == 330


def test_it_shrinks_at_once_when_one_was_long_but_never_to_nothing():
    pace = TransactionPace(1000, 800)
    pace.took(WISHED * 2)
    assert pace.devices == 400
    for _ in range(20):
        pace.took(WISHED * 100)
    assert pace.devices == LEAST


def test_it_settles_where_a_transaction_takes_as_long_as_it_should():
    pace = TransactionPace(1000)
    for _ in range(50):
        pace.took(pace.devices * WISHED / 150)
    assert 100 <= pace.devices <= 230
