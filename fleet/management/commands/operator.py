"""``manage.py operator create | login-link | token``."""

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.operators.services import people, tokens
from pki.kernel import actor as actors
from pki.kernel.errors import DomainError


class Command(BaseCommand):
    """Manage operators from the server's own shell."""

    help = "Make operators, one-time sign-in links and API tokens."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the acts."""
        parser.add_argument("--domain", default="default")
        parser.add_argument("--json", action="store_true")
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make an operator")
        create.add_argument("username")
        create.add_argument("--role", action="append", default=[])
        link = acts.add_parser("login-link", help="print a one-time sign-in address")
        link.add_argument("username")
        token = acts.add_parser("token", help="make an API token")
        token.add_argument("username")
        token.add_argument("--name", default="command line")
        token.add_argument("--days", type=int, default=90)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run one act."""
        try:
            facts = self._act(options)
        except DomainError as error:
            raise CommandError(error.detail) from error
        text = json.dumps(facts) if options["json"] else "\n".join(f"{name}: {value}" for name, value in facts.items())
        self.stdout.write(text)

    def _act(self, options: dict[str, Any]) -> dict[str, str]:
        actor = actors.system(options["domain"], "command", via="command")
        if options["act"] == "create":
            operator = people.create(actor=actor, username=options["username"], roles=options["role"])
            return {"operator": operator.username, "roles": ", ".join(options["role"])}
        operator = people.by_name(options["domain"], options["username"])
        if options["act"] == "login-link":
            path = people.login_link(actor=actor, operator=operator)
            name = settings.FLEET_HOST_NAMES[0]
            return {"path": path, "url": f"https://{name}:{settings.FLEET_OPERATOR_PORT}{path}"}
        _, secret = tokens.create(actor=actor, operator=operator, name=options["name"], days=options["days"])
        return {"secret": secret}
