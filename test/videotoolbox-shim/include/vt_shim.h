// Control of the VideoToolbox shim: scripts, counters and checks for tests. A Mac has none of this;
// the back end's own sources never include it. README.md explains the script's rules.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define VT_SHIM_EXPORT extern "C" __attribute__((visibility("default")))

// Replaces the script; its events are numbered from 1 again, and the counters start at 0. NULL or
// "": nothing is scripted. A rule that cannot be read ends the process.
VT_SHIM_EXPORT void vt_shim_set_script(const char *script);

// Counted since the process started, or since vt_shim_set_script.
#define VT_SHIM_COUNTERS(X)                                                       \
  X(sessions_created)                                                             \
  X(sessions_refused)                                                             \
  X(frames_submitted) /* calls of EncodeFrame on a session that was valid */      \
  X(frames_encoded)   /* callbacks with a sample */                               \
  X(frames_dropped)   /* noErr without a sample, flagged or not */                \
  X(frames_failed)    /* callbacks with an error */                               \
  X(frames_discarded) /* pending when the session was invalidated: no callback */ \
  X(key_frames)                                                                   \
  X(forced_key_frames)                                                            \
  X(untagged_frames)  /* submitted without the three colour attachments */        \
  X(converted_frames) /* submitted in a format that the encoder had to convert */ \
  X(transfers)                                                                    \
  X(encoding_ns) /* from EncodeFrame until its callback, of all frames */

#define VT_SHIM_COUNTER(name) uint64_t name;
typedef struct {
  VT_SHIM_COUNTERS(VT_SHIM_COUNTER)
} vt_shim_counters;

VT_SHIM_EXPORT void vt_shim_get_counters(vt_shim_counters *counters);

// CF objects that are alive, by the name of their type ("CVPixelBuffer"), or all for NULL.
VT_SHIM_EXPORT size_t vt_shim_live_objects(const char *type);

// Lists the live objects on stderr, and returns their number.
VT_SHIM_EXPORT size_t vt_shim_check_leaks(void);

// IOSurfaceRefs of a surface that are alive, each lookup giving one; 0 when the id is dead.
VT_SHIM_EXPORT size_t vt_shim_surface_references(uint32_t id);
