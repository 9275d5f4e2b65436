#!/bin/bash
# ValidateService: does the application go on running? While this fails, the server does not enter service.
# Better is to ask it for something that is only right when all is.
set -euo pipefail

for _ in $(seq 5); do
	if ! systemctl is-active --quiet @unit@; then
		echo "@unit@ does not run" >&2
		@logs@exit 1
	fi
	sleep 1
done
echo "@unit@ runs"
