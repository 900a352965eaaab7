"""The map of ``/api/v1``: flat resources; acts are sub-resources that take POST."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView

from fleet.api import devices, enrolment, ota, people, pki

ID = r"(?P<public_id>[0-9a-f-]{36})"

urlpatterns = [
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("me", people.Me.as_view()),
    path("me/tokens", people.MyTokens.as_view()),
    re_path(rf"^api-tokens/{ID}/revoke$", people.TokenRevoke.as_view()),
    path("hardware-models", devices.HardwareModels.as_view()),
    path("hardware-models/<str:public_id>/telemetry", devices.HardwareTelemetry.as_view()),
    path("devices", devices.Devices.as_view()),
    re_path(rf"^devices/{ID}$", devices.Device.as_view()),
    re_path(rf"^devices/{ID}/(?P<act>quarantine|release|suspend|resume|return|retire)$", devices.DeviceAct.as_view()),
    re_path(rf"^devices/{ID}/decommission$", devices.Decommission.as_view()),
    re_path(rf"^devices/{ID}/transfer$", enrolment.Transfer.as_view()),
    path("transfers", enrolment.Transfers.as_view()),
    re_path(rf"^devices/{ID}/board$", enrolment.Board.as_view()),
    path("enrolment-tokens", enrolment.Tokens.as_view()),
    re_path(rf"^enrolment-tokens/{ID}/withdraw$", enrolment.TokenWithdraw.as_view()),
    path("enrolment-requests", enrolment.Waiting.as_view()),
    re_path(rf"^enrolment-requests/{ID}/(?P<act>approve|deny)$", enrolment.Decide.as_view()),
    path("expected-devices", enrolment.Expected.as_view()),
    path("vendors", enrolment.Vendors.as_view()),
    re_path(rf"^vendors/{ID}/distrust$", enrolment.VendorDistrust.as_view()),
    path("incidents", devices.Incidents.as_view()),
    re_path(rf"^incidents/{ID}$", devices.IncidentView.as_view()),
    re_path(rf"^incidents/{ID}/close$", devices.IncidentClose.as_view()),
    path("certificates", pki.Certificates.as_view()),
    re_path(r"^certificates/(?P<fingerprint>[0-9a-fA-F]{64})/revoke$", pki.CertificateRevoke.as_view()),
    re_path(r"^certificates/(?P<fingerprint>[0-9a-fA-F]{64})/lineage$", pki.CertificateLineage.as_view()),
    path("certificate-profiles", pki.Profiles.as_view()),
    path("authorities", pki.Authorities.as_view()),
    re_path(r"^authorities/(?P<key_id>[0-9a-f]{40})/switch$", enrolment.AuthoritySwitch.as_view()),
    path("crls", pki.Crls.as_view()),
    path("ledger", pki.Ledger.as_view()),
    path("ledger/head", pki.LedgerHead.as_view()),
    re_path(rf"^ledger/{ID}/inclusion$", pki.LedgerInclusion.as_view()),
    re_path(r"^ledger/consistency/(?P<old>[0-9]{1,15})$", pki.LedgerConsistency.as_view()),
    path("ledger/verify", pki.LedgerVerify.as_view()),
    path("trust-keys", ota.TrustKeys.as_view()),
    path("bundles", ota.Bundles.as_view()),
    re_path(rf"^bundles/{ID}$", ota.Bundle.as_view()),
    path("releases", ota.Releases.as_view()),
    re_path(rf"^releases/{ID}$", ota.Release.as_view()),
    re_path(rf"^releases/{ID}/prepared$", ota.ReleasePrepared.as_view()),
    re_path(rf"^releases/{ID}/signatures$", ota.ReleaseSign.as_view()),
    re_path(rf"^releases/{ID}/publish$", ota.ReleasePublish.as_view()),
    re_path(rf"^releases/{ID}/withdraw$", ota.ReleaseWithdraw.as_view()),
    path("assignments", ota.Assignments.as_view()),
    path("rollouts", ota.Rollouts.as_view()),
    re_path(rf"^rollouts/{ID}$", ota.Rollout.as_view()),
    re_path(rf"^rollouts/{ID}/(?P<act>start|pause|resume|abort)$", ota.RolloutAct.as_view()),
]
