#!/bin/bash
# ApplicationStart: containers that are not as compose has them now are made anew, from what build.sh brought.
set -euo pipefail

app=${USHER_RELEASE_DIR:-@link@} # the second under AWS's agent
cd "$app"
docker compose --project-name @name@ up --detach --remove-orphans --wait
