#include "probe.h"

#include <gst/video/video.h>

#include "buffers.h"
#include "planes.h"

#define WIDTH 640u
#define HEIGHT 360u
#define SOFTWARE "vsockenc-probe/" PACKAGE_VERSION

#define FIX_GPU                                                                                   \
  "give the virtual machine the GPU of `vsockenc qemu-args`, and its user the group \"render\"; " \
  "--inline tries the way without a GPU"
#define FIX_LINK "run `vsockenc doctor` here and `vsockenc doctor --config FILE` on the host"
#define FIX_RESOURCE                                                                               \
  "on the host, see that `vsockenc gpu` runs for this virtual machine and that its export socket " \
  "stands in the relay's configuration"
#define FIX_CRC "report this: the host reads other bytes than the guest wrote"

/* Everything that a probe opens, so that it is freed once. */
typedef struct {
  const VencProbeOptions *options;
  VencProbeReport *report;
  VencGpu *gpu;
  VencSession *session;
  VencBuffers *buffers;
  VencPicture picture;
} Probe;

static gboolean failed(Probe *probe, const gchar *fix) {
  probe->report->fix = fix;
  return FALSE;
}

static gboolean open_all(Probe *probe) {
  const VencProbeOptions *options = probe->options;
  VencProbeReport *report = probe->report;
  if (!options->is_inline) {
    probe->gpu = venc_gpu_new(options->gpu_ops, &report->error);
    if (!probe->gpu) return failed(probe, FIX_GPU);
    report->device = g_strdup(probe->gpu->node);
  }
  probe->session = venc_session_new(&options->address, SOFTWARE);
  if (!venc_session_open(probe->session, options->timeout_ms, &report->error))
    return failed(probe, FIX_LINK);
  probe->buffers = venc_buffers_new(probe->gpu, probe->session);
  gst_video_info_set_format(&probe->picture.info, GST_VIDEO_FORMAT_BGRx, WIDTH, HEIGHT);
  probe->picture.fourcc = 0x34325258u; /* DRM_FORMAT_XRGB8888 */
  return TRUE;
}

/* Random bytes: a page or a row at a wrong position changes the checksum. */
static void draw(GstBuffer *buffer) {
  GstMapInfo map;
  guint32 state = g_random_int() | 1;
  if (!gst_buffer_map(buffer, &map, GST_MAP_WRITE)) return;
  for (gsize i = 0; i < map.size; i++)
    map.data[i] = (guint8)((state = state * 1664525u + 1013904223u) >> 24);
  gst_buffer_unmap(buffer, &map);
}

/* Draws a buffer, reports its checksum, and returns a frame of it. */
static VencFrame *make_frame(Probe *probe) {
  VencProbeReport *report = probe->report;
  g_autoptr(GstAllocator) allocator = probe->gpu ? venc_allocator_new(probe->gpu) : NULL;
  g_autoptr(GstBuffer) buffer = gst_buffer_new_allocate(allocator, probe->picture.info.size, NULL);
  VencFrame *frame = g_new0(VencFrame, 1);
  const VencPixels *pixels = NULL;

  if (!buffer) {
    g_set_error_literal(&report->error, VENC_GPU_ERROR, VENC_GPU_ERROR_FAILED,
                        "the virtio-gpu gives no memory");
  } else {
    draw(buffer);
    gboolean found = (probe->gpu ? venc_buffers_use : venc_buffers_use_inline)(
        probe->buffers, buffer, &probe->picture, frame, &report->error);
    if (found) pixels = frame->map(frame->hold, &report->error);
  }
  if (!pixels) {
    venc_frame_free(frame);
    return NULL;
  }
  report->crc = venc_pixels_crc(pixels);
  report->bytes = venc_pixels_size(pixels);
  report->resource = frame->layout.planes[0].resource;
  return frame;
}

/* Waits for the access unit, the only sign that an inline frame has arrived. */
static gboolean await_packet(Probe *probe) {
  VencOutput *output = venc_session_pop_output(probe->session);
  gboolean packet = output && output->kind == VENC_OUTPUT_PACKET;
  if (!packet)
    g_set_error(&probe->report->error, VENC_ERROR, VENC_ERROR_REFUSED, "no frame came back: %s",
                output && output->text ? output->text : "the encoder gave none");
  venc_output_free(output);
  venc_session_output_done(probe->session);
  return packet;
}

