#!/bin/bash
# ApplicationStart: the container of the old release makes way for one of the image that build.sh made.
set -euo pipefail

app=${USHER_RELEASE_DIR:-@link@} # the second under AWS's agent

if docker container inspect @name@ >/dev/null 2>&1; then
	docker rm --force @name@
fi
docker run --detach --name @name@ --restart always --publish 8080:@expose@ "@name@:${app##*/}"
docker image prune --all --force --filter label=deployed=@name@ --filter until=720h # of old releases
