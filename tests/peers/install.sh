#!/usr/bin/env bash
# Install the real programs that tests run against: as root with apt, otherwise print the line to run.
set -euo pipefail
cd "$(dirname "$0")/../.."
# An S3 service (OpenStack Swift) in an environment of its own: it wants other versions than we do.
place=var/peers/swift
if ! "$place/bin/python" -c "import swift.common.middleware.s3api" 2>/dev/null; then
  mkdir -p var/peers
  python3 -m venv "$place"
  "$place/bin/pip" install --quiet --disable-pip-version-check swift==2.38.3
fi
packages=(swupdate openssl chromium curl strongswan-pki libstrongswan-standard-plugins libstrongswan-extra-plugins gnutls-bin
  swtpm swtpm-tools tpm2-tools libtss2-tcti-swtpm0 tpm2-openssl tpm2-abrmd libtss2-tcti-tabrmd0 dbus-daemon xxd softhsm2 opensc gcc libc6-dev libcoap3-bin libcoap3-dev pkg-config
  nginx-light haproxy libssl-dev rauc mender-artifact squashfs-tools)
missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "peers: all there (${packages[*]})"
  exit 0
fi
line="apt-get install --yes --no-install-recommends ${missing[*]}"
if [ "$(id -u)" != 0 ]; then
  echo "peers: run this as root: apt-get update && $line"
  [ "${CI:-}" != true ]
  exit
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
$line