/* Encodes the frame, so that its pixels go over the link. */
static gboolean send_inline(Probe *probe, VencFrame *frame) {
  const vsockenc_Configure configuration = {.codec = vsockenc_Codec_H264,
                                            .width = WIDTH,
                                            .height = HEIGHT,
                                            .framerate_numerator = 30,
                                            .framerate_denominator = 1,
                                            .par_numerator = 1,
                                            .par_denominator = 1};
  VencFrame *replaced = NULL;
  venc_session_set_mode(probe->session, TRUE, TRUE, 1);
  if (venc_session_configure(probe->session, &configuration, TRUE, &probe->report->error) !=
          VENC_OK ||
      venc_session_submit(probe->session, frame, &replaced) != VENC_OK) {
    venc_frame_free(frame);
    return FALSE;
  }
  return await_packet(probe);
}

static gboolean ask_host(Probe *probe) {
  VencProbeReport *report = probe->report;
  VencFrame *frame = make_frame(probe);
  if (!frame) return failed(probe, FIX_GPU);
  /* The session takes an inline frame, so the probe asks about its slot. */
  VencFrame named = {.slot = frame->slot, .attachment = frame->attachment, .layout = frame->layout};
  gboolean is_inline = probe->options->is_inline;
  gboolean asked = !is_inline || send_inline(probe, frame);
  if (asked)
    asked = venc_session_probe(probe->session, &named, probe->options->timeout_ms, &report->host,
                               &report->error);
  if (!is_inline) venc_frame_free(frame);
  if (!asked) return failed(probe, is_inline ? FIX_LINK : FIX_RESOURCE);
  if (report->host.crc == report->crc && report->host.bytes == report->bytes) return TRUE;
  g_set_error_literal(&report->error, VENC_ERROR, VENC_ERROR_REFUSED,
                      "the host reads other pixels than were drawn");
  return failed(probe, FIX_CRC);
}

void venc_probe_run(const VencProbeOptions *options, VencProbeReport *report) {
  Probe probe = {.options = options, .report = report};
  *report = (VencProbeReport){0};
  report->ok = open_all(&probe) && ask_host(&probe);
  if (probe.session) {
    venc_session_get_statistics(probe.session, &report->statistics);
    venc_session_get_host(probe.session, &report->offers);
  }
  venc_buffers_free(probe.buffers);
  venc_session_free(probe.session);
  venc_gpu_unref(probe.gpu);
}

void venc_probe_report_clear(VencProbeReport *report) {
  g_clear_pointer(&report->device, g_free);
  g_clear_error(&report->error);
}

/* A member of an object, or of a list if it has no name. */
static void add_text(GString *json, const gchar *name, const gchar *text) {
  if (name) g_string_append_printf(json, ", \"%s\": ", name);
  if (!text) {
    g_string_append(json, "null");
    return;
  }
  g_string_append_c(json, '"');
  for (const gchar *at = text; *at; at++) {
    if (*at == '"' || *at == '\\')
      g_string_append_printf(json, "\\%c", *at);
    else if ((guchar)*at < 0x20)
      g_string_append_printf(json, "\\u%04x", *at);
    else
      g_string_append_c(json, *at);
  }
  g_string_append_c(json, '"');
}

gchar *venc_probe_report_to_json(const VencProbeReport *report) {
  static const gchar *const tiers[] = {NULL, "resource", "resource-gather", "inline",
                                       "resource-read"};
  const VencProbe *host = &report->host;
  g_autofree gchar *crc_host = g_strdup_printf("%08x", host->crc);
  GString *json = g_string_new(NULL);

  g_string_append_printf(json, "{\"ok\": %s", report->ok ? "true" : "false");
  add_text(json, "device", report->device);
  g_string_append_printf(json, ", \"resource\": %u", report->resource);
  add_text(json, "tier", (guint)host->tier < G_N_ELEMENTS(tiers) ? tiers[host->tier] : NULL);
  g_string_append_printf(json, ", \"runs\": %u, \"crc_guest\": \"%08x\"", host->runs, report->crc);
  add_text(json, "crc_host", host->bytes > 0 ? crc_host : NULL);
  add_text(json, "host", *report->statistics.host ? report->statistics.host : NULL);
  g_string_append(json, ", \"encoders\": [");
  for (guint i = 0; i < report->offers.encoders_count; i++) {
    if (i > 0) g_string_append(json, ", ");
    add_text(json, NULL, report->offers.encoders[i].name);
  }
  g_string_append_c(json, ']');
  add_text(json, "error", report->error ? report->error->message : NULL);
  add_text(json, "fix", report->fix);
  g_string_append_c(json, '}');
  return g_string_free(json, FALSE);
}
