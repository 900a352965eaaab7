"""Pages of lists: a wrong limit is refused, whatever it is written with."""

import pytest
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from fleet.api import lists
from pki.kernel.errors import InvalidError
from tests.regressions import regression


@regression("B5", "limits of lists in digits of other scripts, superscripts, signs, and numbers without end")
@pytest.mark.parametrize("limit", ["²", "٣x", "0", "-1", "+1", "1e2", "9" * 4000, "501", " 5", ""])
def test_a_limit_that_is_no_number_is_refused(limit):
    asked = Request(APIRequestFactory().get("/", {"limit": limit}))
    with pytest.raises(InvalidError, match="`limit` must be between 1 and 500"):
        lists._limit(asked.query_params["limit"])
