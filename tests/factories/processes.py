"""Code that runs in processes of its own, in a set-up of its own: workers beside each other, and killed."""

import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager

SET_UP = "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'fleet.settings'\nimport django\ndjango.setup()\n"


@contextmanager
def code_in_processes(folder, address="", acts=(("upgrade",),)):
    """Make a set-up; yield a function that runs code in it, in a process that ends with the block.

    Args:
        folder: FLEET_DIR.
        address: of its database on PostgreSQL; empty for SQLite.
        acts: commands of ``manage.py`` that make it.
    """
    environment = {**os.environ, "FLEET_DIR": str(folder), "DATABASE_URL": address, "TELEMETRY_DATABASE_URL": ""}
    for act in acts:
        subprocess.run([sys.executable, "manage.py", *act], env=environment, check=True, capture_output=True)
    running = []

    def run(code):
        command = [sys.executable, "-c", SET_UP + code]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return running[-1]

    try:
        yield run
    finally:
        for one in running:
            one.kill()
            one.stdout.close()
            one.wait(10)


def killed_now_and_then(run, code, times):
    """Run code, kill it at a random moment after it says that it works, and run it again; return the last process."""
    doomed = run(code)
    for _ in range(times):
        doomed.stdout.readline()
        time.sleep(random.uniform(0.05, 0.4))
        doomed.kill()
        doomed.wait(10)
        doomed = run(code)
    return doomed
