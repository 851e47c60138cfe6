/*
 * Draws the pattern into its own DmaBufs and pushes them into a pipeline, like a compositor: a few
 * buffers in rotation, each drawn into again only after it was released.
 *
 *     dmabufsrc --allocator dumb --frames 300 --pipeline "vsockenc ! h264parse ! filesink
 * location=a.h264"
 *
 * SIGINT ends the stream after the current frame. Exit status: 0 at EOS without an error.
 */
#include <gst/allocators/allocators.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "dmabuf.h"
#include "json.h"
#include "pattern.h"
#include "vsockenc-formats.h"

/* Only a pipeline that hangs keeps a buffer as long as this. */
#define RETURN_TIMEOUT_US (120 * G_USEC_PER_SEC)
#define MAX_BUFFERS 64
#define MAX_PLANES 3

static struct {
  gchar *allocator, *planes, *format, *pipeline, *output, *stats_json;
  gint frames, width, height, buffers, fps;
  gboolean live, drm_caps;
} options = {.allocator = "resource",
             .planes = "together",
             .format = "BGRx",
             .output = "out.h264",
             .frames = 300,
             .width = 1280,
             .height = 720,
             .buffers = 8,
             .fps = 30};

typedef struct Source Source;

typedef struct {
  Source *source;
  guint n_dmabufs; /* one for all planes, or one for each */
  DmaBuf dmabufs[MAX_PLANES];
  GstMemory *memories[MAX_PLANES];
  gint64 holds; /* frame number of its pixels, or -1 */
  gboolean out;
} Slot;

struct Source {
  GMutex lock;
  GCond returned;
  GstVideoInfo info; /* strides and offsets as they are in the dma-bufs */
  Slot slots[MAX_BUFFERS];
  gboolean stop;
  gint pushed;
  gint64 drawing_us;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
  interrupted = 1;
}

static gboolean parse_options(int *argc, char ***argv) {
  const GOptionEntry entries[] = {
      {"allocator", 0, 0, G_OPTION_ARG_STRING, &options.allocator,
       "dumb, resource, udmabuf or system", "NAME"},
      {"planes", 0, 0, G_OPTION_ARG_STRING, &options.planes, "together or separate", "HOW"},
      {"frames", 0, 0, G_OPTION_ARG_INT, &options.frames, "how many (300)", "N"},
      {"width", 0, 0, G_OPTION_ARG_INT, &options.width, "pixels (1280)", "N"},
      {"height", 0, 0, G_OPTION_ARG_INT, &options.height, "pixels (720)", "N"},
      {"format", 0, 0, G_OPTION_ARG_STRING, &options.format, "of proto/formats.ts (BGRx)", "NAME"},
      {"buffers", 0, 0, G_OPTION_ARG_INT, &options.buffers, "in rotation (8)", "N"},
      {"fps", 0, 0, G_OPTION_ARG_INT, &options.fps, "frames a second in the caps (30)", "N"},
      {"live", 0, 0, G_OPTION_ARG_NONE, &options.live, "a live source, paced by the clock", NULL},
      {"drm-caps", 0, 0, G_OPTION_ARG_NONE, &options.drm_caps, "format=DMA_DRM (1.24)", NULL},
      {"pipeline", 0, 0, G_OPTION_ARG_STRING, &options.pipeline, "what follows the source", "TEXT"},
      {"output", 0, 0, G_OPTION_ARG_FILENAME, &options.output, "file of the default pipeline",
       "FILE"},
      {"stats-json", 0, 0, G_OPTION_ARG_FILENAME, &options.stats_json, "write figures", "FILE"},
      G_OPTION_ENTRY_NULL};
  g_autoptr(GOptionContext) context = g_option_context_new("- draw into DmaBufs and encode them");
  g_autoptr(GError) error = NULL;

  g_option_context_add_main_entries(context, entries, NULL);
  g_option_context_add_group(context, gst_init_get_option_group());
  if (!g_option_context_parse(context, argc, argv, &error)) {
    fprintf(stderr, "dmabufsrc: %s\n", error->message);
    return FALSE;
  }
  if (!options.pipeline)
    options.pipeline =
        g_strdup_printf("vsockenc ! h264parse ! filesink location=\"%s\"", options.output);
  if (options.buffers < 1 || options.buffers > MAX_BUFFERS || options.fps < 1 ||
      options.frames < 1 || options.width < 16 || options.height < 16 ||
      gst_video_format_from_string(options.format) == GST_VIDEO_FORMAT_UNKNOWN ||
      (g_strcmp0(options.planes, "together") && g_strcmp0(options.planes, "separate")) ||
      (g_strcmp0(options.allocator, "dumb") && g_strcmp0(options.allocator, "resource") &&
       g_strcmp0(options.allocator, "udmabuf") && g_strcmp0(options.allocator, "system"))) {
    fprintf(stderr, "dmabufsrc: an option is out of range; see --help\n");
    return FALSE;
  }
  return TRUE;
}

