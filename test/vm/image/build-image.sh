#!/bin/sh
# Makes the test guest's root disk, kernel, initrd and build tree in the current directory.
# Runs as root, or as root of a user namespace, always in a mount namespace of its own (see image.ts).
# Variables: SUITE MIRROR KEYRING RUNTIME_PACKAGES BUILD_PACKAGES KERNEL_PACKAGE MODULES
set -eu
say() { echo "vsockenc-progress: $*"; }
tree=$PWD/tree

# The machine may reach its mirror through a proxy or with relaxed checks: the guest's apt needs the same.
apt-config dump --format '%F "%v";%n' Acquire |
  grep -iE '::(Proxy|Proxy-Auto-Detect|Check-Valid-Until|Check-Date|Verify-Peer|Verify-Host|CaInfo)' >apt-options || true

say "installing the guest's packages (about a minute)"
mmdebstrap --mode=root --variant=apt --quiet --components=main --keyring="$KEYRING" \
  --aptopt="$PWD/apt-options" --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
  --include="$RUNTIME_PACKAGES" "$SUITE" "$tree" "$MIRROR"

# A namespace without real root cannot make device nodes: borrow the machine's. The mounts end with this process.
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
cp -L /etc/resolv.conf "$tree/etc/resolv.conf"

say "adding the kernel"
chroot "$tree" apt-get -qq update
# Unpacked, not installed: installing it would bring an initrd generator which nothing here uses.
kernel=$(chroot "$tree" apt-cache depends -i "$KERNEL_PACKAGE" | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1)
chroot "$tree" sh -c "cd /tmp && apt-get -qq -o APT::Sandbox::User=root download '$kernel'"
dpkg-deb -x "$tree"/tmp/linux-image-*.deb "$tree/tmp/kernel"
modules=$tree/tmp/kernel/usr/lib/modules
[ -d "$modules" ] || modules=$tree/tmp/kernel/lib/modules # up to Debian 12
version=$(ls "$modules")
cp -a "$modules" "$tree/usr/lib/"
chroot "$tree" depmod "$version"

# The decompressed kernel starts through QEMU's PVH entry: 1.5 s less under TCG than decompressing it in the guest.
image=$tree/tmp/kernel/boot/vmlinuz-$version
setup=$(od -An -tu1 -j497 -N1 "$image" | tr -d ' ')
offset=$(od -An -tu4 -j584 -N4 "$image" | tr -d ' ')
length=$(od -An -tu4 -j588 -N4 "$image" | tr -d ' ')
tail -c +$(((setup + 1) * 512 + offset + 1)) "$image" | head -c $((length - 4)) >kernel.compressed
zstd -dqcf kernel.compressed >kernel 2>/dev/null || true
# Compressed in another way, perhaps: then QEMU gets the image as it is.
[ "$(head -c 4 kernel | tail -c 3)" = ELF ] || cp "$image" kernel
rm -rf kernel.compressed "$tree"/tmp/*

say "making the initrd"
mkdir -p initrd.d/bin initrd.d/modules initrd.d/dev initrd.d/proc initrd.d/sys initrd.d/root
cp "$tree/usr/bin/busybox" initrd.d/bin/
for applet in sh mount insmod switch_root mkdir cp cat grep echo sleep; do ln -s busybox "initrd.d/bin/$applet"; done
number=100
for module in $MODULES; do chroot "$tree" modprobe -S "$version" --show-depends "$module"; done |
  awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
  while read -r file; do
    case $file in
      *.xz) xz -dc "$tree$file" >"initrd.d/modules/$number-$(basename "$file" .xz)" ;;
      *) cp "$tree$file" "initrd.d/modules/$number-$(basename "$file")" ;;
    esac
    number=$((number + 1))
  done
(cd initrd.d && find . | "$tree/usr/bin/busybox" cpio -o -H newc 2>/dev/null) >initrd

# GStreamer's list of plugins, so that the first pipeline in the guest need not load two hundred of them.
mkdir -p "$tree/var/cache/vsockenc" "$tree/opt/vsockenc"
if [ -x "$tree/usr/bin/gst-inspect-1.0" ]; then
  chroot "$tree" env HOME=/root GST_REGISTRY=/var/cache/vsockenc/registry.bin gst-inspect-1.0 >/dev/null 2>&1 || true
fi

say "making the root disk"
chroot "$tree" apt-get clean
mv "$tree/var/lib/apt/lists" apt-lists
mkdir -p "$tree/var/lib/apt/lists/partial"
umount "$tree/proc"
umount -l "$tree/dev"
# Room for what commands leave there; the file is sparse. No journal: every virtual machine writes to a throw-away copy.
size=$(($(du -xsm "$tree" | cut -f1) * 5 / 4 + 1024))
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum,^resize_inode -m 0 -d "$tree" root.img "${size}M"

echo "$version" >kernel-version
rm -rf initrd.d apt-options
if [ -z "$BUILD_PACKAGES" ]; then
  rm -rf "$tree" apt-lists
  exit 0
fi

say "adding compilers to the build tree (about half a minute)"
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
rm -rf "$tree/var/lib/apt/lists"
mv apt-lists "$tree/var/lib/apt/lists"
# shellcheck disable=SC2086 # a list of words
chroot "$tree" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $BUILD_PACKAGES >build-packages.log 2>&1 || {
  tail -n 20 build-packages.log >&2
  exit 1
}
chroot "$tree" apt-get clean
rm -rf "$tree"/var/lib/apt/lists/* "$tree/usr/lib/modules" build-packages.log
