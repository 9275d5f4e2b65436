#!/bin/bash
# What the app server's image has besides usher: the sample's web server is written in Python, and the role's hook
# asks it with curl.
set -euo pipefail

need=()
for program in python3 curl; do
  command -v "$program" >/dev/null || need+=("$program")
done
if [ ${#need[@]} = 0 ]; then
  exit 0
fi
if command -v apt-get >/dev/null; then
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${need[@]}"
else
  dnf install --assumeyes "${need[@]}"
fi
