"""The attack table: what each row tries, what plain python-tuf does, the required result; and its document."""

from dataclasses import dataclass

from tests.regressions import table_of

MISSED, STOPPED, LATE, NONE = "lets it through", "stops it", "stops it late", "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One attack.

    Args:
        attack: what is tried.
        plain: what python-tuf's client alone does.
        outcome: the required result.
    """

    attack: str
    plain: str
    outcome: str


ROWS = {
    "T1": Row("bytes of an image changed, same length", STOPPED, "hash error, nothing written"),
    "T2": Row("a bin signed by an unknown key", STOPPED, "signature error"),
    "T3": Row("an older timestamp replayed", STOPPED, "version error"),
    "T4": Row("timestamp key stolen: an older snapshot named", STOPPED, "version error"),
    "T5": Row("timestamp and snapshot keys stolen: an older bin named", STOPPED, "version error"),
    "T6": Row("an expired timestamp served forever", STOPPED, "expiry error, and the device reports it"),
    "T7": Row("newer metadata hidden while the shown ones are still valid", MISSED, "detected by the director's answer; an incident"),
    "T8": Row("the device's clock set to 2000, an expired timestamp replayed", MISSED, "expiry error: the device's time has a lower bound"),
    "T9": Row("a newer bin served under a snapshot that names the older one", STOPPED, "version error"),
    "T10": Row("a snapshot drops a role that it listed", STOPPED, "error"),
    "T11": Row("an endless image", LATE, "cut at the signed length and one chunk of 16 KiB"),
    "T12": Row("a timestamp of a megabyte", STOPPED, "size cap"),
    "T13": Row("a root signed by one of two officers", STOPPED, "threshold error"),
    "T14": Row("targets signed by one of two officers", STOPPED, "threshold error"),
    "T15": Row("snapshot and timestamp keys stolen: an image listed that officers never signed", STOPPED, "signature error"),
    "T16": Row("the same, with bins signed on the server", MISSED, "impossible by layout: no key of a bin is on the server, and the device demands the officers' keys"),
    "T17": Row("everything fast-forwarded to version 2^31, then the officers rotate the online keys", "recovers", "recovers at the second poll at the latest"),
    "T18": Row("a validly signed image for other hardware", MISSED, "refused by the director's rules and by the device"),
    "T19": Row("an older listed image assigned", MISSED, "refused below the floor that officers signed"),
    "T20": Row("an image that arrives at 20 bytes per second", MISSED, "given up within 30 s"),
    "U1": Row("director alone: an image that is not listed", NONE, "refused: officers never signed it"),
    "U2": Row("director alone: a listed image of other hardware or another tenant", NONE, "refused"),
    "U3": Row("the image repository's online keys alone", NONE, "nothing is installed without an assignment"),
    "U4": Row("both online sides, the officers' keys safe", NONE, "only what is signed for this hardware, not below the floor"),
    "U5": Row("a report of one device replayed for another, or an old one again", NONE, "refused: id and sequence"),
    "U6": Row("director keys stolen: a floor of 2^31-1", NONE, "no effect: floors come from the officers"),
    "U7": Row("director keys stolen: a withdrawn or a laboratory build assigned to everybody", NONE, "refused: withdrawals and audiences are the officers'"),
    "U8": Row("server stolen: address, anchors, time source or policy key by twin, cacerts or command", NONE, "refused: only a bundle that officers signed changes them"),
    "D1": Row("a patch that becomes more than was signed", NONE, "cut at the signed length; the slot is left alone"),
    "D2": Row("a patch for another image than the one that runs", NONE, "refused before anything is written"),
    "D3": Row("a patch that is cut, damaged, or yields another image", NONE, "the hash of the result decides; the image itself is fetched"),
    "D4": Row("a download resumed at a wrong offset, or after the file changed", NONE, "If-Range; the hash of the whole decides"),
    "M1": Row("a model with other results on the device than its author saw", NONE, "its golden vectors fail before it is kept; the old one runs on"),
    "M2": Row("golden vectors exchanged, cut or longer than was signed", NONE, "refused before anything is swapped"),
    "M3": Row("a model on which the interpreter crashes", NONE, "the child dies, the device does not; the old one runs on"),
    "C1": Row("a composite with a part that officers never signed, or with another content, or have withdrawn", NONE, "refused; no part of it is kept"),
    "C2": Row("one part of a composite does not work on the device, or power fails between the parts", NONE, "all parts run the old version, or all the new one"),
    "C3": Row("what runs offered again and again, or another one while an image is on probation, or one that is incompatible with what runs beside it", NONE, "a confirmed image is never replaced by a worse one, and versions are never mixed"),
    "B1": Row("a signer whose certificate has expired, or is not valid yet", NONE, "refused at upload"),
    "B2": Row("a signer whose certificate was revoked", NONE, "refused at upload"),
    "B3": Row("a device's certificate signs firmware", NONE, "refused at upload"),
    "B4": Row("a codeSigning certificate of the CA that issues to devices", NONE, "refused: such a CA is no anchor for firmware"),
    "B5": Row("a file or member that nobody listed", NONE, "refused at upload"),
    "B6": Row("names with `..`, absolute names, links", NONE, "refused, nothing is written"),
    "B7": Row("a bomb: small file, endless content", NONE, "refused within the limits of the verifier"),
    "B8": Row("one person signs twice; a row is set to published by hand", NONE, "not published, and the director assigns nothing"),
}  # fmt: skip


def document(proofs: dict[str, list[str]]) -> str:
    """Return the table as Markdown.

    Args:
        proofs: row to the names of the tests that run the attack.
    """
    lines = [
        "# Attacks",
        "",
        "After reading this page you know which attacks are tested, and the required result of each.",
        "",
        "Generated by `python -m tests.attacks.test_table`; a test compares. The tests in the last column run the attack of each row:",
        "",
        "- rows T, U, D, M and C against the reference agent over a connection (U5 also against the service that receives reports)",
        "- rows B against the verifiers that the upload's child process runs (`tests/ota` and `tests/faults/test_bad_uploads.py` send",
        "  some of them through the child, the service and the operator server)",
        "- row B8 against the services and the director",
        "",
        '"python-tuf alone" is the behaviour of its plain client 7.0.1 with the same metadata.',
        "",
        "| Row | Attack | python-tuf alone | Required result | Tests |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for key, row in ROWS.items():
        tests = ", ".join(f"`{one}`" for one in proofs.get(key, []))
        lines.append(f"| {key} | {row.attack} | {row.plain} | {row.outcome} | {tests} |")
    lines += [
        "",
        "## Exercise: the whole server is stolen",
        "",
        "The exercise (`tests/attacks/test_drill.py`) gives a thief the disk, the database, the environment, the address and every online",
        "key of a running server. The thief tries floor, anchors, address, clock, time sources, policy keys, secrets, certificates, versions",
        "and commands on four devices each. No device installs anything. Two polls after the officers have signed a root with new online",
        "keys, all of them run the owners' next release.",
        "",
        "A fifth device is a real SWUpdate, which checks only its vendor's signature. From the thief's own server it installs nothing that",
        "its vendor did not sign. While the server's own code runs with rows, lists and a root that the thief made, this device is offered",
        "nothing, and can fetch nothing, that officers did not release, although its vendor has signed it. A thief who runs other code can",
        "offer it anything that its vendor ever signed.",
        "",
        "## Attacks that succeeded against earlier versions",
        "",
        "Rows R (attacks on a running server or device) and V (verifiers that were deceived). All rows:",
        "`docs/reference/regressions.md`.",
        "",
        *table_of("RV"),
    ]
    return "\n".join(lines) + "\n"


def attack(*keys):
    """Mark a test as running these rows."""

    def mark(function):
        function.rows = keys
        return function

    return mark
