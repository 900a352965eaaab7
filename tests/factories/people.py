"""People who may sign in, and a domain with something to see."""

import pytest
from django.test import Client

from devices.services import incidents
from fleet.operators import totp
from fleet.operators.services import links, people
from ota.planning import WavePlan
from ota.services import rollouts
from pki.kernel import clock
from tests.factories.ground import system

PASSWORD = "correct horse battery staple"
WHY = {
    "layer": "corroborated",
    "score": 8.0,
    "theta": 5.26,
    "cohort": "node|app=1",
    "text": "Sending 92.2 packets/min (baseline 4.68).",
    "metrics": [
        {"name": "packets_out", "unit": "1/tick", "trust": "self-reported", "observed": 461.0, "expected": 23.4,
         "own_z": 32.4, "cohort_z": 32.3, "channel": "spike", "share": 1.0}
    ],
    "novel": ["tcp:4444:wan"],
    "peers": [],
}  # fmt: skip


class Browser(Client):
    """A client that speaks HTTPS with localhost."""

    def __init__(self, **headers):
        super().__init__(headers={"host": "localhost", **headers})

    def request(self, **request):
        """Send as HTTPS."""
        return super().request(**{**request, "wsgi.url_scheme": "https"})


def person_with(domain, username, roles):
    """Return a person whose set-up is finished."""
    operator = people.create(actor=system(domain), username=username, roles=roles)
    set_up_account(domain, operator)
    return operator


def set_up_account(domain, operator, password=PASSWORD):
    """Set both factors by a link, as a person does; return the secret of the second one."""
    _, path = links.create_link(actor=system(domain), operator=operator)
    link = links.open_link(word=path.rsplit("/", 1)[1], address="127.0.0.1")
    links.choose_password(link=link, password=password)
    secret = links.begin_second_factor(link=link)
    code = totp.totp_code(secret, clock.unix() // totp.STEP_SECONDS)
    links.finish_set_up(link=link, code=code, address="127.0.0.1")
    operator.refresh_from_db()
    return secret


def signed_in(domain, username, roles):
    """Return a client of a person whose set-up is finished."""
    operator = person_with(domain, username, roles)
    client = Client(headers={"host": "localhost"})
    client.force_login(operator)
    client.operator = operator
    return client


class Fleet:
    """A domain that can be given more of everything."""

    def __init__(self, domain, published, enrol):
        self.domain, self.workshop, self.enrol = domain, published, enrol
        self.enrolled, self.bundles, self.rollouts = [], [], []

    @property
    def devices(self):
        return [one.device for one in self.enrolled]

    def grow(self, devices=3):
        """Add devices, one bundle with its published release, a rollout of it, and an incident."""
        number = len(self.bundles) + 1
        self.enrolled += [self.enrol(f"dev-{number}-{place}") for place in range(devices)]
        self.bundles.append(self.workshop.bundle(f"{number}.0.0", number))
        release = self.workshop.release(self.bundles[-1])
        waves = [WavePlan(count=1), WavePlan(share=1000)]
        made = rollouts.create(actor=system(self.domain), name=f"to-{number}", release=release, waves=waves)
        rollouts.start(actor=system(self.domain), rollout=made)
        rollouts.tick(domain=self.domain)
        self.rollouts.append(made)
        self.incident = incidents.raise_for(
            actor=system(self.domain), device=self.devices[-1], severity="high", explanation=dict(WHY)
        )


@pytest.fixture
def fleet(domain, published, enrol):
    """Return a small fleet with one of everything."""
    made = Fleet(domain, published, enrol)
    made.grow()
    return made
