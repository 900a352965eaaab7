"""``python -m tests.alternate REVISION BENCH…``: benchmarks of an older version and of this one, in turn, in one run.

A figure of yesterday says nothing on a machine that others use. Both versions run one after the other, round by round;
what is compared is the median of each row. A ratio below 1 means that this version is worse.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: a row that became worse than this is told, and the command ends with 1
LEAST = 0.95
#: names of rows in older versions
RENAMED = {
    "hot table": "poll cache",
    "hot table loaded at start": "poll cache loaded at start",
    "growth of the CoAP door under a flood of hellos": "growth of the CoAP listener under a flood of hellos",
}


def main():
    """Measure, print a line a row and write the table; end with 1 when a row became worse."""
    given = _arguments()
    with checked_out(given.revision) as old:
        rounds = [
            {side: measured(folder, name) for side, folder in (("old", old), ("new", ROOT))}
            for name in given.bench
            for _ in range(given.rounds)
        ]
    rows = compared(rounds)
    for row in rows:
        print(f"{row['ratio']:6.3f}  {row['name']}: {row['old']:g} -> {row['new']:g} {row['unit']}")
    if given.json:
        table = {"revision": given.revision, "rounds": given.rounds, "load": os.getloadavg()[0], "rows": rows}
        given.json.write_text(json.dumps(table, indent=1) + "\n")
    return 1 if any(row["ratio"] < LEAST for row in rows) else 0


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.alternate", description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="the older version, as git names it")
    parser.add_argument("bench", nargs="+", help="names of benchmarks, as `manage.py bench` takes them")
    parser.add_argument("--rounds", type=int, default=5, help="how often each version is measured (default 5)")
    parser.add_argument("--json", type=Path, help="file for the table")
    return parser.parse_args()


@contextmanager
def checked_out(revision):
    """Lay out an older version beside this one, with the same interpreter and libraries."""
    folder = Path(tempfile.mkdtemp()) / "old"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(folder), revision], cwd=ROOT, check=True)
    try:
        (folder / ".venv").symlink_to(ROOT / ".venv")
        (folder / "var").mkdir(exist_ok=True)
        (folder / "var/peers").symlink_to(ROOT / "var/peers")
        yield folder
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, check=True)


def measured(folder, name):
    """Run one benchmark of one version; return its rows."""
    result = Path(tempfile.mkdtemp()) / "rows.json"
    command = [sys.executable, "manage.py", "bench", name, "--json", str(result)]
    subprocess.run(command, cwd=folder, check=False)  # it may end with an error when a goal is not met
    return json.loads(result.read_text())


def compared(rounds):
    """Return a row for each figure that both versions have: medians, and how much better the new one is."""
    values, seen = {}, {}
    for one in rounds:
        for side, rows in one.items():
            for row in rows:
                name = RENAMED.get(row["name"], row["name"])
                values.setdefault(name, {}).setdefault(side, []).append(row["value"])
                seen[name] = row | {"name": name}
    return [_row(seen[name], sides) for name, sides in values.items() if sides.keys() == {"old", "new"}]


def _row(row, sides):
    old, new = (statistics.median(sides[side]) for side in ("old", "new"))
    gain = (new, old) if more_is_better(row) else (old, new)
    ratio = gain[0] / gain[1] if gain[1] else 1.0 if gain[0] == gain[1] else 2.0
    return {"name": row["name"], "unit": row["unit"], "old": old, "new": new, "ratio": round(ratio, 3)}


def more_is_better(row):
    """Say whether the goal is the least that is wanted: then a value that meets it lies above."""
    return (row["value"] >= row["goal"]) == row["met"] if row["value"] != row["goal"] else False


if __name__ == "__main__":
    sys.exit(main())
