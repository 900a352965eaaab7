#!/usr/bin/env bash
# Install what benches compare with beside the peers of the tests: goosebit in an environment of its own, and xdelta3.
set -euo pipefail
cd "$(dirname "$0")/../.."
bash tests/peers/install.sh
if ! command -v xdelta3 >/dev/null; then
  [ "$(id -u)" = 0 ] && apt-get install --yes --no-install-recommends xdelta3 || echo "bench peers: install xdelta3"
fi
place=var/peers/goosebit
if ! "$place/bin/python" -c "import goosebit" 2>/dev/null; then
  mkdir -p var/peers
  python3 -m venv "$place"
  "$place/bin/pip" install --quiet --disable-pip-version-check goosebit==0.2.12
fi
echo "bench peers: all there"
