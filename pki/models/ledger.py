"""The ledger: leaves written by services, put in order and signed afterwards. No row ever changes."""

from django.db import models

from pki.kernel import clock, ids
from pki.models.action_prefix import ActionPrefix
from pki.models.documents import DocumentField
from pki.models.domains import TrustDomain


class LedgerEntry(models.Model):
    """One security action, written in the transaction that did it."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    public_id = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    at = models.DateTimeField(default=clock.now)
    actor_kind = models.CharField(max_length=16)
    actor_key = models.CharField(max_length=100)
    via = models.CharField(max_length=16, blank=True)
    action = models.CharField(max_length=60, db_index=True)
    object_kind = models.CharField(max_length=40)
    object_key = models.CharField(max_length=100, db_index=True)
    detail = DocumentField(default=dict)
    request_id = models.CharField(max_length=60, blank=True)
    leaf_hash = models.CharField(max_length=64)

    class Meta:
        # With the id, so that lists in that order are read from the index and not from all rows of the domain.
        indexes = [
            models.Index(fields=["domain", "-id"]),
            models.Index(fields=["domain", "object_key", "id"], name="entries_of_a_thing"),
            models.Index(fields=["domain", "action", "id"], name="entries_of_an_action"),
            models.Index("domain", ActionPrefix("action"), "id", name="entries_of_a_prefix"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_kind} {self.object_key}"


class LedgerOrder(models.Model):
    """The place of one entry in its domain's Merkle tree."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    index = models.BigIntegerField()
    entry = models.OneToOneField(LedgerEntry, models.PROTECT, related_name="order")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "index"], name="one_entry_a_place")]

    def __str__(self) -> str:
        return f"{self.index}"


class LedgerHead(models.Model):
    """A signed tree head: the root hash over the first ``size`` leaves of an epoch."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    epoch = models.IntegerField()
    size = models.BigIntegerField()
    root_hash = models.CharField(max_length=64)
    at = models.DateTimeField()
    key_id = models.CharField(max_length=64)
    signature = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "epoch", "size"], name="one_head_a_size")]

    def __str__(self) -> str:
        return f"{self.size} {self.root_hash[:12]}"


class LedgerEdge(models.Model):
    """The tree's right edge ([height, hash] each) at the newest head, from which the next one continues.

    A table of its own: a change of the ledger's tables would take their triggers away on SQLite.
    """

    domain = models.OneToOneField(TrustDomain, models.PROTECT, related_name="+")
    size = models.BigIntegerField()
    frontier = DocumentField(default=list)

    def __str__(self) -> str:
        return f"{self.size}"


class LedgerNode(models.Model):
    """The hash of a complete subtree of 2^level leaves; kept for some levels, so that proofs need few leaves."""

    domain = models.ForeignKey(TrustDomain, models.PROTECT, related_name="+")
    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    hash = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["domain", "level", "index"], name="one_node_a_place")]

    def __str__(self) -> str:
        return f"{self.level}/{self.index}"


class JournalCheckpoint(models.Model):
    """How far the journal outside the database had been compared with it; one row (``pki.services.checkpoints``).

    In the database, so that a backup that is put back brings the place back that it had reached.
    """

    statement = DocumentField(default=dict)
    mac = models.CharField(max_length=64)

    def __str__(self) -> str:
        return self.mac[:12]
