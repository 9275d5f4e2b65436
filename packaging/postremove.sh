#!/bin/sh
# After the files are gone. The application, its releases and the link to them are not usher's, and stay.
set -e

case "$1" in
  remove | 0) journalctl --update-catalog || true ;; # a stale catalog explains what nobody logs
  purge)
    # The unit is gone, and systemctl disable would not find it.
    rm -f /etc/systemd/system/multi-user.target.wants/usher.service /etc/default/usher
    rm -rf /var/lib/usher
    ;;
esac
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
