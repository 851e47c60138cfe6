#!/bin/sh
# Compiles the guest's own software in the build tree and makes payload.img of it; with it goes the command vsockenc, as
# the checkout has it in dist, where it is built.
# Runs as root, or as root of a user namespace, always in a mount namespace of its own (see payload.ts).
# Variables: TREE (the build tree) CHECKOUT (sources) BUILD (kept between runs, so that ninja builds what changed)
#            RESULT (where payload.img goes) NODE_MODULES (folders of the checkout that the command needs)
set -eu
staging=$BUILD/payload
mkdir -p "$BUILD/cmake" "$BUILD/addon" "$TREE/src" "$TREE/build" "$TREE/addon"
mount --rbind /dev "$TREE/dev"
mount -t proc proc "$TREE/proc"
mount --bind "$CHECKOUT" "$TREE/src"
mount -o remount,bind,ro "$TREE/src" 2>/dev/null || true # some namespaces refuse; cmake does not write there anyway
mount --bind "$BUILD/cmake" "$TREE/build"
mount --bind "$BUILD/addon" "$TREE/addon"

chroot "$TREE" env CCACHE_DISABLE=1 cmake -S /src -B /build -G Ninja -DVSOCKENC_GUEST_ONLY=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo
chroot "$TREE" cmake --build /build
# The bridge's addon, as cmake-js would configure it.
chroot "$TREE" env CCACHE_DISABLE=1 cmake -S /src -B /addon -G Ninja -DCMAKE_JS_INC=/src/node_modules/node-api-headers/include \
  -DVSOCKENC_HOST_ADDONS=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo
chroot "$TREE" cmake --build /addon --target gst

rm -rf "$staging"
mkdir -p "$staging/bin" "$staging/gstreamer-1.0"
find "$BUILD/cmake" -path '*/CMakeFiles' -prune -o -type f -name 'libgst*.so' -exec cp -p {} "$staging/gstreamer-1.0/" ';'
find "$BUILD/cmake" -path '*/CMakeFiles' -prune -o -type f -perm /111 ! -name '*.so*' -exec cp -p {} "$staging/bin/" ';'

if [ -f "$CHECKOUT/dist/cli/main.js" ]; then
  package=$staging/package
  mkdir -p "$package/build/addon/Release"
  cp -p "$CHECKOUT/package.json" "$package/"
  cp -rp "$CHECKOUT/dist" "$package/"
  # shellcheck disable=SC2086 # a list of words
  (cd "$CHECKOUT" && cp -rp --parents $NODE_MODULES "$package/")
  find "$BUILD/addon" -name gst.node -exec cp -p {} "$package/build/addon/Release/" ';'
  chmod +x "$package/dist/cli/main.js"
  ln -s ../package/dist/cli/main.js "$staging/bin/vsockenc"
fi

# The list of plugins with ours in it, made where the files are mounted in the guest.
mount --bind "$staging" "$TREE/opt/vsockenc"
chroot "$TREE" env HOME=/root GST_REGISTRY=/tmp/registry.bin GST_PLUGIN_PATH=/opt/vsockenc/gstreamer-1.0 \
  gst-inspect-1.0 >/dev/null 2>&1 || true
if [ -f "$TREE/tmp/registry.bin" ]; then mv "$TREE/tmp/registry.bin" "$staging/registry.bin"; fi
umount "$TREE/opt/vsockenc"

size=$(($(du -sm "$staging" | cut -f1) * 5 / 4 + 8))
rm -f "$RESULT"
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum,^resize_inode -m 0 -d "$staging" "$RESULT" "${size}M"
