#!/bin/bash
# ApplicationStart: @link@ leads to the new release, and PHP still has the old one in its cache.
set -euo pipefail

systemctl try-reload-or-restart 'php*fpm.service'
