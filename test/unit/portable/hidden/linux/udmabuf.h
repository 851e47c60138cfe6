#error "<linux/udmabuf.h> is Linux's alone: use what POSIX has, or host/native/platform"
