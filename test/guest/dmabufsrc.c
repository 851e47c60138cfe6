/*
 * Draws the pattern into its own buffers and pushes them into a pipeline, like a compositor: a few
 * buffers in rotation, each drawn into again only after it was released. They are dumb buffers of
 * the card node, or resources of the render node, exported by PRIME; GBM's, for OpenGL; or plain
 * memory, as a dma-buf (udmabuf) or without a descriptor (system). This is independent of the
 * element's code, so that each tests the other.
 *
 *     dmabufsrc --allocator dumb --frames 300 --pipeline "vsockenc ! filesink location=a.h264"
 *
 * With --gl, OpenGL draws, also into dumb buffers and resources, RGB or NV12 (a dma-buf for each
 * plane); a frame is pushed right after glFlush. Into plain memory (system) it is read back.
 *
 * SIGINT ends the stream after the current frame. Exit status: 0 at EOS without an error. Memory
 * is released by exiting.
 */
#define _GNU_SOURCE
#include <drm_fourcc.h>
#include <errno.h>
#include <fcntl.h>
#include <gst/allocators/allocators.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <linux/dma-buf.h>
#include <linux/udmabuf.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <virtgpu_drm.h>
#include <xf86drm.h>
#include <xf86drmMode.h>

#include "gl-pattern.h"
#include "json.h"
#include "pattern.h"
#include "vsockenc-formats.h"

/* Only a pipeline that hangs keeps a buffer as long as this. */
#define RETURN_TIMEOUT_US (120 * G_USEC_PER_SEC)
#define MAX_BUFFERS 64
#define MAX_PLANES 3
#define NODES 16
/* PIPE_TEXTURE_2D, and VIRGL_BIND_RENDER_TARGET: GPUs that render want a texture's purpose. */
#define TARGET_2D 2
#define BIND_RENDER_TARGET (1 << 1)

static struct {
  gchar *allocator, *planes, *format, *pipeline, *output, *stats_json;
  gint frames, width, height, buffers, fps, passes;
  gboolean live, drm_caps, gl, still;
} options = {.allocator = "resource",
             .planes = "together",
             .format = "BGRx",
             .output = "out.h264",
             .frames = 300,
             .width = 1280,
             .height = 720,
             .buffers = 8,
             .fps = 30,
             .passes = 1};

typedef struct {
  int fd;         /* -1: none */
  guint32 fourcc; /* DRM_FORMAT_* of what OpenGL draws */
  gsize size;
  guint stride;
  guint8 *pixels;    /* NULL: OpenGL draws */
  guint framebuffer; /* OpenGL's */
} DmaBuf;

typedef struct Source Source;

typedef struct {
  Source *source;
  guint n_dmabufs; /* one for all planes, or one for each */
  DmaBuf dmabufs[MAX_PLANES];
  GstMemory *memories[MAX_PLANES];
  guint8 *planes[MAX_PLANES];          /* in memory */
  gsize offsets[GST_VIDEO_MAX_PLANES]; /* in the buffer */
  gint64 holds;                        /* frame number of its pixels, or -1 */
  gboolean out;
} Slot;

struct Source {
  GMutex lock;
  GCond returned;
  GstElement *pipeline;
  GstVideoInfo info; /* strides and offsets as they are in the dma-bufs */
  Slot slots[MAX_BUFFERS];
  gboolean stop, failed;
  guint warnings;
  gint pushed;
  gint64 drawing_us;
  Pattern *pattern;
  /* For YUV alone, which is converted from a BGRx picture in ordinary memory. */
  GstVideoConverter *converter;
  GstVideoFrame picture;
  gint64 picture_holds;
};

static GlPattern *gl;        /* NULL: the CPU draws */
static guint read_back_from; /* OpenGL's framebuffer whose pixels are copied; 0: none */

static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
  interrupted = 1;
}

static gboolean fail(const gchar *what) {
  fprintf(stderr, "dmabufsrc: %s: %s\n", what, g_strerror(errno));
  return FALSE;
}