/* A dma-buf of at least `size` bytes: as wide as the picture, in 32-bit pixels, and as high as that
 * takes. */
static gboolean create_dmabuf(Slot *slot, int device, gsize size, GError **error) {
  g_autoptr(GstAllocator) allocator = gst_dmabuf_allocator_new();
  DmaBuf *dmabuf = &slot->dmabufs[slot->n_dmabufs];
  gsize row = (gsize)options.width * 4;
  if (!dmabuf_create(device, options.allocator, (guint)options.width,
                     (guint)((size + row - 1) / row), dmabuf, error))
    return FALSE;
  slot->memories[slot->n_dmabufs++] =
      dmabuf->fd < 0
          ? gst_memory_new_wrapped(0, dmabuf->pixels, dmabuf->size, 0, dmabuf->size, NULL, NULL)
          : gst_dmabuf_allocator_alloc_with_flags(allocator, dmabuf->fd, dmabuf->size,
                                                  GST_FD_MEMORY_FLAG_DONT_CLOSE);
  return TRUE;
}

static gboolean create_slot(Slot *slot, int device, GError **error) {
  const GstVideoInfo *info = &slot->source->info;
  if (g_str_equal(options.planes, "together"))
    return create_dmabuf(slot, device, info->size, error);
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(info); i++) {
    gsize rows = (gsize)GST_VIDEO_INFO_COMP_HEIGHT(info, i);
    if (!create_dmabuf(slot, device, rows * (gsize)info->stride[i], error)) return FALSE;
  }
  return TRUE;
}

/* FALSE: failed, printed. The kernel chooses the stride of a dumb buffer. */
static gboolean create_slots(Source *source) {
  g_autoptr(GError) error = NULL;
  int device = dmabuf_open_device(options.allocator, &error);

  gst_video_info_set_format(&source->info, gst_video_format_from_string(options.format),
                            (guint)options.width, (guint)options.height);
  for (gint i = 0; device >= 0 && i < options.buffers; i++) {
    Slot *slot = &source->slots[i];
    slot->source = source;
    slot->holds = -1;
    if (!create_slot(slot, device, &error)) break;
    if (GST_VIDEO_INFO_IS_RGB(&source->info))
      source->info.stride[0] = (gint)slot->dmabufs[0].stride;
  }
  if (device >= 0) close(device);
  if (!error) return TRUE;
  fprintf(stderr, "dmabufsrc: %s\n", error->message);
  return FALSE;
}

static void destroy_slots(Source *source) {
  for (gint i = 0; i < options.buffers; i++) {
    Slot *slot = &source->slots[i];
    for (guint k = 0; k < slot->n_dmabufs; k++) {
      gst_memory_unref(slot->memories[k]);
      dmabuf_destroy(&slot->dmabufs[k]);
    }
  }
}

