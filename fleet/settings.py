"""Django's settings for all listeners; ``fleet/environment.py`` reads the settings that operators may change."""

from pathlib import Path

from fleet import environment

_SET = environment.read_settings()
FLEET_DIR = Path(_SET["FLEET_DIR"])
FLEET_HOST = _SET["FLEET_HOST"]
FLEET_HOST_NAMES = [name for name in _SET["FLEET_HOST_NAMES"].split(",") if name]
FLEET_OPERATOR_PORT = int(_SET["FLEET_OPERATOR_PORT"])
FLEET_DEVICE_PORT = int(_SET["FLEET_DEVICE_PORT"])
FLEET_DEVICE_WORKERS = int(_SET["FLEET_DEVICE_WORKERS"])
FLEET_COAP_PORT = int(_SET["FLEET_COAP_PORT"])
FLEET_CONNECTIONS_A_DEVICE = int(_SET["FLEET_CONNECTIONS_A_DEVICE"])
FLEET_REQUESTS_A_DEVICE = float(_SET["FLEET_REQUESTS_A_DEVICE"])
FLEET_STRANGERS_A_MINUTE = float(_SET["FLEET_STRANGERS_A_MINUTE"])
FLEET_OSCORE_PORT = int(_SET["FLEET_OSCORE_PORT"])
FLEET_COAP_CCM_8 = _SET["FLEET_COAP_CCM_8"] == "1"
FLEET_PROXIES = [part for part in _SET["FLEET_PROXIES"].split(",") if part]
FLEET_PROXY_FORM = _SET["FLEET_PROXY_FORM"]
FLEET_STATUS_PORT = int(_SET["FLEET_STATUS_PORT"])
FLEET_STATUS_URL = _SET["FLEET_STATUS_URL"] or f"http://{FLEET_HOST}:{FLEET_STATUS_PORT}"
FLEET_VAULT_KEY = _SET["FLEET_VAULT_KEY"]
FLEET_POLL_S = int(_SET["FLEET_POLL_S"])
FLEET_DRIFT_TICK_S = int(_SET["FLEET_DRIFT_TICK_S"])
FLEET_DRIFT_LEARN_TICKS = int(_SET["FLEET_DRIFT_LEARN_TICKS"])
FLEET_GUARD_AUTOMATIC = _SET["FLEET_GUARD_AUTOMATIC"]
FLEET_KEEP_FINE_DAYS = int(_SET["FLEET_KEEP_FINE_DAYS"])
FLEET_KEEP_PERSONAL_DAYS = int(_SET["FLEET_KEEP_PERSONAL_DAYS"])
FLEET_KEEP_TELEMETRY_DAYS = int(_SET["FLEET_KEEP_TELEMETRY_DAYS"])
FLEET_MAX_UPLOAD_MB = int(_SET["FLEET_MAX_UPLOAD_MB"])
FLEET_BLOBS = _SET["FLEET_BLOBS"]
FLEET_BLOBS_DIRECT = _SET["FLEET_BLOBS_DIRECT"] == "1"
FLEET_BLOBS_ADDRESS_S = min(max(int(_SET["FLEET_BLOBS_ADDRESS_S"]), 60), 300)
FLEET_S3_ENDPOINT = _SET["FLEET_S3_ENDPOINT"]
FLEET_S3_DEVICE_ENDPOINT = _SET["FLEET_S3_DEVICE_ENDPOINT"]
FLEET_S3_REGION = _SET["FLEET_S3_REGION"]
FLEET_S3_ENCRYPTION = _SET["FLEET_S3_ENCRYPTION"]
FLEET_METRICS_TOKEN_FILE = _SET["FLEET_METRICS_TOKEN_FILE"]
FLEET_LOG_LEVEL = _SET["FLEET_LOG_LEVEL"]

DEBUG = False
SECRET_KEY = environment.read_secret("django.key")
ALLOWED_HOSTS = [*FLEET_HOST_NAMES, FLEET_HOST, "localhost", "127.0.0.1"]
ROOT_URLCONF = "fleet.urls"
ASGI_APPLICATION = "fleet.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

DATABASES = {
    "default": environment.describe_database(_SET["DATABASE_URL"], FLEET_DIR / "db" / "main.sqlite3", durable=True),
    "telemetry": environment.describe_database(
        environment.telemetry_url(_SET), FLEET_DIR / "db" / "telemetry.sqlite3", durable=False
    ),
}
DATABASE_ROUTERS = ["fleet.routers.TelemetryRouter"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "pki",
    "devices",
    "ota",
    "fleet.operators",
    "fleet.guard",
    "fleet.jobs",
    "fleet.console",
    "fleet",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "fleet.observe.RequestLogMiddleware",
    "fleet.plain_text.PlainTextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "fleet.operators.middleware.FinishedSetUpMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_USER_MODEL = "operators.Operator"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "console:sign-in"
LOGIN_REDIRECT_URL = "console:overview"

STATIC_URL = "/static/"
STATIC_ROOT = FLEET_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
FILE_UPLOAD_HANDLERS = ["fleet.uploads.PathUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20
# Limit for the part of each body that is kept in memory; the rest is spooled to disk.
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 << 10
FORM_RENDERER = "django.forms.renderers.DjangoTemplates"

SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_SSL_REDIRECT = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_NAME = "__Host-muster-session"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_NAME = "__Host-muster-csrf"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["fleet.api.parsers.StrictJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "fleet.api.auth.TokenAuthentication",
        "fleet.api.auth.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "fleet.api.schema.Document",
    "EXCEPTION_HANDLER": "fleet.api.errors.handle_error",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Muster operator API",
    "DESCRIPTION": "All functions of the console, for programs.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "fleet.api.examples.add_examples",
    ],
}

LOGGING_CONFIG = "fleet.observe.configure_logging"
LOGGING = {"level": FLEET_LOG_LEVEL}
