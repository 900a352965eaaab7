"""What ``manage.py serve`` refuses before it opens anything."""

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize("host", ["10.0.0.1", "192.0.2.7", "::"])
def test_plain_coap_is_for_the_benchmark_and_for_loopback(settings, host):
    settings.FLEET_HOST = host
    with pytest.raises(CommandError, match="requires loopback"):
        call_command("serve", bench_plain=["5683:ab"])


def test_oscore_needs_the_process_that_serves_coap(settings):
    settings.FLEET_OSCORE_PORT, settings.FLEET_COAP_PORT = 5683, 0
    with pytest.raises(CommandError, match="needs FLEET_COAP_PORT"):
        call_command("serve")