static void buffer_returned(gpointer data, GstMiniObject *where) {
  Slot *slot = data;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&slot->source->lock);
  slot->out = FALSE;
  g_cond_broadcast(&slot->source->returned);
}

/* FALSE: the pipeline has ended, or hangs. */
static gboolean wait_returned(Source *source, const Slot *slot) {
  gint64 deadline = g_get_monotonic_time() + RETURN_TIMEOUT_US;
  gboolean in_time = TRUE;
  g_mutex_lock(&source->lock);
  while (slot->out && !source->stop && in_time)
    in_time = g_cond_wait_until(&source->returned, &source->lock, deadline);
  gboolean stop = source->stop;
  g_mutex_unlock(&source->lock);
  if (!in_time) fprintf(stderr, "dmabufsrc: a buffer was not released in time\n");
  return in_time && !stop;
}

/* Where the slot's planes are, in memory and in the buffer. */
static void locate_planes(const Slot *slot, guint8 **planes, gsize *offsets) {
  const GstVideoInfo *info = &slot->source->info;
  gsize begin = 0;
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(info); i++) {
    if (slot->n_dmabufs == 1) {
      planes[i] = slot->dmabufs[0].pixels + info->offset[i];
      offsets[i] = info->offset[i];
    } else {
      planes[i] = slot->dmabufs[i].pixels;
      offsets[i] = begin;
      begin += slot->dmabufs[i].size;
    }
  }
}

static GstBuffer *wrap(Slot *slot, guint number, gsize *offsets) {
  GstBuffer *buffer = gst_buffer_new();
  GstVideoInfo *info = &slot->source->info;

  for (guint i = 0; i < slot->n_dmabufs; i++)
    gst_buffer_append_memory(buffer, gst_memory_ref(slot->memories[i]));
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT(info),
                                 (guint)options.width, (guint)options.height,
                                 GST_VIDEO_INFO_N_PLANES(info), offsets, info->stride);
  GST_BUFFER_PTS(buffer) = gst_util_uint64_scale_int(GST_SECOND, (gint)number, options.fps);
  GST_BUFFER_DURATION(buffer) = GST_SECOND / (guint)options.fps;
  gst_mini_object_weak_ref(GST_MINI_OBJECT_CAST(buffer), buffer_returned, slot);
  return buffer;
}

/* Draws the pattern in any pixel format; YUV is converted from a BGRx picture in ordinary memory.
 */
typedef struct {
  GstVideoInfo info;
  Pattern *pattern;
  /* For YUV alone. */
  GstVideoFrame picture; /* BGRx */
  GstBuffer *memory;
  gint64 holds; /* number of the frame in `picture`, or -1 */
  GstVideoConverter *converter;
} Canvas;

/* NULL: the pattern cannot be drawn in this format. */
static Canvas *canvas_new(const GstVideoInfo *info) {
  guint width = (guint)info->width, height = (guint)info->height;
  gboolean yuv = GST_VIDEO_INFO_IS_YUV(info);
  Pattern *pattern =
      pattern_new(width, height, yuv ? "BGRx" : gst_video_format_to_string(info->finfo->format));
  if (!pattern) return NULL;
  Canvas *canvas = g_new0(Canvas, 1);
  canvas->info = *info;
  canvas->pattern = pattern;
  canvas->holds = -1;
  if (yuv) {
    GstVideoInfo rgb;
    gst_video_info_set_format(&rgb, GST_VIDEO_FORMAT_BGRx, width, height);
    canvas->memory = gst_buffer_new_allocate(NULL, rgb.size, NULL);
    gst_video_frame_map(&canvas->picture, &rgb, canvas->memory, GST_MAP_READWRITE);
    canvas->converter = gst_video_converter_new(&rgb, &canvas->info, NULL);
  }
  return canvas;
}

