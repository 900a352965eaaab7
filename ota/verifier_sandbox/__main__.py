"""Supervisor of a child that does nothing: what it reports of its confinement is what ``manage.py doctor`` shows."""

from ota import verifier_sandbox


def main() -> None:
    """Confine a child, and let it end."""
    verifier_sandbox.run_child(verifier_sandbox.read_sandbox_request(), verifier_sandbox.Bounds(), lambda _: {})


if __name__ == "__main__":
    main()
