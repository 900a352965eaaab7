"""An address that a device may be sent to has one form, and every reader sees the same in it."""

import pytest

from ota.contract.addresses import is_server


@pytest.mark.parametrize(
    "address",
    ["https://fleet.example:8444", "coaps://10.1.2.3:5684", "https://[2001:db8::1]:443", "https://localhost:1"],
)
def test_an_address(address):
    assert is_server(address)


@pytest.mark.parametrize(
    "address",
    ["http://a:1", "https://a", "https://a:0", "https://a:1/", "https://a:1/x", "https://u@a:1", "https://A:1",
     "https://a:70000", "https://a:1?x", "https://a:1#x", "https://a :1", "https://a\n:1", "https://a:01", "coap://a:1",
     "//a:1", "a:1", "https://-a:1", "https://[::1:443", "https://[]:1", "https://\u0430:1", "", 7, None, ["https://a:1"],
     "https://" + "a" * 250 + ":1"],
)  # fmt: skip
def test_what_is_none(address):
    assert not is_server(address)
