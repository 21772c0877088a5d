# Runs a command of a bare root, where nothing can be written but what is its own. Called by
# bare.rs within a mount namespace: bare.sh ROOT USER COMMAND…, where 0 is who it is already.
set -e
root=$1 user=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -o remount,bind,ro "$root"
for own in run/dropsonde var/lib/dropsonde tmp; do
	mount --bind "../own/$own" "$own"
done
for of in proc sys dev; do
	mount --rbind "/$of" "$of"
done
if [ "$user" = 0 ]; then
	exec chroot "$root" "$@"
fi
exec chroot --userspec="$user:$user" "$root" "$@"
