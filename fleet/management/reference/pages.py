"""Write the reference: as Markdown for readers of the repository, as HTML for the console."""

from collections.abc import Iterator, Mapping

from django.template.loader import render_to_string

from fleet.management.reference.operations import DocumentedField, Group, Json, Operation, grouped_operations
from fleet.refusals import STATUS, TITLES
from pki.kernel.errors import Kind

COMMAND = "python manage.py api_reference"
#: what a refusal of each kind means to the caller; kinds that only devices get are not here
KINDS: Mapping[Kind, str] = {
    Kind.INVALID: "A parameter or a field breaks a rule, or the body cannot be read (400). `errors` names fields.",
    Kind.UNAUTHENTICATED: "The token is missing, unknown, expired or revoked. Create another one.",
    Kind.DENIED: "Your roles do not allow it. Ask an admin for the role that `detail` names.",
    Kind.NOT_FOUND: "There is no such thing in your trust domain.",
    Kind.NOT_ALLOWED: "The address does not take this method. `Allow` names those that it takes.",
    Kind.NOT_ACCEPTABLE: "The server answers in JSON only. Send `Accept: application/json`.",
    Kind.CONFLICT: "The state of the thing does not allow it now, or the name is taken.",
    Kind.PRECONDITION: "It has changed since you read it. Read it again, then repeat with the new ETag in `If-Match`.",
    Kind.TOO_LARGE: "The body is too large. JSON may have 1 MiB; `FLEET_MAX_UPLOAD_MB` bounds uploads.",
    Kind.UNSUPPORTED: "The body has another media type than those of the operation.",
    Kind.UNCONDITIONAL: "Name the version that you have read in `If-Match`.",
    Kind.LIMITED: "Too many requests. Wait for the seconds in `Retry-After`.",
    Kind.INTERNAL: "The server failed. Give the id in `detail` to whoever reads its log.",
    Kind.UNAVAILABLE: "A needed part, such as the signer, does not answer. Repeat later.",
}
INTRODUCTION = (
    """With this page you can call every operation of the REST API. All addresses begin with `/api/v1`. Create a token
under API tokens in the console, or by `manage.py operator token NAME`, and send it with each request. Bodies and
answers are JSON. A query parameter or a field that an operation does not have is refused, never ignored.""",
    """Lists answer one page, newest first: `results`, and `next`, the address of the next page or `null`.
`count=true` adds how many rows match. Things are named by their `id`; filters also take the name where they say so.""",
)


def refusal_rows() -> list[tuple[int, str, str, str]]:
    """Return status, kind, title and advice of each refusal, by status."""
    return sorted((STATUS[kind], str(kind), TITLES[STATUS[kind]], says) for kind, says in KINDS.items())


def markdown_page(document: Json) -> str:
    """Return the reference as Markdown."""
    return "\n".join(_lines(grouped_operations(document))) + "\n"


def html_fragment(document: Json) -> str:
    """Return the reference as a part of a page of the console."""
    context = {"groups": grouped_operations(document), "kinds": refusal_rows(), "introduction": INTRODUCTION}
    text = render_to_string("console/help/api_source.html", context)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def _lines(groups: list[Group]) -> Iterator[str]:
    yield from ("# REST API", "", *(line for text in INTRODUCTION for line in (text, "")))
    yield from (f"Generated from `docs/reference/openapi.json` by `{COMMAND}`; a test compares.", "", "## Groups", "")
    for group in groups:
        yield f"- [{group.name}](#{group.name}): {len(group.operations)}"
    yield from (
        "",
        "## Refusals",
        "",
        "A refusal is a problem document (RFC 9457) whose `type` is `urn:muster:problem:KIND`.",
        "",
    )
    yield from ("| Status | Kind | Title | What to do |", "|---|---|---|---|")
    yield from (f"| {status} | `{kind}` | {title} | {says} |" for status, kind, title, says in refusal_rows())
    for group in groups:
        yield from ("", f"## {group.name}")
        for one in group.operations:
            yield from _operation_lines(one)


def _operation_lines(one: Operation) -> Iterator[str]:
    roles = " or ".join(one.roles) or "every role"
    yield from ("", f"### {one.method} {one.path}", "", one.says.replace("``", "`"), "", f"Roles: {roles}.")
    if one.fields:
        yield from ("", "| Name | In | Meaning | Form | Otherwise |", "|---|---|---|---|---|")
        yield from (_row(field) for field in one.fields)
    if one.media:
        yield from ("", f"Body: {', '.join(f'`{media}`' for media in one.media)}.")
    yield from (
        "",
        "```",
        one.curl,
        "```",
        "",
        f"Answer: {one.status}{f', {one.answer}' if one.answer else ', no body'}.",
    )
    if one.example:
        yield from ("", "```json", one.example, "```")
    yield from ("", f"Refusals: {', '.join(one.refusals)}.")


def _row(field: DocumentedField) -> str:
    otherwise = "required" if field.required else f"`{field.usual}`" if field.usual else ""
    cells = (f"`{field.name}`", field.place, field.says.replace("``", "`"), field.form, otherwise)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
