"""``manage.py operator create | login-link | token | tokens | revoke-token``."""

import json
from typing import TypedDict, Unpack

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.operators import selectors
from fleet.operators.models import ApiToken, LoginLink
from fleet.operators.services import links, people, tokens
from pki.kernel import actor as actors
from pki.kernel import clock
from pki.kernel.errors import DomainError


class OperatorOptions(TypedDict, total=False):
    """Options of the command; only those of the chosen action are set."""

    domain: str
    json: bool
    act: str
    username: str
    role: list[str]
    first: bool
    name: str
    days: int
    id: str


class Command(BaseCommand):
    """Manage operators from the server's shell."""

    help = "Create operators, one-time sign-in links and API tokens."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        parser.add_argument("--domain", default="default", help="slug of the trust domain (default: %(default)s)")
        parser.add_argument("--json", action="store_true", help="write the result as JSON")
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="create an operator")
        create.add_argument("username", help="name for signing in")
        create.add_argument("--role", action="append", default=[], help="role of the operator; may be repeated")
        link = acts.add_parser(
            "login-link", help="print a one-time link for account set-up or recovery; it is valid for one hour"
        )
        link.add_argument("username", help="name of the operator")
        link.add_argument("--first", action="store_true", help="only if the account is not set up yet")
        token = acts.add_parser("token", help="create an API token")
        token.add_argument("username", help="name of the operator")
        token.add_argument("--name", default="command line", help="what the token is for (default: %(default)s)")
        token.add_argument("--days", type=int, default=tokens.USUAL_DAYS, help="validity (default: %(default)s days)")
        acts.add_parser("tokens", help="list the API tokens of the trust domain")
        revoked = acts.add_parser("revoke-token", help="revoke an API token and the tokens created with it")
        revoked.add_argument("id", help="id of the token, as listed by `tokens`")

    def handle(self, *_args: object, **options: Unpack[OperatorOptions]) -> None:
        """Run one action."""
        try:
            facts = self._act(options)
        except DomainError as error:
            raise CommandError(error.detail) from error
        text = json.dumps(facts) if options["json"] else "\n".join(f"{name}: {value}" for name, value in facts.items())
        self.stdout.write(text)

    def _act(self, options: OperatorOptions) -> dict[str, str]:
        actor = actors.system_actor(options["domain"], "command", via="command")
        if options["act"] == "create":
            operator = people.create(actor=actor, username=options["username"], roles=options["role"])
            return {"operator": operator.username, "roles": ", ".join(options["role"])}
        if options["act"] == "tokens":
            return {str(row.public_id): _token_line(row) for row in selectors.tokens_of(actor=actor)}
        if options["act"] == "revoke-token":
            row = tokens.revoke_api_token(actor=actor, public_id=options["id"])
            return {"revoked": str(row.public_id), "operator": row.operator.username}
        operator = people.operator_by_name(options["domain"], options["username"])
        if options["act"] == "login-link":
            if options["first"] and operator.set_up:
                return {"url": f"https://{settings.FLEET_HOST_NAMES[0]}:{settings.FLEET_OPERATOR_PORT}/"}
            return _link_facts(*links.create_link(actor=actor, operator=operator))
        _, secret = tokens.create(actor=actor, operator=operator, name=options["name"], days=options["days"])
        return {"secret": secret}


def _link_facts(link: LoginLink, path: str) -> dict[str, str]:
    url = f"https://{settings.FLEET_HOST_NAMES[0]}:{settings.FLEET_OPERATOR_PORT}{path}"
    facts = {"path": path, "url": url, "purpose": link.purpose, "expires": f"{link.expires_at:%Y-%m-%d %H:%M} UTC"}
    if link.waits_for_approval:
        facts["approval"] = "A second admin must approve this link in the console under People before it works."
    return facts


def _token_line(row: ApiToken) -> str:
    state = "revoked" if row.revoked_at else "expired" if row.expires_at <= clock.now() else "valid"
    return f"{row.operator.username}, {row.name}, {row.prefix}…, {state}, expires {row.expires_at:%Y-%m-%d}"
