#!/bin/bash
# ValidateService: is what was deployed there? While this fails, the server does not enter service. Where something
# serves or runs it, ask that: it knows more.
set -euo pipefail

app=${USHER_RELEASE_DIR:-@link@} # the second under AWS's agent

if [ ! -e "$app/@file@" ]; then
	echo "$app has no @file@" >&2
	exit 1
fi
echo "@file@ is there"
