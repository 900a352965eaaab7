"""The console in a real Chromium: sign in, visit every page, act; strict content security policy, light, dark and phone."""

import hashlib
import json
import os
import re
import uuid
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from fleet.management.quickstart import material
from fleet.operators import totp
from pki.kernel import clock
from tests.architecture.sources import ROOT
from tests.peers.operator import Operator
from tests.peers.programs import require

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("story")]
PASSWORD = "a long enough pass phrase"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
IMAGES = ROOT / "docs" / "images"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 860}
AXE = ROOT / "tests/e2e/vendor/axe.min.js"


class Console:
    """A signed-in browser."""

    def __init__(self, browser, story, state):
        self.browser, self.story, self.state = browser, story, state
        self.base = f"https://localhost:{story.operator_port}"

    @contextmanager
    def page(self, theme="light", size=None, *, bypass=False):
        """Yield a page that fails the test on any console error or failed request."""
        context = self.browser.new_context(
            ignore_https_errors=True,
            storage_state=self.state,
            viewport=size or DESKTOP,
            color_scheme=theme,
            base_url=self.base,
            bypass_csp=bypass,
        )
        page = context.new_page()
        errors = []
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "response", lambda answer: errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
        )
        yield page
        context.close()
        assert errors == []


@pytest.fixture(scope="module")
def browser():
    program = require("chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=FLAGS, headless=True)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def console(browser, story):
    """Set a new account up by its one-time link."""
    username = f"eva_{uuid.uuid4().hex[:6]}"
    roles = [word for role in ("operator", "security-officer", "release-officer", "admin") for word in ("--role", role)]
    story.manage("operator", "create", username, *roles)
    link = json.loads(story.manage("operator", "--json", "login-link", username).stdout)["path"]
    context = browser.new_context(ignore_https_errors=True, base_url=f"https://localhost:{story.operator_port}")
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Begin set-up").click()
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    secret = page.locator("[data-totp-secret]").text_content().strip()
    page.get_by_label("Code").fill(totp.totp_code(secret, clock.unix() // totp.STEP_SECONDS))
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    state = context.storage_state()
    context.close()
    made = Console(browser, story, state)
    made.username, made.secret = username, secret
    return made


def shot(page, name):
    """Keep a picture where MUSTER_IMAGES asks for it; always take it, so that it must render."""
    data = page.screenshot(full_page=True)
    assert len(data) > 10_000
    if os.environ.get("MUSTER_IMAGES"):
        IMAGES.mkdir(parents=True, exist_ok=True)
        (IMAGES / f"{name}.png").write_bytes(data)


def first(story, path):
    return story.rest.get(path)["results"][0]["id"]


def released(story):
    """Return the incident whose device was sent back and released; on a busy machine another one may follow it."""
    rows = story.rest.get("/incidents?limit=20")["results"]
    return next(one["id"] for one in rows if one["reaction"].get("released"))


@pytest.fixture(scope="module")
def pages(console):
    """Return the address of each screen."""
    story = console.story
    model = next(one["id"] for one in story.rest.get("/bundles")["results"] if one["kind"] == "model")
    return {
        "overview": "/",
        "devices": "/devices",
        "device": f"/devices/{story.device(story.summary['flagged'][0])['id']}",
        "tokens": "/tokens",
        "people": "/people",
        "api-tokens": "/api-tokens",
        "bundles": "/bundles",
        "bundle": f"/bundles/{first(story, '/bundles')}",
        "model": f"/bundles/{model}",
        "contents": f"/bundles/{model}/contents?q=nabu",
        "fit": "/bundles/fit",
        "rollouts": "/rollouts",
        "rollout": f"/rollouts/{first(story, '/rollouts?name=firmware-1.2.4')}",
        "incidents": "/incidents",
        "incident": f"/incidents/{released(story)}",
        "help": "/help",
        "help-api": "/help/api",
        "ledger": "/ledger",
        "approvals": "/approvals?state=",
        "authorities": "/authorities",
        "certificates": "/certificates",
        "plan": "/rollouts/plan",
    }


LOOKS = [("light", DESKTOP, "light"), ("dark", DESKTOP, "dark"), ("light", PHONE, "phone")]


@pytest.mark.parametrize(("theme", "size", "look"), LOOKS)
def test_every_screen_renders_without_an_error(console, pages, theme, size, look):
    with console.page(theme, size) as page:
        for name, address in pages.items():
            page.goto(address)
            expect(page.locator("h1").first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], (name, "scrolls sideways")
            if name in {"overview", "device", "rollout", "incident", "bundle", "devices"}:
                shot(page, f"{name}-{look}")


@pytest.mark.parametrize(("theme", "size", "look"), LOOKS)
def test_no_screen_has_an_accessibility_violation(console, pages, theme, size, look):
    rules = AXE.read_text()
    with console.page(theme, size, bypass=True) as page:
        for name, address in pages.items():
            page.goto(address)
            page.evaluate(rules)
            tags = ["wcag2a", "wcag2aa", "wcag21aa"]
            found = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)
            told = [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]]
            assert told == [], (name, look)


def test_counts_are_links_and_the_filter_stands_in_the_address(console):
    with console.page() as page:
        page.goto("/")
        page.get_by_role("link", name="quarantined").click()
        assert urlsplit(page.url).query == "quarantined=yes"
        page.goto("/devices?hardware=vib-node")
        names = {name.split()[0] for name in page.locator("tbody tr td:first-child").all_text_contents()}
        known = {row["name"] for row in console.story.rest.all("/devices?hardware=vib-node&limit=500")}
        assert names
        assert names <= known


def test_the_incident_explains_itself_and_what_was_done(console, pages):
    with console.page() as page:
        page.goto(pages["incident"])
        expect(page.get_by_text("tcp:4444:wan").first).to_be_visible()
        expect(page.get_by_text("The device was quarantined.")).to_be_visible()
        expect(page.get_by_text("the rollout resumed")).to_be_visible()


def test_the_rollout_page_shows_why_a_device_failed_and_lists_it(console, pages):
    with console.page() as page:
        page.goto(pages["rollout"])
        expect(page.get_by_text("are not the signed ones").first).to_be_visible()
        page.get_by_role("link", name="failed").click()
        assert "group=failed" in page.url
        expect(page.locator("tbody tr")).to_have_count(2)


def test_a_rollout_page_is_live(console):
    story = console.story
    release = story.rest.get("/rollouts?name=firmware-1.2.4")["results"][0]["release"]
    name = f"live-{uuid.uuid4().hex[:6]}"
    made = story.rest.post("/rollouts", {"name": name, "release": release, "waves": [{"share": 1000}]})
    with console.page() as page:
        page.goto(f"/rollouts/{made['id']}")
        page.get_by_role("button", name="Start rollout").click()
        expect(page.locator("[data-state=running]")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("offered").first).to_be_visible(timeout=60_000)
        story.rest.post(f"/rollouts/{made['id']}/pause")
        expect(page.locator("[data-state=paused]")).to_be_visible(timeout=60_000)
        page.get_by_role("button", name="Abort rollout").click()
        page.wait_for_url(re.compile("/abort$"))
        page.get_by_role("button", name="Abort rollout").click()
        expect(page.locator("[data-state=aborted]")).to_be_visible(timeout=60_000)


def bundle_files(console, folder, *, flip=False):
    """Return what a person chooses on the page: bundle.json and the image, which may have one bit flipped."""
    operator = Operator(console.story, folder)
    board = operator.board("upload-board")
    made = material.build_firmware(
        console.story.folder / "offline", folder / "made", material.fetch_archives()["uflash==1.1.0"], "5.1.0", 51
    )
    data = bytearray(made.files["app.bin"].read_bytes())
    data[len(data) // 2] ^= flip
    manifest = {
        "schema": 1, "id": f"upload-{folder.name[-4:]}", "version": "5.1.0", "kind": "firmware", "format": "mcuboot",
        "component": "app", "security_counter": 51, "audience": ["production"],
        "hw": [{name: board[name] for name in ("vendor_id", "class_id", "name")}],
        "files": [{"path": "app.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "role": "image"}],
    }  # fmt: skip
    return [
        {"name": "bundle.json", "mimeType": "application/json", "buffer": json.dumps(manifest).encode()},
        {"name": "app.bin", "mimeType": "application/octet-stream", "buffer": bytes(data)},
    ]


def test_a_bundle_is_uploaded_on_the_page_refused_with_the_reason_and_then_accepted(console, tmp_path):
    (bad_manifest, bad), (manifest, image) = (bundle_files(console, tmp_path, flip=flip) for flip in (True, False))
    context = console.browser.new_context(
        ignore_https_errors=True, storage_state=console.state, viewport=DESKTOP, base_url=console.base
    )
    page = context.new_page()
    page.goto("/bundles")
    page.get_by_label("bundle.json").set_input_files(bad_manifest)
    page.get_by_label("Files listed in the manifest").set_input_files(bad)
    page.get_by_role("button", name="Upload and verify").click()
    expect(page.get_by_role("alert")).to_contain_text("changed after it was signed", timeout=30_000)
    assert page.get_by_label("bundle.json").evaluate("field => field.files.length") == 1, "what was chosen is kept"
    page.get_by_label("bundle.json").set_input_files(manifest)
    page.get_by_label("Files listed in the manifest").set_input_files(image)
    page.get_by_role("button", name="Upload and verify").click()
    page.wait_for_url(re.compile("/bundles/[0-9a-f-]{36}"), timeout=30_000)
    expect(page.get_by_role("heading", level=1)).to_contain_text("5.1.0")
    context.close()


def test_an_upload_can_be_cancelled_and_nothing_that_was_chosen_is_lost(console, tmp_path):
    manifest, image = bundle_files(console, tmp_path)
    with console.page() as page:
        page.goto("/bundles")
        page.get_by_label("bundle.json").set_input_files(manifest)
        page.get_by_label("Files listed in the manifest").set_input_files(image)

        def never(_route):
            """Answer nothing: the upload is under way until it is cancelled."""

        page.route("**/bundles", never)
        page.get_by_role("button", name="Upload and verify").click()
        expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()
        expect(page.get_by_role("button", name="Upload and verify")).to_be_disabled()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("alert")).to_have_text("Upload canceled. The server stored nothing.")
        expect(page.get_by_role("button", name="Upload and verify")).to_be_enabled()
        page.unroute_all(behavior="ignoreErrors")


def test_without_the_script_the_upload_is_a_plain_form(console, tmp_path):
    context = console.browser.new_context(
        ignore_https_errors=True, storage_state=console.state, java_script_enabled=False, base_url=console.base
    )
    page = context.new_page()
    page.goto("/bundles")
    bad_manifest, bad = bundle_files(console, tmp_path, flip=True)
    page.get_by_label("bundle.json").set_input_files(bad_manifest)
    page.get_by_label("Files listed in the manifest").set_input_files(bad)
    page.get_by_role("button", name="Upload and verify").click()
    expect(page.get_by_text("changed after it was signed")).to_be_visible(timeout=30_000)
    context.close()


def test_a_token_is_made_and_shown_once(console):
    with console.page() as page:
        page.goto("/tokens")
        page.get_by_label("Device name").fill(f"console-{uuid.uuid4().hex[:6]}")
        page.get_by_role("button", name="Create token").click()
        assert page.locator("[data-token]").text_content().startswith("met_")
        page.get_by_role("link", name="Done").click()
        expect(page.locator("[data-token]")).to_have_count(0)


def test_quarantine_by_keyboard_only(console, tmp_path):
    name = f"console-{uuid.uuid4().hex[:6]}"
    console.story.agent(name, tmp_path)
    with console.page() as page:
        page.goto("/devices")
        page.keyboard.press("/")
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(f"q={name}"))
        link = page.get_by_role("link", name=name)
        link.focus()
        with page.expect_response(re.compile(f"q={name}")):  # the list comes anew once a search is typed to its end
            page.evaluate("htmx.trigger(document.querySelector('form[role=search]'), 'submit')")
        expect(link).to_be_focused()
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Quarantine device").focus()
        page.keyboard.press("Enter")
        page.get_by_label("Reason").type("looks odd")
        page.keyboard.press("Enter")
        expect(page.get_by_text("looks odd").first).to_be_visible()
        page.get_by_role("link", name="Release from quarantine").click()
        page.get_by_label("Reason").fill("was a test")
        page.get_by_role("button", name="Release device").click()
        expect(page.get_by_role("link", name="Quarantine device")).to_be_visible()


def test_each_shortcut_of_the_menu_opens_its_page(console):
    with console.page() as page:
        page.goto("/")
        links = page.locator(".mu-link:has(kbd)")
        wanted = {one.locator("kbd").text_content(): one.get_attribute("href") for one in links.all()}
        assert len(wanted) == links.count() > 10
        page.keyboard.press("?")
        listed = {" ".join(one.locator("kbd").all_text_contents()) for one in page.locator(".mu-help dt").all()}
        assert set(wanted) <= listed
        for keys, href in wanted.items():
            page.goto("/help/api" if href == "/help" else "/help")
            page.locator("#main").focus()
            for key in keys.split():
                page.keyboard.press(key)
            page.wait_for_url(f"{console.base}{href}")


def test_signing_out_and_in_with_both_factors(console):
    context = console.browser.new_context(ignore_https_errors=True, base_url=console.base)
    page = context.new_page()
    page.goto("/ledger")
    assert urlsplit(page.url).path == "/sign-in"
    page.get_by_label("Username").fill(console.username)
    page.get_by_label("Password").fill("wrong")
    page.get_by_label("Authenticator code").fill("000000")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Incorrect username, password or code.")).to_be_visible()
    step = clock.unix() // totp.STEP_SECONDS + 1
    page.get_by_label("Username").fill(console.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Authenticator code").fill(totp.totp_code(console.secret, step))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    context.close()


def test_the_theme_is_remembered(console):
    with console.page("light") as page:
        page.goto("/")
        page.get_by_role("button", name="Switch light or dark theme").click()
        page.goto("/devices")
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_the_first_page_weighs_little(console):
    weights = []
    with console.page() as page:
        page.on("response", lambda answer: weights.append(int(answer.headers.get("content-length", 0))))
        page.goto("/")
        page.wait_for_load_state("load")
    assert sum(weights) <= 200_000


def test_a_viewer_sees_and_cannot_act(story):
    username = f"viewer_{uuid.uuid4().hex[:6]}"
    story.manage("operator", "create", username, "--role", "viewer")
    secret = json.loads(story.manage("operator", "--json", "token", username).stdout)["secret"]
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    port = story.operator_port
    device = story.device(story.summary["flagged"][0])["id"]
    assert story.call("GET", "/api/v1/devices", headers=headers, port=port)[0] == 200
    status, _, body = story.call("POST", f"/api/v1/devices/{device}/quarantine", b'{"reason": "x"}', headers, port=port)
    assert status == 403
    assert "role" in json.loads(body)["detail"]
