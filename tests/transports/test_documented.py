"""The documented examples, byte for byte, against a running listener, and both sides against the documented schema."""

import json
from pathlib import Path

import cbor2
import pycddl
import pytest

from tests.factories.story import identity

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
SCHEMA = (REFERENCE / "device-protocol.cddl").read_text()
EXAMPLES = json.loads((REFERENCE / "device-examples.json").read_text())
pytestmark = pytest.mark.xdist_group("listeners")


def conforms(rule, data):
    """Raise unless CBOR is what a rule of the documented schema says."""
    pycddl.Schema(f"start = {rule}\n{SCHEMA}").validate_cbor(data)


@pytest.fixture(scope="module")
def agent(story, tmp_path_factory):
    return story.agent("documented", tmp_path_factory.mktemp("documented"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one["name"])
def test_an_example_is_answered_as_documented(story, agent, example):
    body = bytes.fromhex(example["body"]) if "body" in example else None
    if "rule" in example:
        conforms(example["rule"], body)
    headers = {"Content-Type": example["content_type"]} if body is not None else {}
    status, _, answer = story.call(example["method"], example["path"], body, headers, identity(agent))
    assert status == example["status"], answer
    if "answer_rule" in example:
        conforms(example["answer_rule"], answer)
    if "answer" in example:
        assert answer.hex() == example["answer"]


def test_what_the_agent_sends_conforms_to_the_schema(agent):
    sent = []
    line, real = agent._server(), agent._server().call

    def call(method, path, body=None, headers=None):
        sent.append((path, body))
        return real(method, path, body, headers)

    line.call = call
    try:
        agent.report()
        agent.telemetry({"temp_c": 20.5}, [("tcp", 443, "wan")])
        agent.step()
    finally:
        del line.call
    rules = {"/v1/report": "report-request", "/v1/telemetry": "telemetry-request"}
    checked = [conforms(rules[path], body) for path, body in sent if path in rules]
    assert len(checked) >= 2
    conforms("report-payload", cbor2.loads(sent[0][1])["payload"])


def test_a_schema_that_does_not_fit_is_noticed():
    with pytest.raises(pycddl.ValidationError):
        conforms("poll-answer", cbor2.dumps({"next": "soon"}))
