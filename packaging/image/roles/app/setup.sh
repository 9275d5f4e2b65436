#!/bin/bash
# What the app server's image has besides usher: the sample's web server is written in Python.
set -euo pipefail

if ! command -v python3 >/dev/null; then
  if command -v apt-get >/dev/null; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3
  else
    dnf install --assumeyes python3
  fi
fi
