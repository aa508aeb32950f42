#!/usr/bin/env bash
# Installs the Debian packages that the tests run against: `deploy/system_packages.sh PACKAGE...`. Only what is missing.
set -euo pipefail
missing=()
for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "these Debian packages are missing: ${missing[*]}; run: sudo apt-get install ${missing[*]}" >&2
  # Without them the tests that need them skip with a reason; in CI that is a failure.
  [ -z "${CI:-}" ] || exit 1
  exit 0
fi
# Services must not start themselves: the tests start their own, on free ports.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