/* Exports a buffer object of the device and closes its handle; the dma-buf holds the memory. */
static gboolean export_handle(int device, guint32 handle, DmaBuf *buffer) {
  struct drm_gem_close request = {.handle = handle};
  gboolean done = drmPrimeHandleToFD(device, handle, DRM_CLOEXEC | DRM_RDWR, &buffer->fd) == 0 ||
                  fail("PRIME_HANDLE_TO_FD");
  drmIoctl(device, DRM_IOCTL_GEM_CLOSE, &request);
  return done;
}

static gboolean create_dumb(int device, guint width, guint height, DmaBuf *buffer) {
  guint64 size;
  guint32 handle;
  if (drmModeCreateDumbBuffer(device, width, height, 32, 0, &handle, &buffer->stride, &size))
    return fail("CREATE_DUMB");
  buffer->size = size;
  return export_handle(device, handle, buffer);
}

static gboolean create_resource(int device, guint width, guint height, DmaBuf *buffer) {
  struct drm_virtgpu_resource_create create = {.target = TARGET_2D,
                                               .format = VSOCKENC_VIRTIO_BGRx,
                                               .bind = BIND_RENDER_TARGET,
                                               .width = width,
                                               .height = height,
                                               .depth = 1,
                                               .array_size = 1,
                                               .size = width * height * 4,
                                               .stride = width * 4};
  if (drmIoctl(device, DRM_IOCTL_VIRTGPU_RESOURCE_CREATE, &create)) return fail("RESOURCE_CREATE");
  return export_handle(device, create.bo_handle, buffer);
}

static gboolean create_gbm(int device, guint width, guint height, DmaBuf *buffer) {
  buffer->fd = gl_pattern_create(gl, buffer->fourcc, width, height, &buffer->stride);
  return buffer->fd >= 0;
}

