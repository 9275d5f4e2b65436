#!/bin/bash
# ApplicationStart: the link points to the release now. An application with a process is started
# through systemd (`systemctl restart app`), which keeps it running; ours is files, and only notes when.
set -euo pipefail

app=${USHER_RELEASE_DIR:-/opt/app} # the second under AWS's agent

mkdir -p "$app/run"
date -u +%Y-%m-%dT%H:%M:%SZ >"$app/run/started"
echo "started"