static void canvas_free(Canvas *canvas) {
  if (!canvas) return;
  if (canvas->converter) {
    gst_video_converter_free(canvas->converter);
    gst_video_frame_unmap(&canvas->picture);
    gst_buffer_unref(canvas->memory);
  }
  pattern_free(canvas->pattern);
  g_free(canvas);
}

/* Draws frame `number` over frame `before` (-1: over anything else) into the planes. */
static void canvas_draw(Canvas *canvas, guint8 *const *planes, guint number, gint64 before) {
  if (!canvas->converter) {
    pattern_draw(canvas->pattern, planes[0], (gsize)canvas->info.stride[0], number, before);
    return;
  }
  GstVideoFrame target = {.info = canvas->info};
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(&canvas->info); i++) target.data[i] = planes[i];
  pattern_draw(canvas->pattern, GST_VIDEO_FRAME_PLANE_DATA(&canvas->picture, 0),
               (gsize)GST_VIDEO_FRAME_PLANE_STRIDE(&canvas->picture, 0), number, canvas->holds);
  canvas->holds = number;
  gst_video_converter_frame(canvas->converter, &canvas->picture, &target);
}

static void draw(Canvas *canvas, Slot *slot, guint8 **planes, guint number) {
  gint64 before = g_get_monotonic_time();
  for (guint i = 0; i < slot->n_dmabufs; i++) dmabuf_begin_write(&slot->dmabufs[i]);
  canvas_draw(canvas, planes, number, slot->holds);
  for (guint i = 0; i < slot->n_dmabufs; i++) dmabuf_end_write(&slot->dmabufs[i]);
  slot->holds = number;
  slot->source->drawing_us += g_get_monotonic_time() - before;
}

static void push_frames(Source *source, GstAppSrc *appsrc) {
  Canvas *canvas = canvas_new(&source->info);
  gint64 begin = g_get_monotonic_time();

  for (gint i = 0; canvas && i < options.frames && !interrupted; i++) {
    Slot *slot = &source->slots[i % options.buffers];
    gint64 due = begin + i * G_USEC_PER_SEC / options.fps;
    gsize offsets[GST_VIDEO_MAX_PLANES] = {0};
    guint8 *planes[MAX_PLANES] = {NULL};
    if (!wait_returned(source, slot)) break;
    if (options.live && due > g_get_monotonic_time())
      g_usleep((gulong)(due - g_get_monotonic_time()));
    locate_planes(slot, planes, offsets);
    draw(canvas, slot, planes, (guint)i);
    slot->out = TRUE;
    if (gst_app_src_push_buffer(appsrc, wrap(slot, (guint)i, offsets)) != GST_FLOW_OK) break;
    source->pushed++;
  }
  gst_app_src_end_of_stream(appsrc);
  canvas_free(canvas);
}

typedef struct {
  Source *source;
  GstElement *pipeline;
  gboolean failed;
  guint warnings;
} Watcher;

/* Prints the bus's messages until EOS or an error. */
static gpointer watch_bus(gpointer data) {
  Watcher *watcher = data;
  g_autoptr(GstBus) bus = gst_element_get_bus(watcher->pipeline);
  const GstMessageType types =
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_WARNING | GST_MESSAGE_INFO;
  for (gboolean more = TRUE; more;) {
    g_autoptr(GstMessage) message = gst_bus_timed_pop_filtered(bus, GST_CLOCK_TIME_NONE, types);
    g_autoptr(GError) error = NULL;
    switch (GST_MESSAGE_TYPE(message)) {
      case GST_MESSAGE_ERROR:
        gst_message_parse_error(message, &error, NULL);
        fprintf(stderr, "dmabufsrc: error: %s\n", error->message);
        watcher->failed = TRUE;
        more = FALSE;
        break;
      case GST_MESSAGE_WARNING:
        gst_message_parse_warning(message, &error, NULL);
        fprintf(stderr, "dmabufsrc: warning: %s\n", error->message);
        watcher->warnings++;
        break;
      case GST_MESSAGE_INFO:
        gst_message_parse_info(message, &error, NULL);
        fprintf(stderr, "dmabufsrc: %s\n", error->message);
        break;
      default:
        more = FALSE;
        break;
    }
  }
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&watcher->source->lock);
  watcher->source->stop = TRUE;
  g_cond_broadcast(&watcher->source->returned);
  return NULL;
}

