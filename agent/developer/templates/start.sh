#!/bin/bash
# ApplicationStart: @link@ leads to the new release. It is restarted, and not started: what runs is the old one.
set -euo pipefail

install -m 0644 "${0%/*}/@unitfile@" /etc/systemd/system/@unit@
systemctl daemon-reload
systemctl enable --quiet @unit@
systemctl restart @unit@
