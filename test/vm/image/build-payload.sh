#!/bin/sh
# Compiles the guest's own software in the build tree and makes payload.img of it.
# Runs as root, or as root of a user namespace, always in a mount namespace of its own (see payload.ts).
# Variables: TREE (the build tree) CHECKOUT (sources) BUILD (kept between runs, so that ninja builds what changed)
#            RESULT (where payload.img goes)
set -eu
staging=$BUILD/payload
mkdir -p "$BUILD/cmake" "$TREE/src" "$TREE/build"
mount --rbind /dev "$TREE/dev"
mount -t proc proc "$TREE/proc"
mount --bind "$CHECKOUT" "$TREE/src"
mount -o remount,bind,ro "$TREE/src" 2>/dev/null || true # some namespaces refuse; cmake does not write there anyway
mount --bind "$BUILD/cmake" "$TREE/build"

chroot "$TREE" env CCACHE_DISABLE=1 cmake -S /src -B /build -G Ninja -DVSOCKENC_GUEST_ONLY=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo
chroot "$TREE" cmake --build /build

rm -rf "$staging"
mkdir -p "$staging/bin" "$staging/gstreamer-1.0"
find "$BUILD/cmake" -path '*/CMakeFiles' -prune -o -type f -name 'libgst*.so' -exec cp -p {} "$staging/gstreamer-1.0/" ';'
find "$BUILD/cmake" -path '*/CMakeFiles' -prune -o -type f -perm /111 ! -name '*.so*' -exec cp -p {} "$staging/bin/" ';'

# The list of plugins with ours in it, made where the files are mounted in the guest.
mount --bind "$staging" "$TREE/opt/vsockenc"
chroot "$TREE" env HOME=/root GST_REGISTRY=/tmp/registry.bin GST_PLUGIN_PATH=/opt/vsockenc/gstreamer-1.0 \
  gst-inspect-1.0 >/dev/null 2>&1 || true
if [ -f "$TREE/tmp/registry.bin" ]; then mv "$TREE/tmp/registry.bin" "$staging/registry.bin"; fi
umount "$TREE/opt/vsockenc"

size=$(($(du -sm "$staging" | cut -f1) * 5 / 4 + 8))
rm -f "$RESULT"
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum,^resize_inode -m 0 -d "$staging" "$RESULT" "${size}M"
