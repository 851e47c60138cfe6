#error "<sys/prctl.h> is Linux's alone: use what POSIX has, or host/native/platform"
