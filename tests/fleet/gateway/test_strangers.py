"""Wrong enrolment tokens without end from one network, and what somebody with a good one gets meanwhile."""

import base64
import http.client
import ssl

import pytest

from tests.factories.devices import csr
from tests.factories.story import identity
from tests.regressions import regression

pytestmark = pytest.mark.xdist_group("story")
#: a network of loopback of its own, so that no other test is refused
HERE = "127.0.9.1"
PATH = "/.well-known/est/simpleenroll"


def connected(story, source, identity=None):
    context = ssl.create_default_context(cafile=story.anchor)
    if identity:
        context.load_cert_chain(*identity)
    # By number: the name of this machine may lead to IPv6.
    return http.client.HTTPSConnection(
        "127.0.0.1", story.device_port, timeout=20, context=context, source_address=(source, 0)
    )


def asked(line, secret, body):
    line.request("POST", PATH, body, {"Authorization": f"Bearer {secret}"})
    answer = line.getresponse()
    return answer.status, answer.getheader("retry-after"), answer.read()


@regression("R10", "hundreds of wrong enrolment tokens, beside a good one and a certificate from the same network")
def test_wrong_tokens_shut_nobody_out_who_has_a_good_one(story, tmp_path):
    agent = story.agent("beside-strangers", tmp_path / "disk")
    body = base64.b64encode(csr("among-strangers")[0])
    good = story.token("among-strangers")
    line = connected(story, HERE)
    seen = set()
    for number in range(900):
        status, wait, _ = asked(line, f"met_wrong-{number}", body)
        seen.add(status)
        if status == 429:
            assert int(wait) > 0
            break
    assert seen == {401, 429}
    assert asked(line, good, body)[0] == 200
    line.close()
    with_certificate = connected(story, HERE, identity(agent))
    with_certificate.request("GET", "/v1/poll")
    assert with_certificate.getresponse().status == 200
    with_certificate.close()
