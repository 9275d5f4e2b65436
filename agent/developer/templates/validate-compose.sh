#!/bin/bash
# ValidateService: are there containers? `up --wait` has waited for their health checks. While this fails, the
# server does not enter service. Better is to ask the application for something that is only right when all is.
set -euo pipefail

app=${USHER_RELEASE_DIR:-@link@} # the second under AWS's agent
cd "$app"
running=$(docker compose --project-name @name@ ps --quiet --status running)
if [ -z "$running" ]; then
	echo "no container of @name@ runs" >&2
	@logs@exit 1
fi
echo "containers of @name@ run"
