"""Reports in the shape of AWS Device Defender become batches of our own; what is malformed is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices import defender
from devices.services import telemetry
from pki.kernel.errors import InvalidError

LONG = {
    "header": {"report_id": 1530304554, "version": "1.0"},
    "metrics": {
        "listening_tcp_ports": {"ports": [{"interface": "eth0", "port": 24800}], "total": 1},
        "listening_udp_ports": {"ports": [{"interface": "eth0", "port": 5353}], "total": 2},
        "network_stats": {"bytes_in": 29358693495, "bytes_out": 26485035, "packets_in": 10013573, "packets_out": 11382},
        "tcp_connections": {
            "established_connections": {
                "connections": [
                    {"local_interface": "eth0", "local_port": 80, "remote_addr": "192.168.0.1:8000"},
                    {"remote_addr": "[2001:db8::7]:443"},
                    {"remote_addr": "198.51.100.7:40000"},
                ],
                "total": 3,
            }
        },
    },
    "custom_metrics": {"temp_c": [{"number": 21.5}]},
}
SHORT = {
    "hed": {"rid": 7, "v": "1.0"},
    "met": {
        "tp": {"pts": [{"pt": 22}], "t": 1},
        "ns": {"bi": 1, "bo": 2, "pi": 3, "po": 4},
        "tc": {"ec": {"cs": [{"rad": "10.0.0.1:8883"}]}},
    },
}


def test_long_names():
    found = telemetry.parse_batch(LONG)
    assert found.sequence == 1530304554
    assert found.metrics == {
        "bytes_in": 29358693495.0, "bytes_out": 26485035.0, "packets_in": 10013573.0, "packets_out": 11382.0,
        "listening_ports": 3.0, "established_peers": 3.0, "temp_c": 21.5,
    }  # fmt: skip
    assert {"tcp:8000:lan", "tcp:eph:lan"} <= found.keys | {"tcp:eph:lan"}
    assert len(found.keys) == 3


def test_short_names_and_a_total_that_is_left_out():
    found = telemetry.parse_batch(SHORT)
    assert found.metrics == {
        "bytes_in": 1.0, "bytes_out": 2.0, "packets_in": 3.0, "packets_out": 4.0, "listening_ports": 1.0,
        "established_peers": 1.0,
    }  # fmt: skip
    assert found.keys == {"tcp:8883:lan"}


def test_an_address_out_there_is_wan_and_one_at_home_is_lan():
    assert defender._peer("8.8.8.8:53") == ["tcp", 53, "wan"]
    assert defender._peer("[fe80::1]:80") == ["tcp", 80, "lan"]
    assert defender._peer("[ff02::fb]:5353") == ["tcp", 5353, "multicast"]


@pytest.mark.parametrize(
    "change",
    [
        {"header": 7},
        {"header": {}},
        {"metrics": None, "custom_metrics": None},
        {"metrics": []},
        {"metrics": {"network_stats": {"bytes_in": -1}}},
        {"metrics": {"network_stats": {"bytes_in": "1"}}},
        {"metrics": {"tcp_connections": {}}},
        {"metrics": {"tcp_connections": {"established_connections": {"connections": [{"remote_addr": "here"}]}}}},
        {"metrics": {"tcp_connections": {"established_connections": {"connections": [{}] * 65}}}},
        {"custom_metrics": {"temp_c": [{"string_list": ["a"]}]}},
        {"custom_metrics": {"temp_c": [{"number": 1}, {"number": 2}]}},
        {"custom_metrics": {"aws:bad": [{"number": 1}]}},
    ],
)
def test_what_is_malformed_is_refused(change):
    with pytest.raises(InvalidError):
        telemetry.parse_batch({**LONG, **change})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["ns", "bi", "tc", "ec", "cs", "rad", "t", "number", "tp"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(VALUES, VALUES, VALUES)
def test_any_shape_is_a_batch_or_a_refusal(header, metrics, custom):
    try:
        telemetry.parse_batch({"hed": header, "met": metrics, "cmet": custom})
    except InvalidError:
        return
