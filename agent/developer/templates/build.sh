#!/bin/bash
# AfterInstall: the release has all files, and nobody sees it yet. What the application needs is brought
# beside it here. Nothing is installed on the server: programs come with its image.
set -euo pipefail

for program in @programs@; do
	command -v "$program" >/dev/null || {
		echo "there is no $program on this server: bring it with the image" >&2
		exit 1
	}
done

app=${USHER_RELEASE_DIR:-@link@} # the second under AWS's agent
cd "$app"
@steps@
