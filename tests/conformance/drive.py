"""Run schemathesis over the operator server's application, on the database of the test, by HTTP on loopback.

Single requests are answered by the real application inside a savepoint that is rolled back afterwards: each finds the
same fleet, whatever the one before has retired, revoked or deleted, and a run with the same seed asks the same. Linked
requests, which look for what the ones before have made or deleted, keep their changes until the run ends.
"""

import json
import logging
import threading
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.conf import settings
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, connections, transaction

from fleet.operators.models import ApiToken
from tests.conformance.reasons import RULES

ALIASES = ("default", "telemetry")
DOCUMENT = "/api/v1/openapi.json"
PHASES = ("examples", "coverage", "fuzzing", "stateful")
#: places of paths that name a thing
NAMING = {"public_id", "fingerprint", "key_id"}
#: what schemathesis expects of a request that its schema allows; ``reasons.py`` says where a further refusal is right
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429"]
#: 412: the ETag in If-Match names another version than the present one (RFC 9110, 13.1.1)
OUTDATED = "412"
#: what it expects of a request without a header that is required, and 428, which RFC 6585 has for If-Match
DEMANDED = ["400", "401", "403", "406", "415", "422", "428"]


@dataclass
class Found:
    """What a run has found.

    Args:
        sent: how many requests, by operation.
        ran: how often each check was made.
        failures: (check, title, operation) to the messages.
        reason: why the run ended.
    """

    sent: Counter = field(default_factory=Counter)
    ran: Counter = field(default_factory=Counter)
    failures: dict = field(default_factory=dict)
    reason: str = ""

    def lines(self):
        """Return one line for each kind of failure, with its first message."""
        return [f"{' | '.join(key)} ({len(texts)}): {texts[0][:600]}" for key, texts in self.failures.items()]


class Application:
    """The operator server's WSGI application, on the connections of the test, whichever thread asks."""

    def __init__(self, ground, *, linked=False):
        self._ground, self._linked = ground, linked
        Path(settings.STATIC_ROOT).mkdir(exist_ok=True)  # WhiteNoise warns if it is not there
        self._serve = get_wsgi_application()
        self._connections = {alias: connections[alias] for alias in ALIASES}

    def __call__(self, environ, start_response):
        environ |= {"wsgi.url_scheme": "https", "HTTP_HOST": "localhost"}
        with self._borrowed():
            return [b"".join(self._answer(environ, start_response))]

    def _answer(self, environ, start_response):
        if self._linked:
            try:
                return self._served(environ, start_response)
            finally:  # a caller who has revoked the own token would learn nothing more
                ApiToken.objects.filter(pk=self._ground.token).update(revoked_at=None)
        points = {alias: transaction.savepoint(using=alias) for alias in ALIASES}
        try:
            return self._served(environ, start_response)
        finally:
            for alias, point in points.items():
                connections[alias].needs_rollback = False
                transaction.savepoint_rollback(point, using=alias)

    def _served(self, environ, start_response):
        answer = self._serve(environ, start_response)
        try:
            return list(answer)
        finally:
            answer.close()

    @contextmanager
    def _borrowed(self):
        """Let this thread use the test's own connections."""
        for alias, connection in self._connections.items():
            connection.inc_thread_sharing()
            connections[alias] = connection
        try:
            yield
        finally:
            for connection in self._connections.values():
                connection.dec_thread_sharing()


class Quiet(WSGIRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, format, *args):  # noqa: A002  because the base class calls it so
        """Say nothing."""


