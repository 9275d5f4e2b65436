#!/bin/sh
# The first process of namespaces of its own (PID, mount, UTS, IPC, network) becomes a real systemd with a
# real journald, and nothing else of the machine's units. Nothing outside the namespaces changes, but for a
# control group named usher-units-*, which whoever started this removes.
#   argument: the name of that control group
set -eu
mount --make-rprivate /
mount -t proc proc /proc

# A control group of our own is the root that systemd sees.
mount -t tmpfs tmpfs /run
mkdir /run/cgroup
mount -t cgroup2 cgroup2 /run/cgroup
mkdir -p "/run/cgroup/$1"
echo 0 >"/run/cgroup/$1/cgroup.procs"
umount /run/cgroup
[ "${2-}" = inside ] || exec unshare --cgroup sh "$0" "$1" inside
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# The units: those every service depends on, empty, and journald as it ships.
mkdir -p /run/systemd/system /run/systemd/journald.conf.d /run/units
for target in sysinit basic shutdown umount final sockets; do
  printf '[Unit]\nDefaultDependencies=no\n' >"/run/units/$target.target"
done
printf '[Unit]\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n' >/run/units/boot.target
for dir in /usr/lib/systemd/system /lib/systemd/system; do
  cp "$dir"/systemd-journald.service "$dir"/systemd-journald.socket "$dir"/systemd-journald-dev-log.socket /run/units/ 2>/dev/null && break
done
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n' >/run/systemd/journald.conf.d/test.conf

systemd=/usr/lib/systemd/systemd
[ -x "$systemd" ] || systemd=/lib/systemd/systemd
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin MANAGER_VARIABLE=leaks container=usher \
  SYSTEMD_UNIT_PATH=/run/systemd/transient:/run/units SYSTEMD_GENERATOR_PATH=/run/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none \
  "$systemd" --system --unit=boot.target --log-target=journal --show-status=0
