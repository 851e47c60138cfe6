// Control of the VideoToolbox shim: what tests script, count and check. A Mac has none of this; the
// back end's own sources never include it. README.md explains the script's rules.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define VT_SHIM_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define VT_SHIM_EXPORT extern __attribute__((visibility("default")))
#endif

// Replaces the script, and counts frames, sessions, transfers, lookups and pool buffers from 1
// again. NULL or "": nothing is scripted. A rule that cannot be read ends the process.
VT_SHIM_EXPORT void vt_shim_set_script(const char *script);

// Since the process started, or since vt_shim_reset_counters.
typedef struct {
  uint64_t sessions_created;
  uint64_t sessions_refused;
  uint64_t frames_submitted;  // calls of EncodeFrame on a session that was not invalid
  uint64_t frames_encoded;    // callbacks with a sample
  uint64_t frames_dropped;    // noErr without a sample, flagged or not
  uint64_t frames_failed;     // callbacks with an error
  uint64_t frames_discarded;  // pending when the session was invalidated: no callback
  uint64_t key_frames;
  uint64_t forced_key_frames;
  uint64_t untagged_frames;   // submitted without the three colour attachments
  uint64_t converted_frames;  // submitted in a format that the encoder had to convert
  uint64_t properties_set;
  uint64_t properties_refused;
  uint64_t transfers;
  uint64_t encoding_ns;  // from EncodeFrame until its callback, of all frames
} vt_shim_counters;

VT_SHIM_EXPORT void vt_shim_get_counters(vt_shim_counters *counters);
VT_SHIM_EXPORT void vt_shim_reset_counters(void);

// CF objects that are alive, by CFCopyTypeIDDescription's name ("CVPixelBuffer"), or all for NULL.
VT_SHIM_EXPORT size_t vt_shim_live_objects(const char *type);

// Lists what is alive on stderr; how many objects that is.
VT_SHIM_EXPORT size_t vt_shim_check_leaks(void);

// IOSurfaceRefs of a surface that are alive, each lookup giving one; 0 when the id is dead.
VT_SHIM_EXPORT size_t vt_shim_surface_references(uint32_t id);
