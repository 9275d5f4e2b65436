#!/bin/bash
# Makes every report in this directory anew, and all but the crowd once more in again/, with both runs' ratios side by side: half an hour to fifty minutes, on a
# machine that does nothing else. From anywhere: bash agent/bench/reports.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
read -r load _ </proc/loadavg
if [ "${load%.*}" -ge 1 ] && [ "${1:-}" != --busy ]; then
  echo "the load of this machine is $load: what is measured now is how busy it is. Wait, or say --busy" >&2
  exit 1
fi
all=launch,distance,unpack-small,unpack-big,unpack-huge,download,flip,redeploy,confined,idle
bench=$(mktemp -d)
trap 'rm -rf "$bench"' EXIT
go build -o "$bench/bench" ./agent/bench
"$bench/bench" -only "$all" -out agent/bench
"$bench/bench" -only scale >agent/bench/scale.txt
sleep 360 # ext4 passes over inodes that were freed in the last minutes
"$bench/bench" -only "$all" -out agent/bench/again -beside agent/bench/report.json
