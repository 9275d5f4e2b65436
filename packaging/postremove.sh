#!/bin/sh
# After the files are gone. The application, its releases and the link to them are not usher's, and stay.
set -e

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
case "$1" in
  remove | 0) journalctl --update-catalog || true ;; # a stale catalog explains what nobody logs
  purge) rm -rf /var/lib/usher ;;
esac
