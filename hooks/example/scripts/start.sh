#!/bin/bash
# ApplicationStart: the link points to the release now. An application with a process is started
# through systemd (`systemctl restart app`), which keeps it running; ours is files, and only notes when.
set -euo pipefail

mkdir -p "$USHER_RELEASE_DIR/run"
date -u +%Y-%m-%dT%H:%M:%SZ >"$USHER_RELEASE_DIR/run/started"
echo "started"
