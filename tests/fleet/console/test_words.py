"""What the pages say is said for people: units, plurals, lengths of time, and no raw backticks."""

import re

import pytest

from devices.models import Incident, Twin
from fleet.console.templatetags.muster import duration

pytestmark = pytest.mark.django_db(databases=["default", "telemetry"])


def shown(client, path):
    answer = client.get(path, secure=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_incident_names_units_that_people_use(client, fleet, settings):
    settings.FLEET_DRIFT_TICK_S = 300
    incident = Incident.objects.filter(domain=fleet.domain).first()
    page = shown(client, f"/incidents/{incident.public_id}")
    assert "<b>92.2 packets/min</b>" in page
    assert "<b>4.68 packets/min</b>" in page
    assert "reported by the device" in page
    assert "1/tick" not in page


def test_the_basis_of_the_protection_has_code_and_no_backticks(client, fleet):
    device = fleet.devices[0]
    Twin.objects.filter(device=device).update(reported={"proof": {"client": "native"}})
    page = shown(client, f"/devices/{device.public_id}")
    assert "It has never requested the director (<code>/v1/director</code>)." in page
    assert "`" not in re.sub(r"<pre.*?</pre>|<script.*?</script>", "", page, flags=re.DOTALL)


def test_an_error_page_has_no_backticks(client):
    answer = client.get("/devices?state=lost", secure=True)
    assert answer.status_code == 422
    assert "<code>state</code> must be one of" in answer.content.decode()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (1, "1 s"), (90, "90 s"), (60, "1 min"), (5400, "90 min"), (3600, "1 h")]
)
def test_a_length_of_time_takes_its_largest_whole_unit(seconds, words):
    assert duration(seconds) == words
