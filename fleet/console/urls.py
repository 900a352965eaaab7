"""The console's map."""

from django.urls import path

from fleet.console import people

app_name = "console"
ID = r"(?P<public_id>[0-9a-f-]{36})"

urlpatterns = [
    path("sign-in", people.sign_in, name="sign-in"),
    path("sign-in/link/<str:word>", people.follow_link, name="link"),
    path("set-up/password", people.set_up_password, name="set-up-password"),
    path("set-up/totp", people.set_up_totp, name="set-up-totp"),
    path("sign-out", people.sign_out, name="sign-out"),
]
