#!/bin/sh
# Before the files go. dpkg calls it with "remove", or "upgrade"; rpm with the number of versions that stay.
set -e

case "$1" in
  remove | 0) ;;
  *) exit 0 ;; # an upgrade: the service stays
esac
if [ -d /run/systemd/system ]; then
  systemctl stop usher.service
fi
systemctl disable usher.service
