#!/bin/bash
# ApplicationStop: stop the application that is live. This is the script of the revision that is being
# replaced, so on the first deployment of an instance it is not run at all.
set -euo pipefail

# When an instance is terminated there is no new release, and the live one is the release.
live=${USHER_PREVIOUS_RELEASE:-$USHER_RELEASE_DIR}

# Stopping twice is not an error: an event may be run again after the instance has rebooted.
rm -f "$live/run/started"
echo "stopped"