static gboolean create_udmabuf(int device, guint width, guint height, DmaBuf *buffer) {
  gsize page = (gsize)sysconf(_SC_PAGESIZE);
  buffer->size = (buffer->size + page - 1) & ~(page - 1);
  int memory = memfd_create("dmabufsrc", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memory < 0 || ftruncate(memory, (off_t)buffer->size) != 0 ||
      fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
    return fail("memfd");
  struct udmabuf_create create = {
      .memfd = (guint32)memory, .flags = UDMABUF_FLAGS_CLOEXEC, .size = buffer->size};
  buffer->fd = ioctl(device, UDMABUF_CREATE, &create);
  if (buffer->fd < 0) fail("UDMABUF_CREATE");
  close(memory);
  return buffer->fd >= 0;
}

static gboolean create_system(int device, guint width, guint height, DmaBuf *buffer) {
  return TRUE; /* anonymous memory, mapped by its caller */
}

/* `create` finds size and stride of a buffer without padding, and changes them where it has any. */
static const struct {
  const gchar *name, *path;
  gint first_node; /* number after `path` of the first device; -1: none */
  gboolean (*create)(int device, guint width, guint height, DmaBuf *buffer);
} ALLOCATORS[] = {{"dumb", "/dev/dri/card", 0, create_dumb},
                  {"resource", "/dev/dri/renderD", 128, create_resource},
                  {"gbm", "/dev/dri/renderD", 128, create_gbm},
                  {"udmabuf", "/dev/udmabuf", -1, create_udmabuf},
                  {"system", "/dev/null", -1, create_system}},
  *allocator;

/* The first virtio-gpu whose node has this name, a number from `first` on after it. -1: none,
 * printed. */
static int open_gpu(const gchar *name, gint first) {
  for (gint i = 0; i < NODES; i++) {
    g_autofree gchar *path = g_strdup_printf("%s%d", name, first + i);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    drmVersionPtr version = fd >= 0 ? drmGetVersion(fd) : NULL;
    gboolean found = version && g_strcmp0(version->name, "virtio_gpu") == 0;
    drmFreeVersion(version);
    if (found) return fd;
    if (fd >= 0) close(fd);
  }
  fprintf(stderr, "dmabufsrc: cannot open a virtio-gpu\n");
  return -1;
}

/* -1: failed, printed. */
static int open_device(void) {
  if (allocator->first_node >= 0) return open_gpu(allocator->path, allocator->first_node);
  int fd = open(allocator->path, O_RDWR | O_CLOEXEC);
  if (fd < 0) fail(allocator->path);
  return fd;
}

static gboolean parse_options(int *argc, char ***argv) {
  const GOptionEntry entries[] = {
      {"allocator", 0, 0, G_OPTION_ARG_STRING, &options.allocator,
       "dumb, resource, gbm, udmabuf or system", "NAME"},
      {"planes", 0, 0, G_OPTION_ARG_STRING, &options.planes, "together or separate", "HOW"},
      {"frames", 0, 0, G_OPTION_ARG_INT, &options.frames, "how many (300)", "N"},
      {"width", 0, 0, G_OPTION_ARG_INT, &options.width, "pixels (1280)", "N"},
      {"height", 0, 0, G_OPTION_ARG_INT, &options.height, "pixels (720)", "N"},
      {"format", 0, 0, G_OPTION_ARG_STRING, &options.format, "of proto/formats.ts (BGRx)", "NAME"},
      {"buffers", 0, 0, G_OPTION_ARG_INT, &options.buffers, "in rotation (8)", "N"},
      {"fps", 0, 0, G_OPTION_ARG_INT, &options.fps, "frames a second in the caps (30)", "N"},
      {"gl", 0, 0, G_OPTION_ARG_NONE, &options.gl, "OpenGL draws, instead of the CPU", NULL},
      {"passes", 0, 0, G_OPTION_ARG_INT, &options.passes,
       "how often OpenGL draws each frame, at last with the right number (1)", "N"},
      {"still", 0, 0, G_OPTION_ARG_NONE, &options.still, "draw each buffer only once", NULL},
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
  for (guint i = 0; i < G_N_ELEMENTS(ALLOCATORS); i++)
    if (g_str_equal(options.allocator, ALLOCATORS[i].name)) allocator = &ALLOCATORS[i];
  gboolean drawable = g_strcmp0(options.allocator, options.gl ? "udmabuf" : "gbm");
  if (!allocator || !drawable || options.passes < 1 || options.buffers < 1 ||
      options.buffers > MAX_BUFFERS || options.fps < 1 || options.frames < 1 ||
      options.width < 16 || options.height < 16 ||
      gst_video_format_from_string(options.format) == GST_VIDEO_FORMAT_UNKNOWN ||
      (g_strcmp0(options.planes, "together") && g_strcmp0(options.planes, "separate"))) {
    fprintf(stderr, "dmabufsrc: an option is out of range; see --help\n");
    return FALSE;
  }
  return TRUE;
}

static guint32 drm_format(const gchar *name) {
#define DRM(format, code, ...) \
  if (g_str_equal(name, #format)) return code;
  VSOCKENC_PIXEL_FORMATS(DRM)
#undef DRM
  return 0;
}

/* A dma-buf for OpenGL to draw one plane of. */
static gboolean create_rendered(Slot *slot, int device, guint plane) {
  const guint32 luma_chroma[] = {DRM_FORMAT_R8, DRM_FORMAT_GR88};
  g_autoptr(GstAllocator) memories = gst_dmabuf_allocator_new();
  const GstVideoInfo *info = &slot->source->info;
  guint width = (guint)GST_VIDEO_INFO_COMP_WIDTH(info, plane);
  guint height = (guint)GST_VIDEO_INFO_COMP_HEIGHT(info, plane);
  DmaBuf *dmabuf = &slot->dmabufs[slot->n_dmabufs];
  *dmabuf = (DmaBuf){.fd = -1, .stride = width * 4};
  dmabuf->fourcc =
      GST_VIDEO_INFO_IS_RGB(info) ? drm_format(options.format) : luma_chroma[MIN(plane, 1)];
  if (!allocator->create(device, width, height, dmabuf)) return FALSE;
  dmabuf->size = (gsize)dmabuf->stride * height;
  dmabuf->framebuffer =
      gl_pattern_import(gl, dmabuf->fd, dmabuf->fourcc, width, height, dmabuf->stride);
  slot->memories[slot->n_dmabufs++] = gst_dmabuf_allocator_alloc_with_flags(
      memories, dmabuf->fd, dmabuf->size, GST_FD_MEMORY_FLAG_DONT_CLOSE);
  return dmabuf->framebuffer != 0;
}

/* A dma-buf of at least `size` bytes: as wide as the picture, in 32-bit pixels, and as high as that
 * takes. */
static gboolean create_dmabuf(Slot *slot, int device, gsize size) {
  g_autoptr(GstAllocator) memories = gst_dmabuf_allocator_new();
  DmaBuf *dmabuf = &slot->dmabufs[slot->n_dmabufs];
  guint width = (guint)options.width, height = (guint)((size + width * 4 - 1) / (width * 4));
  *dmabuf = (DmaBuf){.fd = -1, .size = (gsize)width * 4 * height, .stride = width * 4};
  if (!allocator->create(device, width, height, dmabuf)) return FALSE;
  int kind = MAP_SHARED | (dmabuf->fd < 0 ? MAP_ANONYMOUS : 0);
  dmabuf->pixels = mmap(NULL, dmabuf->size, PROT_READ | PROT_WRITE, kind, dmabuf->fd, 0);
  if (dmabuf->pixels == MAP_FAILED) return fail("mmap of a dma-buf");
  slot->memories[slot->n_dmabufs++] =
      dmabuf->fd < 0
          ? gst_memory_new_wrapped(0, dmabuf->pixels, dmabuf->size, 0, dmabuf->size, NULL, NULL)
          : gst_dmabuf_allocator_alloc_with_flags(memories, dmabuf->fd, dmabuf->size,
                                                  GST_FD_MEMORY_FLAG_DONT_CLOSE);
  return TRUE;
}

static gboolean create_slot(Slot *slot, int device) {
  const GstVideoInfo *info = &slot->source->info;
  gboolean together = g_str_equal(options.planes, "together");
  gsize begin = 0;
  for (guint i = 0; i < GST_VIDEO_INFO_N_PLANES(info); i++) {
    gsize size = (gsize)GST_VIDEO_INFO_COMP_HEIGHT(info, i) * (gsize)info->stride[i];
    if (gl && !read_back_from) {
      if (!create_rendered(slot, device, i)) return FALSE;
    } else if ((i == 0 || !together) && !create_dmabuf(slot, device, together ? info->size : size))
      return FALSE;
    const DmaBuf *dmabuf = &slot->dmabufs[slot->n_dmabufs - 1];
    if (dmabuf->pixels) slot->planes[i] = dmabuf->pixels + (together ? info->offset[i] : 0);
    slot->offsets[i] = together && dmabuf->pixels ? info->offset[i] : begin;
    begin += dmabuf->size;
  }
  return TRUE;
}

/* FALSE: failed, printed. The kernel chooses the stride of a dumb buffer. */
static gboolean create_slots(Source *source) {
  int device = open_device();
  if (device < 0) return FALSE;
  for (gint i = 0; i < options.buffers; i++) {
    Slot *slot = &source->slots[i];
    slot->source = source;
    slot->holds = -1;
    if (!create_slot(slot, device)) return FALSE;
    for (guint plane = 0; plane < slot->n_dmabufs; plane++)
      if (gl || GST_VIDEO_INFO_IS_RGB(&source->info))
        source->info.stride[plane] = (gint)slot->dmabufs[plane].stride;
  }
  close(device);
  return TRUE;
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

static GstBuffer *wrap(Slot *slot, guint number) {
  GstBuffer *buffer = gst_buffer_new();
  GstVideoInfo *info = &slot->source->info;

  for (guint i = 0; i < slot->n_dmabufs; i++)
    gst_buffer_append_memory(buffer, gst_memory_ref(slot->memories[i]));
  gst_buffer_add_video_meta_full(buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT(info),
                                 (guint)options.width, (guint)options.height,
                                 GST_VIDEO_INFO_N_PLANES(info), slot->offsets, info->stride);
  GST_BUFFER_PTS(buffer) = gst_util_uint64_scale_int(GST_SECOND, (gint)number, options.fps);
  GST_BUFFER_DURATION(buffer) = GST_SECOND / (guint)options.fps;
  gst_mini_object_weak_ref(GST_MINI_OBJECT_CAST(buffer), buffer_returned, slot);
  return buffer;
}

/* FALSE: failed, printed. */
static gboolean create_read_back(void) {
  guint width = (guint)options.width, height = (guint)options.height, stride;
  int dmabuf = gl_pattern_create(gl, DRM_FORMAT_XRGB8888, width, height, &stride);
  if (dmabuf >= 0)
    read_back_from = gl_pattern_import(gl, dmabuf, DRM_FORMAT_XRGB8888, width, height, stride);
  return read_back_from != 0;
}

/* FALSE: the pattern cannot be drawn in this format, printed. */
static gboolean create_pattern(Source *source) {
  guint width = (guint)options.width, height = (guint)options.height;
  if (options.gl) {
    int render_node = open_gpu("/dev/dri/renderD", 128);
    if (render_node >= 0) gl = gl_pattern_new(render_node, width, height);
    return gl && (allocator->create != create_system || create_read_back());
  }
  gboolean yuv = GST_VIDEO_INFO_IS_YUV(&source->info);
  source->pattern = pattern_new(width, height, yuv ? "BGRx" : options.format);
  source->picture_holds = -1;
  if (yuv) {
    GstVideoInfo *rgb = &source->picture.info;
    gst_video_info_set_format(rgb, GST_VIDEO_FORMAT_BGRx, width, height);
    source->picture.data[0] = g_malloc(rgb->size);
    source->converter = gst_video_converter_new(rgb, &source->info, NULL);
  }
  if (!source->pattern) fprintf(stderr, "dmabufsrc: no pattern in format %s\n", options.format);
  return source->pattern != NULL;
}

static void sync_cpu(const Slot *slot, guint64 flag) {
  struct dma_buf_sync sync = {.flags = flag | DMA_BUF_SYNC_WRITE};
  for (guint i = 0; i < slot->n_dmabufs; i++)
    while (ioctl(slot->dmabufs[i].fd, DMA_BUF_IOCTL_SYNC, &sync) != 0 && errno == EINTR) continue;
}

static void draw_by_gl(const Slot *slot, guint number) {
  if (read_back_from) {
    gl_pattern_draw(gl, read_back_from, GL_PATTERN_RGB, number, (guint)options.passes);
    gl_pattern_read(gl, read_back_from, slot->planes[0]);
    return;
  }
  for (guint i = 0; i < slot->n_dmabufs; i++) {
    GlPatternPlane plane = slot->n_dmabufs == 1 ? GL_PATTERN_RGB
                           : i == 0             ? GL_PATTERN_LUMA
                                                : GL_PATTERN_CHROMA;
    gl_pattern_draw(gl, slot->dmabufs[i].framebuffer, plane, number, (guint)options.passes);
  }
}

static void draw_by_cpu(Source *source, Slot *slot, guint number) {
  sync_cpu(slot, DMA_BUF_SYNC_START);
  if (source->converter) {
    GstVideoFrame target = {.info = source->info};
    for (guint i = 0; i < MAX_PLANES; i++) target.data[i] = slot->planes[i];
    pattern_draw(source->pattern, source->picture.data[0], (gsize)options.width * 4, number,
                 source->picture_holds);
    source->picture_holds = number;
    gst_video_converter_frame(source->converter, &source->picture, &target);
  } else {
    pattern_draw(source->pattern, slot->planes[0], (gsize)source->info.stride[0], number,
                 slot->holds);
  }
  sync_cpu(slot, DMA_BUF_SYNC_END);
}

/* Draws frame `number` into the slot. */
static void draw(Source *source, Slot *slot, guint number) {
  if (options.still && slot->holds >= 0) return;
  gint64 before = g_get_monotonic_time();
  if (gl)
    draw_by_gl(slot, number);
  else
    draw_by_cpu(source, slot, number);
  slot->holds = number;
  source->drawing_us += g_get_monotonic_time() - before;
}

static void push_frames(Source *source, GstAppSrc *appsrc) {
  gint64 begin = g_get_monotonic_time();
  for (gint i = 0; i < options.frames && !interrupted; i++) {
    Slot *slot = &source->slots[i % options.buffers];
    gint64 due = begin + i * G_USEC_PER_SEC / options.fps;
    if (!wait_returned(source, slot)) break;
    if (options.live && due > g_get_monotonic_time())
      g_usleep((gulong)(due - g_get_monotonic_time()));
    draw(source, slot, (guint)i);
    slot->out = TRUE;
    if (gst_app_src_push_buffer(appsrc, wrap(slot, (guint)i)) != GST_FLOW_OK) break;
    if (source->pushed++ == 0) {
      g_print("the first frame is in the pipeline\n");
      fflush(stdout);
    }
  }
  gst_app_src_end_of_stream(appsrc);
}

/* Prints the bus's messages until EOS or an error. */
static gpointer watch_bus(gpointer data) {
  Source *source = data;
  g_autoptr(GstBus) bus = gst_element_get_bus(source->pipeline);
  for (gboolean more = TRUE; more;) {
    g_autoptr(GError) error = NULL;
    g_autoptr(GstMessage) message = bus_pop(bus, GST_CLOCK_TIME_NONE, &error);
    const gchar *type = GST_MESSAGE_TYPE_NAME(message);
    more = GST_MESSAGE_TYPE(message) & (GST_MESSAGE_WARNING | GST_MESSAGE_INFO);
    if (error) fprintf(stderr, "dmabufsrc: %s: %s\n", type, error->message);
    source->failed |= GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR;
    source->warnings += GST_MESSAGE_TYPE(message) == GST_MESSAGE_WARNING;
  }
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&source->lock);
  source->stop = TRUE;
  g_cond_broadcast(&source->returned);
  return NULL;
}

static GstCaps *source_caps(void) {
  guint32 drm = drm_format(options.format); /* its bytes are its name */
  g_autofree gchar *format = options.drm_caps
                                 ? g_strdup_printf("DMA_DRM,drm-format=%.4s", (const gchar *)&drm)
                                 : g_strdup(options.format);
  g_autofree gchar *text =
      g_strdup_printf("video/x-raw%s,format=%s,width=%d,height=%d,framerate=%d/1",
                      allocator->create == create_system ? "" : "(memory:DMABuf)", format,
                      options.width, options.height, options.fps);
  return gst_caps_from_string(text);
}

static gboolean write_stats(const Source *source, gint64 elapsed_us) {
  g_autoptr(GString) json = g_string_new("{");
  g_autoptr(GError) error = NULL;
  g_string_append_printf(json,
                         "\"frames\":%d,\"elapsed-us\":%" G_GINT64_FORMAT
                         ",\"drawing-us\":%" G_GINT64_FORMAT ",\"warnings\":%u",
                         source->pushed, elapsed_us, source->drawing_us, source->warnings);
  json_append_statistics(json, source->pipeline);
  g_string_append(json, "}\n");
  if (g_file_set_contents(options.stats_json, json->str, -1, &error)) return TRUE;
  fprintf(stderr, "dmabufsrc: %s\n", error->message);
  return FALSE;
}

static gboolean run(Source *source) {
  g_autofree gchar *text = g_strdup_printf("appsrc name=dmabufsrc ! %s", options.pipeline);
  g_autoptr(GError) error = NULL;
  source->pipeline = gst_parse_launch(text, &error);
  if (error) {
    fprintf(stderr, "dmabufsrc: %s\n", error->message);
    return FALSE;
  }
  g_autoptr(GstElement) appsrc = gst_bin_get_by_name(GST_BIN(source->pipeline), "dmabufsrc");
  g_autoptr(GstCaps) caps = source_caps();

  g_object_set(appsrc, "caps", caps, "format", GST_FORMAT_TIME, "is-live", options.live, NULL);
  gint64 begin = g_get_monotonic_time();
  GThread *watching = g_thread_new("bus", watch_bus, source);
  if (gst_element_set_state(source->pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE)
    push_frames(source, GST_APP_SRC(appsrc));
  g_thread_join(watching);
  gint64 elapsed = g_get_monotonic_time() - begin;
  gboolean written = !options.stats_json || write_stats(source, elapsed);
  gst_element_set_state(source->pipeline, GST_STATE_NULL);
  return !source->failed && written;
}

int main(int argc, char **argv) {
  static Source source;
  if (!parse_options(&argc, &argv)) return 2;
  gst_init(&argc, &argv);
  gst_video_info_set_format(&source.info, gst_video_format_from_string(options.format),
                            (guint)options.width, (guint)options.height);
  signal(SIGINT, interrupt);
  return create_pattern(&source) && create_slots(&source) && run(&source) ? 0 : 1;
}
