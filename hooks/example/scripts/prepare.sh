#!/bin/bash
# BeforeInstall: look at what this revision needs, before anything of it is installed. Nothing is in
# the release directory yet.
set -euo pipefail

bundle=${0%/*}/.. # the unpacked revision: the working directory under usher, and anything under AWS's agent

# The base AMI is complete: what is missing here is a reason to stop, not something to install.
for program in cat grep; do
	command -v "$program" >/dev/null || {
		echo "this revision needs $program: install it in the AMI" >&2
		exit 1
	}
done

version=$(cat "$bundle/VERSION")
echo "preparing version $version for ${APPLICATION_NAME:-the application}"
