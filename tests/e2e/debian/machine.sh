# Boots systemd as the first process of a container over a copy-on-write view of this machine's
# files: its changes are in memory and gone with it. Called by machine.rs within new namespaces.
set -e
here=$1
mount --make-rprivate /
mount -t tmpfs tmpfs "$here"
mkdir "$here/upper" "$here/work" "$here/root"
mount -t overlay -o "lowerdir=/,upperdir=$here/upper,workdir=$here/work" overlay "$here/root"
cd "$here/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs tmp
# As Debian's initramfs does it: nothing there can be executed.
mount -t tmpfs -o noexec,nosuid,nodev,mode=755 tmpfs run
# A container for builds forbids that services are started; an index of manuals takes seconds;
# and what this machine's administrator has set up is no part of the test.
rm -rf usr/sbin/policy-rc.d var/lib/man-db/auto-update
rm -rf etc/dropsonde var/lib/dropsonde var/lib/private/dropsonde etc/systemd/system/dropsonde.service*
exec env -i container=dropsonde-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	chroot . /lib/systemd/systemd --system --unit=basic.target
