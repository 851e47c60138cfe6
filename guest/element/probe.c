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
#define FIX_RESOURCE                                                                             \
  "on the host, see that `vsockenc gpu`, or QEMU with libvsockenc-virgl, runs for this virtual " \
  "machine, and that its export socket stands in the relay's configuration"
#define FIX_RENDERED                                                                              \
  "on the host, see that QEMU runs with libvsockenc-virgl (`vsockenc qemu-args --environment`), " \
  "and restart the virtual machine after an update"
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

/* A frame of a buffer that the CPU has drawn. NULL: an error is reported. */
static VencFrame *draw_pages(Probe *probe) {
  VencProbeReport *report = probe->report;
  VencProbed *pages = &report->pages;
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
  pages->crc = venc_pixels_crc(pixels);
  pages->bytes = venc_pixels_size(pixels);
  pages->resource = frame->layout.planes[0].resource;
  return frame;
}

/* The same of a buffer that the GPU has drawn. */
static VencFrame *draw_rendered(Probe *probe, const VencGlPicture *drawn) {
  gsize offset[GST_VIDEO_MAX_PLANES] = {drawn->offset};
  gint stride[GST_VIDEO_MAX_PLANES] = {(gint)drawn->stride};
  gsize size = drawn->offset + (gsize)drawn->stride * HEIGHT;
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  g_autoptr(GstBuffer) buffer = gst_buffer_new();
  VencFrame *frame = g_new0(VencFrame, 1);
  VencPicture picture = {
      .fourcc = VENC_GL_FOURCC, .modifier = drawn->modifier, .content = vsockenc_Content_RENDERED};

  gst_video_info_set_format(&picture.info, GST_VIDEO_FORMAT_BGRA, WIDTH, HEIGHT);
  gst_buffer_append_memory(buffer, gst_dmabuf_allocator_alloc(allocator, drawn->fd, size));
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_BGRA, WIDTH,
                                 HEIGHT, 1, offset, stride);
  if (!venc_buffers_use(probe->buffers, buffer, &picture, frame, &probe->report->error)) {
    venc_frame_free(frame);
    return NULL;
  }
  probe->report->rendered = (VencProbed){.crc = drawn->crc,
                                         .bytes = (guint64)WIDTH * HEIGHT * 4,
                                         .resource = frame->layout.planes[0].resource};
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

/* Has the host read the buffer, and frees `frame`, unless it is NULL: not drawn. */
static gboolean ask_host(Probe *probe, VencFrame *frame, VencProbed *probed, const gchar *fix) {
  VencProbeReport *report = probe->report;
  if (!frame) return failed(probe, FIX_GPU);
  /* The session takes an inline frame, so the probe asks about its slot. */
  VencFrame named = {.slot = frame->slot, .attachment = frame->attachment, .layout = frame->layout};
  gboolean is_inline = probe->options->is_inline;
  gboolean asked = !is_inline || send_inline(probe, frame);
  if (asked)
    asked = venc_session_probe(probe->session, &named, probe->options->timeout_ms, &probed->host,
                               &report->error);
  if (!is_inline) venc_frame_free(frame);
  if (!asked) return failed(probe, fix);
  if (probed->host.crc == probed->crc && probed->host.bytes == probed->bytes) return TRUE;
  g_set_error_literal(&report->error, VENC_ERROR, VENC_ERROR_REFUSED,
                      "the host reads other pixels than were drawn");
  return failed(probe, FIX_CRC);
}

static gboolean check_pages(Probe *probe) {
  return ask_host(probe, draw_pages(probe), &probe->report->pages,
                  probe->options->is_inline ? FIX_LINK : FIX_RESOURCE);
}

/* TRUE also where nothing can be rendered. */
static gboolean check_rendered(Probe *probe) {
  VencProbeReport *report = probe->report;
  g_autoptr(GError) reason = NULL;
  VencGlPicture drawn;
  if (probe->options->is_inline)
    report->not_rendered = g_strdup("pixels go over the link");
  else if (!probe->gpu->is_3d)
    report->not_rendered = g_strdup("this virtio-gpu does not render (it has no 3D)");
  else if (!probe->options->draw(probe->gpu->node, WIDTH, HEIGHT, &drawn, &reason))
    report->not_rendered = g_strdup(reason->message);
  else if (!ask_host(probe, draw_rendered(probe, &drawn), &report->rendered, FIX_RENDERED)) {
    g_prefix_error(&report->error, "of a buffer that the GPU drew: ");
    return FALSE;
  }
  return TRUE;
}

void venc_probe_run(const VencProbeOptions *options, VencProbeReport *report) {
  Probe probe = {.options = options, .report = report};
  *report = (VencProbeReport){0};
  report->ok = open_all(&probe) && check_pages(&probe) && check_rendered(&probe);
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
  g_clear_pointer(&report->not_rendered, g_free);
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

static void add_probed(GString *json, const VencProbed *probed) {
  static const gchar *const tiers[] = {NULL, "resource", "resource-gather", "inline",
                                       "resource-read"};
  const VencProbe *host = &probed->host;
  g_autofree gchar *crc_host = g_strdup_printf("%08x", host->crc);
  g_string_append_printf(json, "\"resource\": %u", probed->resource);
  add_text(json, "tier", (guint)host->tier < G_N_ELEMENTS(tiers) ? tiers[host->tier] : NULL);
  g_string_append_printf(json, ", \"runs\": %u, \"crc_guest\": \"%08x\"", host->runs, probed->crc);
  add_text(json, "crc_host", host->bytes > 0 ? crc_host : NULL);
}

gchar *venc_probe_report_to_json(const VencProbeReport *report) {
  GString *json = g_string_new(NULL);

  g_string_append_printf(json, "{\"ok\": %s", report->ok ? "true" : "false");
  add_text(json, "device", report->device);
  g_string_append(json, ", ");
  add_probed(json, &report->pages);
  g_string_append(json, ", \"rendered\": {");
  add_probed(json, &report->rendered);
  add_text(json, "skipped", report->not_rendered);
  g_string_append_c(json, '}');
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
