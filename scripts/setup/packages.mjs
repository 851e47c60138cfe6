// The distribution packages that the project needs, with the reason. Names are Debian's and Ubuntu's.

/** @type {Record<string, [name: string, why: string][]>} */
export const PACKAGES = {
  build: [
    ["g++", "native addons and plugin"],
    ["make", "fall-back of cmake-js"],
    ["cmake", "builds both"],
    ["ninja-build", "cmake's back end"],
    ["pkg-config", "finds libraries"],
    ["libgstreamer1.0-dev", "plugin (also built on the host, for its tests)"],
    ["libgstreamer-plugins-base1.0-dev", "GstVideoEncoder, DmaBuf allocator"],
    ["libgstreamer-plugins-bad1.0-dev", "GstCheck's harness and codec utilities"],
    ["libdrm-dev", "virtio-gpu ioctls"],
    ["libnanopb-dev", "protobuf in C"],
    ["nanopb", "its generator"],
    ["protobuf-compiler", "protoc, for nanopb"],
    ["libyuv-dev", "colour conversion"],
    ["libavcodec-dev", "encoders"],
    ["libavutil-dev", "encoders"],
    ["libx264-dev", "the fall-back encoder"],
    ["zlib1g-dev", "CRC-32"],
    ["libvirglrenderer-dev", "the exporter inside QEMU"],
    ["libseccomp-dev", "sandbox of the workers"],
    ["libepoxy-dev", "its GL calls, and those of the test guest's programs"],
    ["libgbm-dev", "buffers to render into, for the test guest's programs"],
  ],
  test: [
    ["clang", "sanitizers and fuzzing"],
    ["clang-format", "layout of C and C++"],
    ["libswscale-dev", "pixel conversion in the stand-in for VideoToolbox"],
    ["gstreamer1.0-tools", "gst-launch-1.0 and gst-inspect-1.0"],
    ["gstreamer1.0-plugins-base", "videotestsrc"],
    ["gstreamer1.0-plugins-good", "containers"],
    ["gstreamer1.0-plugins-bad", "h264parse"],
    ["ffmpeg", "an independent decoder"],
    ["valgrind", "leaks in the plugin"],
    ["libvirt-clients", "libvirt's domain schema"],
    ["libxml2-utils", "xmllint, to check domains"],
    ["chromium", "runs the viewer's page"],
    ["fonts-dejavu-core", "fonts for Chromium"],
    ["systemd", "systemd-analyze, to check units"],
    ["ovmf", "UEFI firmware with a screen"],
  ],
  vm: [
    ["mmdebstrap", "builds the guest's root file system"],
    ["debian-archive-keyring", "authenticates its packages"],
    ["e2fsprogs", "builds its disk"],
    ["util-linux", "unshare, flock, setpriv"],
    ["xz-utils", "unpacks its kernel modules"],
    ["zstd", "unpacks its kernel"],
    ["ffmpeg", "decodes a guest's stream"],
    ["xvfb", "a window system for QEMU's displays with GL"],
    ["libgl1-mesa-dri", "llvmpipe, which draws without a GPU"],
    ["libegl1", "GL without a window, for the exporter inside QEMU"],
    ["libgles2", "GLES, likewise"],
    ["libegl-mesa0", "EGL without a GPU"],
    ["libglx-mesa0", "GLX without a GPU"],
  ],
  /** For users other than root only. */
  vmUser: [["uidmap", "user ids for building the guest's system"]],
  /** Separate because the version matters. */
  qemu: [
    ["qemu-system-x86", "runs the test guest"],
    ["seabios", "its firmware"],
    ["qemu-system-gui", "displays with GL"],
    ["qemu-system-modules-opengl", "virtio-gpu-gl"],
  ],
};

const VM = ["build", "vm", "vmUser", "qemu"];

/** The kinds of packages that each purpose needs. */
export const PURPOSES = { build: ["build"], vm: VM, demo: VM, test: [...VM, "test"] };
