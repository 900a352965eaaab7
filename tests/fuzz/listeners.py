"""The entries of the device gateways, fed with anything: ``python -m tests.fuzz.listeners TARGET SECONDS SEED`` (atheris).

A target returns quietly or raises one of our own refusals; any other exception, a hang or too much memory is a crash.
"""

import importlib
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import devices.contract.configuration
from fleet.management.benches import listeners_storm
from tests import environment

TARGETS = ("coap", "cbor", "dtls", "oscore")
LONGEST, MEMORY_MB = 4096, 1024


def coap():
    """CoAP messages: our own reader, and aiocoap's with our mapping behind it."""
    from aiocoap import Message
    from aiocoap.error import Error as CoapError

    from fleet.gateway.coap import mapping
    from fleet.gateway.coap.fast import FastPath
    from fleet.gateway.poll_cache import Answers, PollCache
    from fleet.gateway.protocol import TransportPeer
    from pki.kernel.errors import DomainError

    table = PollCache()
    now = int(time.time())
    table.put((b"k" * 32, 7, 1, now - 10, now + 10**6))
    table.reached_by({"": 1})
    fast, peer = FastPath(table, Answers()), TransportPeer("f" * 64, b"", "192.0.2.1")

    def run(data):
        fast.answer(data, b"k" * 32, "192.0.2.1")
        try:
            message = Message.decode(data)
        except (CoapError, ValueError):  # aiocoap's own: a text that is none, for one
            return
        with suppress(DomainError):
            mapping.convert_request(message, peer)

    return run


def cbor():
    """Bodies of the device protocol, and every parser behind them."""
    from devices.services import telemetry
    from fleet.gateway import codec
    from fleet.gateway.protocol import DeviceRequest, TransportPeer
    from ota.services import reports
    from pki.kernel.errors import DomainError

    def run(data):
        for form in ("application/cbor", "application/json"):
            asked = DeviceRequest(TransportPeer(), "POST", "/v1/x", "", "", data, {"content-type": form})
            with suppress(DomainError):
                body = codec.decode_body(asked, None)
                for parse in (telemetry.parse_batch, devices.contract.configuration.check_configuration):
                    with suppress(DomainError):
                        parse(body)
        with suppress(DomainError):
            reports.parse_report(data)

    return run


def corpus(target):
    """Return good inputs to start from."""
    import cbor2
    from aiocoap import Message
    from aiocoap.numbers import codes, types

    if target == "dtls":
        first = listeners_storm.first_hello()
        return [bytes([how_far]) + len(first).to_bytes(2, "big") + first for how_far in (0, 0xF0, 255)]
    if target == "cbor":
        series = {"temp_c": {"at": int(time.time() * 1000), "step": 10, "values": [1.5, 2]}}
        body = {"seq": 1, "metrics": {"a": 1.5}, "peers": [["tcp", 443, "wan"]], "series": series}
        deep, long = b"[" * 450 + b"]" * 450, b'{"seq": 1, "metrics": {"a": 1%s}}' % (b"0" * 400)
        return [
            deep,
            long,
            cbor2.dumps(body),
            b'{"seq": 1, "metrics": {"a": 1}}',
            cbor2.dumps({"config": {"a": [1, {"b": None}]}}),
        ]
    made = Message(code=codes.GET, _mtype=types.CON, _mid=1, _token=b"abcd")
    made.opt.uri_path, made.opt.block2, made.opt.uri_host = ("v1", "blob", "0" * 64), (3, False, 6), "muster.example"
    poll = Message(code=codes.GET, _mtype=types.NON, _mid=2)
    poll.opt.uri_path, poll.opt.accept, poll.opt.observe = ("v1", "poll"), 60, 0
    if target == "oscore":
        inner = [bytes([int(one.code)]) + one.opt.encode() for one in (made, poll)]
        return [
            *(b"\xff" + one for one in inner),
            b"\0" + made.encode(),
            b"\0\x41\x02\0\x09t\x92\x19\5kid-1\xff" + bytes(12),
        ]
    return [made.encode(), poll.encode()]


def target_of(name):
    """Return what takes one input; imported here, so that it is instrumented."""
    if name in {"dtls", "oscore"}:
        return importlib.import_module(f"tests.fuzz.{name}").target()
    return {"coap": coap, "cbor": cbor}[name]()


def main():
    """Fuzz one target for some seconds; a crash ends the process with another status than 0."""
    import atheris

    target = sys.argv[1]
    with atheris.instrument_imports(include=["fleet", "devices", "ota.services.reports", "pki.kernel", "aiocoap"]):
        import django

        django.setup()
        run = target_of(target)
    fuzz(run, corpus(target))


def fuzz(run, good):
    """Let atheris loose on a target: for the seconds and with the seed of the command line."""
    import atheris

    seconds, seed = sys.argv[2], sys.argv[3]
    folder = Path(tempfile.mkdtemp(prefix="muster-fuzz-"))
    for number, data in enumerate(good):
        (folder / str(number)).write_bytes(data)
    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=5"]
    atheris.Setup([sys.argv[0], str(folder), *options, f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"], run)
    atheris.Fuzz()


if __name__ == "__main__":
    assert environment
    main()
