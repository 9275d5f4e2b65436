#!/bin/sh
# ApplicationStop: of the release that is live, before anything of the new one is touched. It does not run
# on a server's first launch, for nothing of ours is live then. A real one says `systemctl stop shop`.
set -eu

rm -f run/started
echo "stopped $(cat VERSION)"