/* The four characters of a DRM fourcc. */
static const gchar *drm_name(guint32 code) {
  static gchar name[5];
  for (guint i = 0; i < 4; i++) name[i] = (gchar)(code >> (8 * i));
  return name;
}

static GstCaps *source_caps(void) {
  const gchar *drm = NULL;
#define DRM(name, code, ...) \
  if (g_str_equal(options.format, #name)) drm = drm_name(code);
  VSOCKENC_PIXEL_FORMATS(DRM)
#undef DRM
  g_autofree gchar *format =
      options.drm_caps ? g_strdup_printf("DMA_DRM,drm-format=%s", drm) : g_strdup(options.format);
  g_autofree gchar *text =
      g_strdup_printf("video/x-raw%s,format=%s,width=%d,height=%d,framerate=%d/1",
                      g_str_equal(options.allocator, "system") ? "" : "(memory:DMABuf)", format,
                      options.width, options.height, options.fps);
  return gst_caps_from_string(text);
}

static gboolean write_stats(GstElement *pipeline, const Source *source, const Watcher *watcher,
                            gint64 elapsed_us) {
  g_autoptr(GString) json = g_string_new("{");
  g_autoptr(GError) error = NULL;
  g_string_append_printf(json,
                         "\"frames\":%d,\"elapsed-us\":%" G_GINT64_FORMAT
                         ",\"drawing-us\":%" G_GINT64_FORMAT ",\"warnings\":%u",
                         source->pushed, elapsed_us, source->drawing_us, watcher->warnings);
  json_append_statistics(json, pipeline);
  g_string_append(json, "}\n");
  if (g_file_set_contents(options.stats_json, json->str, -1, &error)) return TRUE;
  fprintf(stderr, "dmabufsrc: %s\n", error->message);
  return FALSE;
}

static gboolean run(Source *source) {
  g_autofree gchar *text = g_strdup_printf("appsrc name=dmabufsrc ! %s", options.pipeline);
  g_autoptr(GError) error = NULL;
  g_autoptr(GstElement) pipeline = gst_parse_launch(text, &error);
  if (!pipeline || error) {
    fprintf(stderr, "dmabufsrc: %s\n", error->message);
    return FALSE;
  }
  Watcher watcher = {.source = source, .pipeline = pipeline};
  g_autoptr(GstElement) appsrc = gst_bin_get_by_name(GST_BIN(pipeline), "dmabufsrc");
  g_autoptr(GstCaps) caps = source_caps();

  g_object_set(appsrc, "caps", caps, "format", GST_FORMAT_TIME, "is-live", options.live, NULL);
  gint64 begin = g_get_monotonic_time();
  GThread *watching = g_thread_new("bus", watch_bus, &watcher);
  if (gst_element_set_state(pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE)
    push_frames(source, GST_APP_SRC(appsrc));
  g_thread_join(watching);
  gint64 elapsed = g_get_monotonic_time() - begin;
  gboolean written = !options.stats_json || write_stats(pipeline, source, &watcher, elapsed);
  gst_element_set_state(pipeline, GST_STATE_NULL);
  return !watcher.failed && written;
}

int main(int argc, char **argv) {
  static Source source;
  if (!parse_options(&argc, &argv)) return 2;
  gst_init(&argc, &argv);
  signal(SIGINT, interrupt);
  gboolean done = create_slots(&source) && run(&source);
  destroy_slots(&source);
  return done ? 0 : 1;
}
