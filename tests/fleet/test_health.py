"""Who may read /metrics, and what the access log shows of one-time links."""

import pytest
from django.test import RequestFactory

from fleet import health
from fleet.observe import redact_credentials
from tests.regressions import regression


@pytest.fixture(autouse=True)
def _no_numbers(db):
    """Let there be a database with nobody in it."""


def asked(address="127.0.0.1", **fields):
    return health.metrics_page(RequestFactory().get("/metrics", REMOTE_ADDR=address, headers=fields)).status_code


@regression("A5", "/metrics from elsewhere, through a proxy of this machine, with a wrong token")
def test_metrics_are_for_this_machine_or_for_a_token(settings, tmp_path):
    secret = tmp_path / "token"
    secret.write_text("a-secret-of-some-length\n")
    assert asked() == 200
    assert asked("::1") == 200
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via"):
        assert asked(**{name: "192.0.2.1"}) == 401
    assert asked("192.0.2.1") == 401
    bearer = {"authorization": "Bearer a-secret-of-some-length"}
    assert asked("192.0.2.1", **bearer) == 401, "no token is set"
    settings.FLEET_METRICS_TOKEN_FILE = str(secret)
    assert asked("192.0.2.1", **bearer) == 200
    assert asked("192.0.2.1", authorization="Bearer a-secret-of-some-lengtH") == 401
    assert asked("192.0.2.1", authorization="Bearer ") == 401
    secret.write_text("")
    assert asked("192.0.2.1", authorization="Bearer ") == 401, "an empty token is none"


@regression("R15", "one-time links in a log line")
@pytest.mark.parametrize(
    "line",
    [
        "/sign-in/link/{}",
        "https://muster.example/sign-in/link/{}?next=/devices",
        "Not Found: /sign-in/link/{}",
        "<ASGIRequest: GET '/sign-in/link/{}'>",
        "GET /set-up/link/{}/ HTTP/1.1",
    ],
)
def test_the_secret_of_a_link_is_in_no_log(line):
    secret = "Zm9vYmFyLXNlY3JldC1saW5r"
    said = redact_credentials(line.format(secret))
    assert secret not in said
    assert "link/[hidden]" in said
