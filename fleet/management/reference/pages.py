"""Generate the API reference as Markdown for the repository and as HTML for the console."""

from collections.abc import Iterator, Mapping

from django.template.loader import render_to_string

from fleet.management.reference.operations import DocumentedField, Json, Operation, OperationGroup, grouped_operations
from fleet.refusals import STATUS, TITLES
from pki.kernel.errors import ErrorKind

COMMAND = "python manage.py api_reference"
#: kind of error -> advice for the caller; without the kinds that only devices receive
KINDS: Mapping[ErrorKind, str] = {
    ErrorKind.INVALID: "A parameter or a field is invalid, or the body is malformed (400). `errors` lists the fields.",
    ErrorKind.UNAUTHENTICATED: "The API token is missing, unknown, expired or revoked. Create a new one.",
    ErrorKind.DENIED: "Your roles do not allow this operation. Ask an admin for the role named in `detail`.",
    ErrorKind.NOT_FOUND: "Your trust domain has no such object. Check the id.",
    ErrorKind.NOT_ALLOWED: "The path does not support this method. `Allow` lists the supported methods.",
    ErrorKind.NOT_ACCEPTABLE: "The server responds only in JSON. Send `Accept: application/json`.",
    ErrorKind.CONFLICT: "The current state of the object does not allow the operation, or the name is already in use.",
    ErrorKind.PRECONDITION: "The object changed after you read it. Read it again; retry with its ETag in `If-Match`.",
    ErrorKind.TOO_LARGE: "The body is too large. The limit is 1 MiB for JSON and `FLEET_MAX_UPLOAD_MB` for uploads.",
    ErrorKind.UNSUPPORTED: "The operation does not accept the media type of the body.",
    ErrorKind.UNCONDITIONAL: "Send the ETag of the version that you read in `If-Match`.",
    ErrorKind.LIMITED: "Too many requests. Wait for the number of seconds in `Retry-After`.",
    ErrorKind.INTERNAL: "The server failed. Report the id in `detail` to the server administrator; the log has it.",
    ErrorKind.UNAVAILABLE: "A required component, such as the signer, does not respond. Retry later.",
}
INTRODUCTION = (
    """After reading this page you can call every operation of the REST API. All paths begin with `/api/v1`. Create an
API token with `manage.py operator token NAME` or `POST /api/v1/me/tokens`, and send it with each request. Request and
response bodies are JSON. The server rejects unknown query parameters and fields.""",
    """Lists return one page, newest first: `results` contains the rows. `next` is the URL of the next page or `null`.
`count=true` adds the number of matching rows. The `id` identifies an object. Some filters also accept its name.""",
)


def refusal_rows() -> list[tuple[int, str, str, str]]:
    """Return status, kind, title and advice of each kind of error, sorted by status."""
    return sorted((STATUS[kind], str(kind), TITLES[STATUS[kind]], says) for kind, says in KINDS.items())


def markdown_page(document: Json) -> str:
    """Return the reference as Markdown."""
    return "\n".join(_lines(grouped_operations(document))) + "\n"


def html_fragment(document: Json) -> str:
    """Return the reference as an HTML fragment for the console."""
    context = {"groups": grouped_operations(document), "kinds": refusal_rows(), "introduction": INTRODUCTION}
    text = render_to_string("console/help/api_source.html", context)
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def _lines(groups: list[OperationGroup]) -> Iterator[str]:
    yield from ("# REST API", "", *(line for text in INTRODUCTION for line in (text, "")))
    yield from (
        f"Generated from `docs/reference/openapi.json` by `{COMMAND}`. A test verifies that both agree.",
        "",
        "## Groups",
        "",
    )
    for group in groups:
        yield f"- [{group.name}](#{group.name}): {len(group.operations)}"
    yield from (
        "",
        "## Errors",
        "",
        "An error response is a problem document (RFC 9457) with the `type` `urn:muster:problem:KIND`.",
        "",
    )
    yield from ("| Status | Kind | Title | What to do |", "|---|---|---|---|")
    yield from (f"| {status} | `{kind}` | {title} | {says} |" for status, kind, title, says in refusal_rows())
    for group in groups:
        yield from ("", f"## {group.name}")
        for operation in group.operations:
            yield from _operation_lines(operation)


def _operation_lines(operation: Operation) -> Iterator[str]:
    roles = " or ".join(operation.roles) or "any role"
    yield from (
        "",
        f"### {operation.method} {operation.path}",
        "",
        operation.says.replace("``", "`"),
        "",
        f"Roles: {roles}.",
    )
    if operation.fields:
        yield from ("", "| Name | In | Description | Type | Default |", "|---|---|---|---|---|")
        yield from (_row(field) for field in operation.fields)
    if operation.media:
        yield from ("", f"Body: {', '.join(f'`{media}`' for media in operation.media)}.")
    yield from (
        "",
        "```",
        operation.curl,
        "```",
        "",
        f"Response: {operation.status}{f', {operation.answer}' if operation.answer else ', no body'}.",
    )
    if operation.example:
        yield from ("", "```json", operation.example, "```")
    yield from ("", f"Errors: {', '.join(operation.refusals)}.")


def _row(field: DocumentedField) -> str:
    otherwise = "required" if field.required else f"`{field.usual}`" if field.usual else ""
    cells = (f"`{field.name}`", field.place, field.says.replace("``", "`"), field.form, otherwise)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
