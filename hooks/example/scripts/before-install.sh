#!/bin/sh
# BeforeInstall: the new revision is on disk beside the old one; the old one still answers. Look here for
# what the server must have, so that a missing piece is found while nothing has changed yet.
set -eu

for tool in sed grep date; do
  command -v "$tool" >/dev/null || { echo "this image has no $tool" >&2; exit 1; }
done
echo "the server has what $(cat VERSION) needs"
