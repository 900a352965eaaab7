"""What a supervisor says of its child, as one JSON object on standard output."""

from typing import TypedDict

from pki.kernel import intake


class ChildReport(TypedDict):
    """How a confined child ended, and what it said.

    Args:
        end: why it had to end; empty when it ended by itself.
        code: its exit code, negative for a signal.
        answer: the beginning of its standard output; it has read hostile bytes.
        complaint: the beginning of its standard error.
        holds: promised property to the mechanism that kept it.
        missing: promises that this machine does not keep.
    """

    end: str
    code: int
    answer: str
    complaint: str
    holds: dict[str, str]
    missing: list[str]


def read_report(document: object) -> ChildReport:
    """Return the report that a document is.

    Raises:
        InvalidError: it is none.
        KeyError: a field is missing.
    """
    said = intake.map_of(document, "report")
    holds, missing = intake.map_of(said["holds"], "holds"), intake.list_of(said["missing"], "missing")
    return ChildReport(
        end=intake.read_text(said["end"], "end"),
        code=intake.check_integer(said["code"], "code"),
        answer=intake.read_text(said["answer"], "answer"),
        complaint=intake.read_text(said["complaint"], "complaint"),
        holds={name: intake.read_text(how, name) for name, how in holds.items()},
        missing=[intake.read_text(text, "missing") for text in missing],
    )
