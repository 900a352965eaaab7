"""Count attempts before anything slow or telling is done with them."""

from datetime import timedelta

from django.db import transaction

from fleet.operators.models import Attempts
from pki.kernel import clock
from pki.kernel.errors import LimitedError

MOST = 10
WINDOW = timedelta(minutes=10)


def take(key: str) -> None:
    """Count one attempt.

    Raises:
        LimitedError: ten within ten minutes are over.
    """
    now = clock.now()
    with transaction.atomic():
        Attempts.objects.get_or_create(key=key[:120], defaults={"until": now + WINDOW})
        row = Attempts.objects.select_for_update().get(key=key[:120])
        if row.until <= now:
            row.count, row.until = 0, now + WINDOW
        row.count += 1
        row.save()
    if row.count > MOST:
        seconds = int((row.until - now).total_seconds()) + 1
        msg = f"Too many attempts; try again in {seconds // 60 + 1} minutes."
        raise LimitedError(msg, retry_after=seconds)


def forget(key: str) -> None:
    """Forget the attempts of a key after a success."""
    Attempts.objects.filter(key=key[:120]).delete()
