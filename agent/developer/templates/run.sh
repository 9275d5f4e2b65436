#!/bin/bash
# The application itself, started by systemd (@unit@) as the user of that unit, in @link@.
set -euo pipefail

@command@
