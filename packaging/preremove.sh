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
# For dpkg, that the service is enabled is configuration: it stays until the purge, and is as it was when the package
# is installed again, which dpkg does not tell from an upgrade.
[ "$1" = remove ] || systemctl disable usher.service
