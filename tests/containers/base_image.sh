#!/usr/bin/env bash
# Makes a stand-in for docker.io/library/python:3.11-slim from Debian packages, for machines that reach no image
# registry: `base_image.sh CACHE_DIR`. Where the real image can be pulled, podman pulls it and this is not needed.
set -euo pipefail
cache=$1
image=docker.io/library/python:3.11-slim
podman image exists "$image" && exit 0
mkdir -p "$cache"
if [ ! -s "$cache/base.tar" ]; then
  mmdebstrap --quiet --format=tar --variant=minbase \
    --include=python3,python3-venv,python3-pip,ca-certificates,passwd,netbase,tzdata,libgomp1 \
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
    --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python"; ln -s /usr/bin/python3 "$1/usr/local/bin/python3"' \
    bookworm "$cache/base.tar.part"
  mv "$cache/base.tar.part" "$cache/base.tar"
fi
podman import --quiet \
  --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
  --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
  --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
  --change 'ENV UV_SYSTEM_CERTS=1' \
  "$cache/base.tar" "$image" >/dev/null