@contextmanager
def served(ground, *, linked):
    """Serve the application on loopback, one request at a time; yield its address."""
    # As Django's own test client does: the end of a request would close the connection of the test.
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    server = make_server("127.0.0.1", 0, Application(ground, linked=linked), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for signal in (signals.request_started, signals.request_finished):
            signal.connect(close_old_connections)


def configuration(ground, seconds, cases, seed, *, linked):
    """Return the configuration of a run: every check, nothing disabled."""
    return {
        "seed": seed,
        "max-time": seconds,
        "headers": {"Authorization": f"Bearer {ground.secret}"},
        "workers": 1,
        "continue-on-failure": True,
        "request-retries": 0,
        "suppress-health-check": ["all"],
        "generation": {"max-examples": cases, "deterministic": True, "database": "none"},
        "phases": {phase: {"enabled": (phase == "stateful") == linked} for phase in PHASES},
        "checks": {
            "positive_data_acceptance": {"expected-statuses": ACCEPTED},
            "missing_required_header": {"expected-statuses": DEMANDED},
        },
        "operations": [
            {
                "include-name": name,
                "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "400", "422", OUTDATED]}},
            }
            for name in RULES
        ],
    }


def run(ground, seconds, cases, seed=1, *, linked=False):
    """Run every check over every operation; return what it found.

    Args:
        ground: the fleet.
        seconds: after which no further request is made.
        cases: most generated cases of an operation, beside its examples and the edges of its schema.
        seed: of the generator.
        linked: whether requests use what the ones before have answered.
    """
    import schemathesis
    from schemathesis import engine

    config = schemathesis.Config.from_dict(configuration(ground, seconds, cases, seed, linked=linked))
    found, examples = Found(), {}

    def before_call(_context, case, _kwargs):
        if not linked:
            name_real_things(case, ground, examples)

    schemathesis.hook("before_call")(before_call)
    logging.disable(logging.ERROR)
    try:
        with served(ground, linked=linked) as address:
            headers = {"Authorization": f"Bearer {ground.secret}"}
            schema = schemathesis.openapi.from_url(address + DOCUMENT, config=config, headers=headers)
            examples.update(path_examples(schema.raw_schema))
            for event in engine.from_schema(schema).execute():
                note(event, found)
    finally:
        logging.disable(logging.NOTSET)
        schemathesis.hooks.unregister(before_call)
    return found


def path_examples(document):
    """Return path -> place -> the example of the thing that stands there."""
    return {
        path: {one["name"]: one["example"] for one in next(iter(methods.values())).get("parameters", ()) if one["in"] == "path"}
        for path, methods in document["paths"].items()
    }  # fmt: skip


def name_real_things(case, ground, examples):
    """Let the path of a request name a thing of the fleet, unless the path is what is wrong with the request.

    Made-up ids would end every request in "not found"; every third of them stays one.
    """
    from schemathesis.core.parameters import ParameterLocation

    part = case.meta.components.get(ParameterLocation.PATH) if case.meta else None
    if part is None or part.mode.is_negative:
        return
    for name, value in list(case.path_parameters.items()):
        if name in NAMING and zlib.crc32(str(value).encode()) % 3:
            example = examples[case.operation.path][name]
            case.path_parameters[name] = ground.real.get(example, example)


def note(event, found):
    """Add what an event of the engine says."""
    name = type(event).__name__
    if name == "ScenarioFinished":
        for checks in event.recorder.checks.values():
            found.sent[event.recorder.label] += 1
            for check in checks:
                found.ran[check.name] += 1
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    key = (check.name, failure.title, event.recorder.label)
                    said = f"{failure.message}\n{check.failure_info.code_sample}"
                    found.failures.setdefault(key, []).append(said)
    elif name == "NonFatalError":
        found.failures.setdefault((name, "", event.label), []).append(str(event.value))
    elif name == "FatalError":
        found.failures.setdefault((name, "", ""), []).append(repr(event.exception))
    elif name == "EngineFinished":
        found.reason = str(event.stop_reason)


def written(found, path):
    """Write what a run found, for the acceptance suite."""
    facts = {"sent": sum(found.sent.values()), "operations": len(found.sent), "checks": dict(sorted(found.ran.items()))}
    path.write_text(json.dumps({**facts, "reason": found.reason, "wrong": found.lines()}, indent=1) + "\n")
