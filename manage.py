#!/usr/bin/env python3
"""Run Muster's commands: ``manage.py help`` lists them."""

import os
import sys

from pki.kernel import handover


def main() -> None:
    """Hand the command line to Django."""
    handover.hide_secrets()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    # After the environment is set, because Django reads it at import.
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
