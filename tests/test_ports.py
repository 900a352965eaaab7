"""Two test runs on one machine never get the same port."""

import socket
import subprocess
import sys

from tests.architecture.sources import ROOT
from tests.factories import ports

LEASE = "from tests.factories.ports import lease_ports; print(*lease_ports(5)); input()"


def _other_run():
    return subprocess.Popen([sys.executable, "-c", LEASE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_runs_get_different_ports():
    ours = ports.lease_ports(5)
    with _other_run() as first, _other_run() as second:
        taken = [set(map(int, one.stdout.readline().split())) for one in (first, second)]
        assert [len(one) for one in taken] == [5, 5]
        assert not taken[0] & taken[1]
        assert not set(ours) & (taken[0] | taken[1])
        first.communicate(b"\n")
        second.communicate(b"\n")


def test_a_port_that_somebody_has_without_asking_is_left_out():
    [port] = ports.lease_ports(1)
    ports._HELD.pop(port).close()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        assert port not in ports.lease_ports(20)
