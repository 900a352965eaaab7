"""Write ``docs/reference/permissions.md`` from the table of rights: ``python -m tests.permissions``; a test compares."""

from pki.kernel.actor import Role
from pki.kernel.permissions import RIGHTS
from tests.architecture.sources import ROOT

DOCUMENT = ROOT / "docs" / "reference" / "permissions.md"

HEAD = """# Permissions

After reading you know which role a person needs for an action, on the console, in the REST API and with `manage.py`.

Written by `python -m tests.permissions` from `pki/kernel/permissions.py`; a test compares.

- One of the roles marked ● is enough. Whoever holds any role may do what is marked for `viewer`.
- `admin` includes no other role but `viewer`: who grants roles cannot, by that alone, release firmware.
- An API token acts with the roles that its operator has at that moment. A token cannot create or approve sign-in links.
- Commands on the server (`manage.py`) and its own jobs may do every action in the trust domain that they name.
- Devices do none of these; what a device may do for itself stands in [the device protocol](device-protocol.md).
- Every right ends at the trust domain. Who lacks the role is answered with `denied` and the roles that would do; an
  object of another trust domain is answered with `not-found`.
- A role opens the way to an officer's signature and does not replace it: what devices install is decided by signatures
  of two officers.

"""


def document():
    """Return the page as it must stand."""
    lines = [f"| Action | What it does | {' | '.join(f'`{role}`' for role in Role)} |"]
    lines.append("|---|---|" + ":-:|" * len(Role))
    for action, right in RIGHTS.items():
        marks = " | ".join("●" if role in right.roles else "" for role in Role)
        lines.append(f"| `{action}` | {right.does} | {marks} |".replace("|  |", "| |").replace("|  |", "| |"))
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
