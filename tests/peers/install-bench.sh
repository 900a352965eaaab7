#!/usr/bin/env bash
# Install what `manage.py bench doors` compares with beside the peers of the tests: goosebit, in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/peers/install.sh
place=var/peers/goosebit
if ! "$place/bin/python" -c "import goosebit" 2>/dev/null; then
  mkdir -p var/peers
  python3 -m venv "$place"
  "$place/bin/pip" install --quiet --disable-pip-version-check goosebit==0.2.12
fi
echo "bench peers: all there"
