#!/bin/bash
# ValidateService: is the application up, seen as a user sees it? While this fails, the server does not enter
# service. Ask for a page that is only right when all is.
set -euo pipefail

port=@port@
path=/

for _ in $(seq 60); do
	if said=$(curl --fail --silent --show-error --max-time 5 --output /dev/null "http://127.0.0.1:$port$path" 2>&1); then
		echo "port $port answers"
		exit 0
	fi
	sleep 1
done
echo "http://127.0.0.1:$port$path does not answer as it should: $said" >&2
@logs@exit 1
