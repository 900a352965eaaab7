"""The keeper of a child that does nothing: what it reports of its confinement is what ``manage.py doctor`` shows."""

from ota import cell


def main() -> None:
    """Confine a child, and let it end."""
    cell.run(cell.read_request(), cell.Bounds(), lambda _: {})


if __name__ == "__main__":
    main()
