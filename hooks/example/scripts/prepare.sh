#!/bin/bash
# BeforeInstall: look at what this revision needs, before anything of it is installed. The working
# directory is the unpacked revision; the release directory is still empty.
set -euo pipefail

# The base AMI is complete: what is missing here is a reason to stop, not something to install.
for program in cat grep; do
	command -v "$program" >/dev/null || {
		echo "this revision needs $program: install it in the AMI" >&2
		exit 1
	}
done

version=$(cat VERSION)
echo "preparing version $version for ${APPLICATION_NAME:-the application}"
