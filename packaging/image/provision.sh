#!/bin/bash
# Makes the machine it runs on an image of one role: the package, the base application, the role's hooks, and
# `usher bake` as the last step, which refuses what is not complete. The Packer template and the Image Builder
# component beside this file call it and do nothing else; by hand, as root:
#
#   packaging/image/provision.sh ROLE PACKAGE BASE [OPTION OF usher bake]...
#
#   ROLE     app or job: a folder of roles/ beside this file
#   PACKAGE  the .deb or .rpm of usher
#   BASE     a tar archive of the application as it is baked: `git archive --output base.tar.gz COMMIT`
#
# When it fails it may be run again on the same machine. Nothing is started: usher deploys on the instances, not here.
set -euo pipefail

fail() {
  echo "provision.sh: $*" >&2
  exit 1
}

step() { echo "== $*"; }

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 3 ]; then
  echo "usage: provision.sh ROLE PACKAGE BASE [OPTION OF usher bake]..." >&2
  exit 2
fi
role=$1 package=$2 base=$3
shift 3

[ "$(id -u)" = 0 ] || fail "an image is made as root: call it with sudo"
case "$role" in
  '' | .* | */*) fail "\"$role\" is no name of a role" ;;
esac
if [ ! -d "$here/roles/$role" ]; then
  known=$(ls "$here/roles")
  fail "there is no role $role: make a folder of that name in $here/roles, beside ${known//$'\n'/, }"
fi
[ -f "$package" ] || fail "there is no package $package"
[ -f "$base" ] || fail "there is no archive $base"

# What cloud-init installs on its first boot must not race with what is installed here. It ends with 2 when it
# had to pass over something, which is not ours to judge.
if [ -d /run/systemd/system ] && command -v cloud-init >/dev/null; then
  step "waiting for cloud-init"
  cloud-init status --wait || [ $? = 2 ]
fi

step "package $package"
case "$package" in
  *.deb) dpkg --install "$package" ;;
  *.rpm) rpm --upgrade --replacepkgs "$package" ;;
  *) fail "$package is neither a .deb nor a .rpm" ;;
esac

# What the role needs of the distribution. An instance installs nothing: it would wait for it at every launch, and
# fail with somebody else's server.
if [ -f "$here/roles/$role/setup.sh" ]; then
  step "setup of role $role"
  bash "$here/roles/$role/setup.sh"
fi

# Emptied first: what an older base had, and this one has not, would be on every instance.
step "base application $base"
find /opt/app-base -mindepth 1 -delete
tar --extract --file "$base" --directory /opt/app-base --no-same-owner

step "hooks of role $role"
find /etc/usher/hooks.d -mindepth 1 -delete
for event in "$here/roles/$role"/*/; do
  event=$(basename "$event")
  mkdir -p "/etc/usher/hooks.d/$event"
  # Modes are set and not kept: an upload loses them.
  for hook in "$here/roles/$role/$event"/*; do
    install --owner root --group root --mode 0755 "$hook" "/etc/usher/hooks.d/$event/"
  done
done
if [ -f "$here/roles/$role/agent.yml" ]; then
  install --owner root --group root --mode 0644 "$here/roles/$role/agent.yml" /etc/usher/agent.yml
fi

step "usher bake"
usher bake "$@"
