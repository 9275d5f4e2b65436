#!/bin/sh
# ApplicationStart: the release is live. A real one says `systemctl restart shop`: processes that were
# started before the flip go on using the release they were started from.
set -eu

date -u +%Y-%m-%dT%H:%M:%SZ > run/started
echo "started $(cat VERSION)"
