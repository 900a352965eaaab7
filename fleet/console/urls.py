"""The console's map."""

from django.urls import path, re_path

from fleet.console import (
    accounts,
    approvals,
    bundles,
    devices,
    events,
    incidents,
    ledger,
    overview,
    people,
    rollouts,
    tokens,
    trust,
)

app_name = "console"
ID = r"(?P<public_id>[0-9a-f-]{36})"

urlpatterns = [
    path("", overview.overview, name="overview"),
    path("sign-in", people.sign_in, name="sign-in"),
    path("sign-in/link/<str:word>", people.follow_link, name="link"),
    path("set-up/password", people.set_up_password, name="set-up-password"),
    path("set-up/totp", people.set_up_totp, name="set-up-totp"),
    path("sign-out", people.sign_out, name="sign-out"),
    path("people", accounts.people, name="people"),
    re_path(r"^people/(?P<username>\w{1,60})/link$", accounts.make_link, name="person-link"),
    re_path(r"^people/(?P<username>\w{1,60})/approve$", accounts.approve_link, name="person-approve"),
    path("api-tokens", accounts.api_tokens, name="api-tokens"),
    re_path(rf"^api-tokens/{ID}/revoke$", accounts.revoke_token, name="api-token-revoke"),
    path("devices", devices.index, name="devices"),
    re_path(rf"^devices/{ID}$", devices.detail, name="device"),
    re_path(
        rf"^devices/{ID}/(?P<verb>quarantine|release|suspend|resume|retire|revoke)$",
        devices.confirm,
        name="device-act",
    ),
    path("tokens", tokens.index, name="tokens"),
    path("tokens/csv", tokens.as_csv, name="token-csv"),
    path("tokens/make", tokens.make, name="token-make"),
    re_path(rf"^tokens/{ID}/withdraw$", tokens.withdraw, name="token-withdraw"),
    path("approvals", approvals.index, name="approvals"),
    re_path(rf"^approvals/{ID}/(?P<verb>approve|deny)$", approvals.decide, name="approval-decide"),
    path("authorities", trust.authorities, name="authorities"),
    path("certificates", trust.certificate_list, name="certificates"),
    path("incidents", incidents.index, name="incidents"),
    re_path(rf"^incidents/{ID}$", incidents.detail, name="incident"),
    re_path(rf"^incidents/{ID}/close$", incidents.close, name="incident-close"),
    path("bundles", bundles.index, name="bundles"),
    path("bundles/fit", bundles.matrix, name="fit"),
    re_path(rf"^bundles/{ID}$", bundles.detail, name="bundle"),
    re_path(rf"^bundles/{ID}/contents$", bundles.inside, name="bundle-contents"),
    re_path(rf"^bundles/{ID}/delete$", bundles.delete, name="bundle-delete"),
    re_path(rf"^bundles/{ID}/(?P<verb>prepare|publish)$", bundles.step, name="bundle-step"),
    path("rollouts", rollouts.index, name="rollouts"),
    path("rollouts/plan", rollouts.plan, name="rollout-plan"),
    re_path(rf"^rollouts/{ID}$", rollouts.detail, name="rollout"),
    re_path(rf"^rollouts/{ID}/devices$", rollouts.members, name="rollout-devices"),
    re_path(rf"^rollouts/{ID}/abort$", rollouts.abort, name="rollout-abort"),
    re_path(rf"^rollouts/{ID}/(?P<verb>start|pause|resume)$", rollouts.step, name="rollout-step"),
    re_path(rf"^events/rollouts/{ID}$", events.rollout, name="rollout-events"),
    path("ledger", ledger.index, name="ledger"),
]
