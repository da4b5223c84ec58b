#!/usr/bin/env bash
# Boots systemd as the first process of a machine of its own: namespaces, and over the root that the tests have their
# Laravel in a layer that is gone with it. Nothing reaches this machine.
#   unshare --mount --pid --fork --uts --ipc --cgroup --net --kill-child tests/systemd-root.sh FOLDER LARAVEL_ROOT
# FOLDER/ready appears when the first process runs; its root is at FOLDER/root, as this process sees it.
set -euo pipefail
folder=$1 laravel=$2 root=$1/root

mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=$laravel,upperdir=$folder/upper,workdir=$folder/work" "$root"

mount -t proc proc "$root/proc"
# Settings of the kernel are this machine's.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup" 2>/dev/null || true
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in run tmp dev; do mount -t tmpfs -o mode=0755 tmpfs "$root/$place"; done
chmod 1777 "$root/tmp"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root"/dev/{shm,pts,mqueue,hugepages}
mount -t devpts devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ip link set lo up

# What a machine does at its start, and this one must not.
units=$root/etc/systemd/system
rm -rf "$units"/*.wants "$units"/*.requires
mkdir -p "$units"
for unit in systemd-{sysctl,modules-load,remount-fs,random-seed,update-utmp,binfmt,udevd,udev-trigger,logind,networkd,timesyncd}.service \
  kmod-static-nodes.service sys-{kernel-debug,kernel-tracing,kernel-config,fs-fuse-connections}.mount dev-{hugepages,mqueue}.mount \
  proc-sys-fs-binfmt_misc.automount systemd-udevd-{kernel,control}.socket tmp.mount dbus.service dbus.socket; do
  ln -sf /dev/null "$units/$unit"
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >"$units/test.target"
: >"$root/etc/machine-id"
mkdir -p "$root/var/www"
touch "$folder/ready"
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /usr/lib/systemd/systemd --system --unit=test.target
