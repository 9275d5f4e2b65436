#!/bin/sh
# ValidateService: does the application work? Only after this exits with 0 does the server go into service.
# A real one asks the application itself: curl --fail --retry 10 --retry-connrefused localhost:8080/health
set -eu

test -f run/started
grep -q "$(cat VERSION)" www/index.html
! grep -q '@[A-Z_]*@' www/index.html || { echo "www/index.html has a placeholder that was not filled in" >&2; exit 1; }
echo "$(cat VERSION) answers"
