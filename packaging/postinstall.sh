#!/bin/sh
# After the files are in place. It runs while an image is baked, often in a chroot without a running systemd,
# and later for upgrades on a server: dpkg calls it with "configure" and the version that was there before, rpm
# with the number of versions that are there now.
set -e

first=yes
case "$1" in
  configure) [ -z "$2" ] || first=no ;;
  [0-9]*) [ "$1" -le 1 ] || first=no ;;
  *) exit 0 ;; # dpkg undoes something that failed
esac

# The application is always reached by this link. One that is there, or a directory, is not ours to change:
# usher says at launch what is wrong with it.
if [ ! -e /opt/app ] && [ ! -L /opt/app ]; then
  ln -s /opt/app-base /opt/app
fi

# So that journalctl -x explains usher's messages.
journalctl --update-catalog || echo "usher: journalctl -x will not explain usher's messages: the catalog could not be updated" >&2

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
if [ "$first" = yes ]; then
  # Enabled, and not started: an agent that starts in the image's builder takes that for a launch, and leaves
  # its record to every instance.
  systemctl preset usher.service
elif [ -d /run/systemd/system ]; then
  # An agent that runs is replaced by the new one, which goes on where it was.
  systemctl try-restart usher.service
fi
