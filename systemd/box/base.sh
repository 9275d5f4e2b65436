# Run by mmdebstrap over the new base root ($1), outside of it.
set -eu
R=$1

# An id of its own for every box. Empty, not missing: "assign one, but this is no first boot", or
# systemd would ask on the console who we are.
: >"$R/etc/machine-id"
rm -f "$R/var/lib/dbus/machine-id"
# Of the machine it was made on: a box has its own host name and asks no one for others.
rm -f "$R/etc/hostname" "$R/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n169.254.169.254 instance-data.ec2.internal\n' >"$R/etc/hosts"

# A journal on disk, so that it outlives a reboot and can be read from outside; nothing is dropped.
mkdir -p "$R/var/log/journal" "$R/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSyncIntervalSec=1s\n' >"$R/etc/systemd/journald.conf.d/50-box.conf"

# Nothing that waits for hardware, a clock or a person, or works at a time of its own choice: a boot
# is the same every time.
mkdir -p "$R/etc/systemd/system"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer motd-news.timer \
  e2scrub_reap.service systemd-timesyncd.service systemd-networkd-wait-online.service systemd-pstore.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-firstboot.service \
  getty.target console-getty.service dev-hugepages.mount sys-fs-fuse-connections.mount; do
  ln -sf /dev/null "$R/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$R/etc/systemd/system/default.target"

# A stop job that hangs holds a test up for ten seconds, not for ninety.
mkdir -p "$R/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultTimeoutStopSec=10s\n' >"$R/etc/systemd/system.conf.d/50-box.conf"

# The id of a box's boot is a mount over a file in /proc, which a service with a /proc of its own (ProtectProc=,
# ProtectKernelTunables=) does not have: it would see the machine's, the same in every boot. This is a copy, to be
# put there with BindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id.
echo 'C /run/boot-id 0444 root root - /proc/sys/kernel/random/boot_id' >"$R/etc/tmpfiles.d/box.conf"

rm -rf "$R"/var/cache/apt/* "$R"/var/lib/apt/lists/* "$R"/var/log/apt "$R"/var/log/*.log
