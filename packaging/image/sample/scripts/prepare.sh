#!/bin/bash
# BeforeInstall, on servers of every role: is this revision complete?
set -euo pipefail

cd "${0%/*}/.." # the unpacked revision, also under AWS's agent

for file in VERSION bin/web bin/worker units/app-web.service units/app-worker.service; do
  if [ ! -s "$file" ]; then
    echo "$file is missing: the revision was not built to the end" >&2
    exit 1
  fi
done
