# Makes the first process of fresh namespaces a systemd that starts nothing.
# What it and its services write goes to memory, over the host's files; what is
# the kernel's own they cannot write.
#
# usage: sh boot.sh EMPTY-FOLDER FOLDER-OF-THE-UNITS BINARY
set -e
memory=$1 dist=$2 binary=$3
mount -t tmpfs tmpfs "$memory"
mkdir "$memory/upper" "$memory/work" "$memory/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" "$memory/root"
cd "$memory/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind proc/sys/net proc/sys/net # which is that of the test's own namespace
mount -o remount,bind,rw proc/sys/net
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for node in full null random tty urandom zero; do
	touch dev/$node
	mount --bind /dev/$node dev/$node
done
rm -rf etc/systemd/system/*
cp "$dist"/systemd/* usr/lib/systemd/system
mkdir -p usr/lib/sysusers.d etc/systemd/system/quaymaster.service.d etc/systemd/system/quaymaster-gate.service.d
cp "$dist"/sysusers.d/* usr/lib/sysusers.d
cp "$binary" usr/bin/quaymaster
printf '[Unit]\nDefaultDependencies=no\n' > etc/systemd/system/nothing.target
# A call that the unit forbids is to be seen.
printf '[Service]\nSystemCallErrorNumber=kill\nStandardError=append:/tmp/log\n' | tee etc/systemd/system/quaymaster-gate.service.d/test.conf > etc/systemd/system/quaymaster.service.d/test.conf
exec setpriv --bounding-set=-sys_boot,-sys_module,-sys_time chroot . \
	env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=nothing.target
