#!/bin/bash
# ValidateService: is the application up, seen as a user sees it? When this fails, the instance does
# not enter service. An application with a port is asked through it, again and again until its
# timeout; ours is asked for its page.
set -euo pipefail

app=${USHER_RELEASE_DIR:-/opt/app} # the second under AWS's agent
release=${app##*/}
page=$app/www/index.html

if [ ! -e "$app/run/started" ]; then
	echo "the application was not started" >&2
	exit 1
fi
if ! grep -q "<dd>$release</dd>" "$page"; then
	echo "the page does not show release $release" >&2
	exit 1
fi
echo "the page shows release $release"
