#!/bin/bash
# ApplicationStop: stop the application that is live. This is the script of the revision that is being
# replaced, so on the first deployment of an instance it is not run at all.
set -euo pipefail

app=${USHER_RELEASE_DIR:-/opt/app} # in this event the release that is live; the second under AWS's agent

# Stopping twice is not an error: an event may be run again after the instance has rebooted.
rm -f "$app/run/started"
echo "stopped"
