// What the project needs from the distribution, by purpose, with the reason. Debian's names; Ubuntu has the same.

/** @type {Record<string, [name: string, why: string][]>} */
export const PACKAGES = {
  build: [
    ["g++", "the native addon and the plugin"],
    ["make", "cmake-js falls back on it"],
    ["cmake", "builds both"],
    ["ninja-build", "cmake's back end"],
    ["pkg-config", "finds the libraries below"],
    ["libgstreamer1.0-dev", "the guest's plugin, which is also built on the host for its tests"],
    ["libgstreamer-plugins-base1.0-dev", "GstVideoEncoder, DmaBuf allocator"],
    ["libgstreamer-plugins-bad1.0-dev", "GstCheck's harness and codec utilities"],
    ["libdrm-dev", "virtio-gpu ioctls"],
    ["libnanopb-dev", "protobuf in C"],
    ["nanopb", "its generator"],
    ["protobuf-compiler", "which needs protoc"],
    ["libyuv-dev", "colour conversion"],
    ["libavcodec-dev", "encoders"],
    ["libavutil-dev", "encoders"],
    ["libx264-dev", "the encoder that is always there"],
    ["zlib1g-dev", "CRC-32"],
  ],
  test: [
    ["clang", "sanitizers and fuzzing"],
    ["clang-format", "layout of C and C++"],
    ["gstreamer1.0-tools", "gst-launch-1.0 and gst-inspect-1.0"],
    ["gstreamer1.0-plugins-base", "videotestsrc"],
    ["gstreamer1.0-plugins-good", "containers"],
    ["gstreamer1.0-plugins-bad", "h264parse"],
    ["ffmpeg", "decodes what was encoded, independently of us"],
    ["valgrind", "leaks in the plugin"],
    ["libvirt-clients", "libvirt's schema, against which our domain is checked"],
    ["libxml2-utils", "xmllint, with which it checks"],
    ["chromium", "shows the viewer's page"],
    ["fonts-dejavu-core", "letters for it"],
    ["systemd", "systemd-analyze, which checks our units"],
    ["ovmf", "UEFI firmware, whose screen a head shows"],
  ],
  vm: [
    ["mmdebstrap", "makes the test guest's system"],
    ["debian-archive-keyring", "checks its packages"],
    ["e2fsprogs", "makes its disk"],
    ["util-linux", "unshare, flock, setpriv"],
    ["xz-utils", "unpacks its kernel modules"],
    ["zstd", "unpacks its kernel"],
    ["ffmpeg", "decodes what a guest encoded"],
  ],
  /** Only an ordinary user needs these: with them he can make the guest's system without being root. */
  vmUser: [["uidmap", "a range of user ids for making the guest's system"]],
  /** Apart because the version matters. */
  qemu: [
    ["qemu-system-x86", "runs the test guest"],
    ["seabios", "its firmware"],
  ],
};

/** Which of the above each use needs. */
export const PURPOSES = {
  build: ["build"],
  vm: ["build", "vm", "qemu"],
  demo: ["build", "vm", "qemu"],
  test: ["build", "test", "vm", "qemu"],
};
