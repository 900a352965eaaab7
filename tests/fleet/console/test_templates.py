"""What holds for every template of the console."""

import re

from tests.architecture.sources import ROOT
from tests.regressions import regression

FORM = re.compile(r"<form\b(?P<attributes>[^>]*(?:{%[^%]*%}[^>]*)*)>(?P<body>.*?)</form>", re.DOTALL)


@regression("A3", "a form whose CSRF token would stand in the address")
def test_no_form_that_holds_a_secret_is_sent_by_get():
    templates = sorted((ROOT / "fleet").rglob("templates/**/*.html"))
    assert len(templates) > 30
    wrong, forms = [], 0
    for path in templates:
        for form in FORM.finditer(path.read_text()):
            forms += 1
            secret = (
                "csrf_token" in form["body"] or 'type="password"' in form["body"] or "one-time-code" in form["body"]
            )
            posted = re.search(r'method="?post', form["attributes"], re.IGNORECASE)
            if secret and (not posted or re.search(r'formmethod="?get', form["body"], re.IGNORECASE)):
                wrong.append(path.name)
            if posted and "csrf_token" not in form["body"]:
                wrong.append(f"{path.name}: no CSRF token")
    assert forms > 15
    assert wrong == []
