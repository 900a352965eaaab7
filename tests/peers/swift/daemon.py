"""One server of OpenStack Swift in the foreground: ``daemon.py CONF NAME SWIFT_CONF``, in Swift's own environment.

Swift looks for ``/etc/swift/swift.conf``; here it lies in the test's folder. The server ends with the tests that started
it, even if these were killed.
"""

import ctypes
import importlib
import signal
import sys

PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

conf, name, swift_conf = sys.argv[1:4]
for module in ("", ".base", ".config"):
    importlib.import_module(f"swift.common.utils{module}").SWIFT_CONF_FILE = swift_conf
for module in ("constraints", "storage_policy"):
    found = importlib.import_module(f"swift.common.{module}")
    if hasattr(found, "SWIFT_CONF_FILE"):
        found.SWIFT_CONF_FILE = swift_conf

from swift.common.wsgi import run_wsgi  # noqa: E402  because it reads that name while it loads

more = {}
if name == "object-server":
    from swift.obj import server

    more["global_conf_callback"] = server.global_conf_callback
sys.exit(run_wsgi(conf, name, verbose=True, **more))
