#!/usr/bin/env bash
# Makes or refreshes .venv from a hashed lock: `deploy/environment.sh LOCK`. Does nothing when the lock is installed already.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=$1
stamp=.venv/installed.$(basename "$lock")
if [ -f "$stamp" ] && cmp -s "$lock" "$stamp"; then exit 0; fi

python=$(command -v python3.11 || command -v python3 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
  echo "TrajOps needs Python 3.11; install it (Debian 12: apt-get install python3 python3-venv) and run the command again." >&2
  exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  else
    echo "Python's venv module is missing; run: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi

echo "environment: installing $lock into .venv (about 1.3 GB, once)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
# uv is only faster; plain pip gives the same environment.
if .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r deploy/locks/uv.lock; then
  .venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r "$lock"
else
  .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$lock"
fi
cp "$lock" "$stamp"
