"""Fields that Muster adds to TUF metadata, by their names on the wire; older agents know them, so they never change."""

#: of ``targets``: the lowest security counter that a device may still run, by component and hardware class
FLOORS_FIELD = "x-muster-floors"
#: of a bin: its own role name; after the number of bins has changed an older one must not pass for another
BIN_FIELD = "x-muster-bin"
#: of a key in a root: the person who holds it
OFFICER_FIELD = "x-muster-officer"
#: of a root: the key that signs what one device is assigned
DIRECTOR_FIELD = "x-muster-director"
#: of a root: the key that signs heads of the audit log
LEDGER_FIELD = "x-muster-ledger"
