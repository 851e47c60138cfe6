/*
 * SECTION:element-virtgpusrc
 *
 * Captures the screen of a virtio-gpu. The buffers pushed are the framebuffers themselves, so
 * nothing is copied, and `vsockenc` has them encoded in place. It works with every program that
 * draws the screen: a Wayland compositor, an X server or the kernel's console.
 */
#include "gstvirtgpusrc.h"

#include "gstvirtgpusrc-private.h"
#include "vsockenc-formats.h"

/* Caps with the framerate 0/1 set no rate. */
#define DEFAULT_RATE 30
#define VARIABLE_RATE 60

#define RATES "framerate = (fraction) [ 0/1, MAX ]"
#define SIZES "width = (int) [ 1, MAX ], height = (int) [ 1, MAX ], " RATES
#define DMABUF_FEATURE "(" GST_CAPS_FEATURE_MEMORY_DMABUF ")"

GST_DEBUG_CATEGORY(gst_virtgpu_src_debug);

G_DEFINE_TYPE_WITH_CODE(GstVirtgpuSrc, gst_virtgpu_src, GST_TYPE_PUSH_SRC,
                        GST_DEBUG_CATEGORY_INIT(gst_virtgpu_src_debug, VIRTGPUSRC_FACTORY, 0,
                                                VIRTGPUSRC_LONG_NAME))

static void set_unlocked(GstVirtgpuSrc *self, gboolean unlocked) {
  GST_OBJECT_LOCK(self);
  self->unlocked = unlocked;
  g_cond_broadcast(&self->wake);
  GST_OBJECT_UNLOCK(self);
}

static gboolean gst_virtgpu_src_unlock(GstBaseSrc *base) {
  set_unlocked(GST_VIRTGPU_SRC(base), TRUE);
  return TRUE;
}

static gboolean gst_virtgpu_src_unlock_stop(GstBaseSrc *base) {
  set_unlocked(GST_VIRTGPU_SRC(base), FALSE);
  return TRUE;
}

/* Copies with the cursor are DmaBufs of the virtio-gpu, too. */
static gboolean open_allocator(GstVirtgpuSrc *self) {
  g_autoptr(GError) error = NULL;
  if (self->kms->opaque) {
    GST_ELEMENT_ERROR(self, RESOURCE, SETTINGS,
                      ("The cursor cannot be drawn into frames of a virtio-gpu with 3D: the CPU "
                       "sees nothing of them. Set cursor=false."),
                      (NULL));
    return FALSE;
  }
  g_autoptr(VencGpu) gpu = venc_gpu_new(
      G_TYPE_INSTANCE_GET_CLASS(self, GST_TYPE_VIRTGPU_SRC, GstVirtgpuSrcClass)->gpu_ops, &error);
  if (!gpu) {
    GST_ELEMENT_ERROR(self, RESOURCE, OPEN_READ_WRITE,
                      ("No memory for frames with the cursor: %s.", error->message), (NULL));
    return FALSE;
  }
  self->allocator = venc_allocator_new(gpu);
  return TRUE;
}

static gboolean gst_virtgpu_src_stop(GstBaseSrc *base) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(base);
  gst_clear_buffer(&self->last_frame);
  g_clear_pointer(&self->kms, venc_kms_free);
  gst_clear_object(&self->allocator);
  GST_OBJECT_LOCK(self);
  self->picture = (GstVirtgpuSrcPicture){0};
  GST_OBJECT_UNLOCK(self);
  return TRUE;
}

static gboolean gst_virtgpu_src_start(GstBaseSrc *base) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(base);
  GstVirtgpuSrcSettings settings;
  g_autoptr(GError) error = NULL;
  VencKmsView view;
  gboolean changed;

  GST_OBJECT_LOCK(self);
  settings = self->settings;
  venc_settings_own_strings(virtgpusrc_properties, &settings);
  GST_OBJECT_UNLOCK(self);
  self->cursor = settings.cursor;
  self->next = self->pushed = self->drawn = 0;
  self->warned_off = FALSE;
  self->kms = venc_kms_new(
      G_TYPE_INSTANCE_GET_CLASS(self, GST_TYPE_VIRTGPU_SRC, GstVirtgpuSrcClass)->kms_ops,
      settings.device, settings.connector, &error);
  venc_settings_clear(virtgpusrc_properties, &settings);
  if (!self->kms) {
    gst_virtgpu_src_post_error(self, error);
    return FALSE;
  }
  /* Missing rights are an error here, before the pipeline plays. */
  if ((!self->cursor || open_allocator(self)) && gst_virtgpu_src_look(self, &view) &&
      (!view.screen || gst_virtgpu_src_set_picture(self, &view, &changed))) {
    GST_INFO_OBJECT(self, "%s of %s", self->kms->output.connector, self->kms->node);
    return TRUE;
  }
  gst_virtgpu_src_stop(base);
  return FALSE;
}

static GstCaps *template_caps(void) {
  return gst_caps_from_string(
#if GST_CHECK_VERSION(1, 24, 0)
      "video/x-raw" DMABUF_FEATURE ", format = (string) DMA_DRM, " SIZES
      "; "
#endif
      "video/x-raw" DMABUF_FEATURE ", format = (string) " VSOCKENC_PACKED_FORMATS ", " SIZES
      "; "
      "video/x-raw, format = (string) " VSOCKENC_PACKED_FORMATS ", " SIZES);
}

static void append(GstCaps *caps, const GstVirtgpuSrcPicture *picture, const gchar *format,
                   const gchar *drm_format, gboolean dmabuf) {
  GstStructure *structure = gst_structure_new(
      "video/x-raw", "format", G_TYPE_STRING, format, "width", G_TYPE_INT, (gint)picture->width,
      "height", G_TYPE_INT, (gint)picture->height, "framerate", GST_TYPE_FRACTION_RANGE, 0, 1,
      G_MAXINT, 1, "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1, NULL);
  if (drm_format) gst_structure_set(structure, "drm-format", G_TYPE_STRING, drm_format, NULL);
  GstCapsFeatures *features =
      dmabuf ? gst_caps_features_new_single(GST_CAPS_FEATURE_MEMORY_DMABUF) : NULL;
  gst_caps_append_structure_full(caps, structure, features);
}

/* The caps a picture can be pushed with, best first. `readable`: the CPU can copy it. */
static GstCaps *make_caps(const GstVirtgpuSrcPicture *picture, gboolean readable) {
  GstCaps *caps = gst_caps_new_empty();
  const gchar *format = gst_video_format_to_string(picture->format);
#if GST_CHECK_VERSION(1, 24, 0)
  g_autofree gchar *drm = gst_video_dma_drm_fourcc_to_string(picture->fourcc, picture->modifier);
  append(caps, picture, "DMA_DRM", drm, TRUE);
#endif
  /* The other kinds of caps cannot express a modifier. */
  if (picture->modifier != 0) return caps;
  append(caps, picture, format, NULL, TRUE);
  if (readable) append(caps, picture, format, NULL, FALSE);
  return caps;
}

/* Parses caps that were chosen among those above. */
static gboolean parse_caps(GstCaps *caps, const GstVirtgpuSrcPicture *picture, GstVideoInfo *info,
                           gboolean *dmabuf) {
  const GstStructure *structure = gst_caps_get_structure(caps, 0);
  gint fps_n = 0, fps_d = 1, width = 0, height = 0;
  if (!gst_structure_get_int(structure, "width", &width) ||
      !gst_structure_get_int(structure, "height", &height) || width != (gint)picture->width ||
      height != (gint)picture->height)
    return FALSE;
  gst_structure_get_fraction(structure, "framerate", &fps_n, &fps_d);
  gst_video_info_set_format(info, picture->format, picture->width, picture->height);
  info->fps_n = fps_n;
  info->fps_d = fps_d;
  *dmabuf =
      gst_caps_features_contains(gst_caps_get_features(caps, 0), GST_CAPS_FEATURE_MEMORY_DMABUF);
  return TRUE;
}

static GstCaps *gst_virtgpu_src_get_caps(GstBaseSrc *base, GstCaps *filter) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(base);
  GST_OBJECT_LOCK(self);
  GstVirtgpuSrcPicture picture = self->picture;
  GST_OBJECT_UNLOCK(self);
  GstCaps *caps = picture.format == GST_VIDEO_FORMAT_UNKNOWN
                      ? gst_pad_get_pad_template_caps(GST_BASE_SRC_PAD(base))
                      : make_caps(&picture, !self->kms->opaque);
  if (!filter) return caps;
  GstCaps *both = gst_caps_intersect_full(filter, caps, GST_CAPS_INTERSECT_FIRST);
  gst_caps_unref(caps);
  return both;
}

static GstCaps *gst_virtgpu_src_fixate(GstBaseSrc *base, GstCaps *caps) {
  caps = gst_caps_make_writable(gst_caps_truncate(caps));
  gst_structure_fixate_field_nearest_fraction(gst_caps_get_structure(caps, 0), "framerate",
                                              DEFAULT_RATE, 1);
  return GST_BASE_SRC_CLASS(gst_virtgpu_src_parent_class)->fixate(base, caps);
}

/* Caps need a picture; so does the first negotiation, which may come before there is one. */
static gboolean gst_virtgpu_src_negotiate(GstBaseSrc *base) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(base);
  while (self->picture.format == GST_VIDEO_FORMAT_UNKNOWN) {
    VencKmsView view;
    gboolean changed;
    if (!gst_virtgpu_src_look(self, &view)) return FALSE;
    if (view.screen) {
      if (!gst_virtgpu_src_set_picture(self, &view, &changed)) return FALSE;
      break;
    }
    gst_virtgpu_src_warn_off(self);
    if (!gst_virtgpu_src_wait_until(self, g_get_monotonic_time() + VIRTGPUSRC_OFF_LOOK_US))
      return FALSE;
  }
  return GST_BASE_SRC_CLASS(gst_virtgpu_src_parent_class)->negotiate(base);
}

static gboolean gst_virtgpu_src_set_caps(GstBaseSrc *base, GstCaps *caps) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(base);
  if (!parse_caps(caps, &self->picture, &self->info, &self->dmabuf)) return FALSE;
  gint n = self->info.fps_n, d = self->info.fps_d;
  if (n <= 0) n = VARIABLE_RATE, d = 1;
  self->interval = (gint64)gst_util_uint64_scale_int(G_USEC_PER_SEC, d, n);
  return TRUE;
}

/* Copies are in downstream's memory, or in DmaBufs if the caps ask for them. */
static gboolean gst_virtgpu_src_decide_allocation(GstBaseSrc *base, GstQuery *query) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(base);
  g_autoptr(GstBufferPool) pool = NULL;
  GstCaps *caps = gst_video_info_to_caps(&self->info);
  guint size = (guint)self->info.size, min = 0, max = 0;
  gboolean offered = gst_query_get_n_allocation_pools(query) > 0;

  if (offered) gst_query_parse_nth_allocation_pool(query, 0, &pool, &size, &min, &max);
  size = MAX(size, (guint)self->info.size);
  if (self->dmabuf || !pool) {
    gst_clear_object(&pool);
    pool = gst_video_buffer_pool_new();
  }
  GstAllocator *allocator = NULL;
  GstAllocationParams params;
  gst_allocation_params_init(&params);
  if (self->dmabuf)
    allocator = self->allocator ? gst_object_ref(self->allocator) : NULL;
  else if (gst_query_get_n_allocation_params(query) > 0)
    gst_query_parse_nth_allocation_param(query, 0, &allocator, &params);
  GstStructure *config = gst_buffer_pool_get_config(pool);
  gst_buffer_pool_config_set_params(config, caps, size, min, max);
  gst_buffer_pool_config_set_allocator(config, allocator, &params);
  if (gst_query_find_allocation_meta(query, GST_VIDEO_META_API_TYPE, NULL))
    gst_buffer_pool_config_add_option(config, GST_BUFFER_POOL_OPTION_VIDEO_META);
  gboolean done = gst_buffer_pool_set_config(pool, config);
  if (allocator) gst_object_unref(allocator);
  gst_caps_unref(caps);
  if (offered)
    gst_query_set_nth_allocation_pool(query, 0, pool, size, min, max);
  else
    gst_query_add_allocation_pool(query, pool, size, min, max);
  return done;
}

static gboolean gst_virtgpu_src_query(GstBaseSrc *base, GstQuery *query) {
  if (GST_QUERY_TYPE(query) != GST_QUERY_LATENCY)
    return GST_BASE_SRC_CLASS(gst_virtgpu_src_parent_class)->query(base, query);
  /* A frame is stamped when it is looked at, and pushed at once. It can wait for any time. */
  gst_query_set_latency(query, TRUE, 0, GST_CLOCK_TIME_NONE);
  return TRUE;
}

static void gst_virtgpu_src_set_property(GObject *object, guint id, const GValue *value,
                                         GParamSpec *spec) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(object);
  GST_OBJECT_LOCK(self);
  gboolean known = venc_settings_set(virtgpusrc_properties, &self->settings, id, value);
  GST_OBJECT_UNLOCK(self);
  if (!known) G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

static void gst_virtgpu_src_get_property(GObject *object, guint id, GValue *value,
                                         GParamSpec *spec) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(object);
  GST_OBJECT_LOCK(self);
  gboolean known = venc_settings_get(virtgpusrc_properties, &self->settings, id, value);
  GST_OBJECT_UNLOCK(self);
  if (!known) G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
}

static void gst_virtgpu_src_finalize(GObject *object) {
  GstVirtgpuSrc *self = GST_VIRTGPU_SRC(object);
  venc_settings_clear(virtgpusrc_properties, &self->settings);
  g_cond_clear(&self->wake);
  G_OBJECT_CLASS(gst_virtgpu_src_parent_class)->finalize(object);
}

static void gst_virtgpu_src_class_init(GstVirtgpuSrcClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS(klass);
  GstBaseSrcClass *base_class = GST_BASE_SRC_CLASS(klass);
  g_autoptr(GstCaps) caps = template_caps();

  klass->kms_ops = &venc_kms_kernel;
  klass->gpu_ops = &venc_gpu_kernel;
  object_class->set_property = gst_virtgpu_src_set_property;
  object_class->get_property = gst_virtgpu_src_get_property;
  object_class->finalize = gst_virtgpu_src_finalize;
  venc_properties_install(object_class, virtgpusrc_properties);

  gst_element_class_set_static_metadata(element_class, VIRTGPUSRC_LONG_NAME, VIRTGPUSRC_KLASS,
                                        VIRTGPUSRC_DESCRIPTION, VIRTGPUSRC_AUTHOR);
  gst_element_class_add_pad_template(
      element_class, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps));

  base_class->start = GST_DEBUG_FUNCPTR(gst_virtgpu_src_start);
  base_class->stop = GST_DEBUG_FUNCPTR(gst_virtgpu_src_stop);
  base_class->unlock = GST_DEBUG_FUNCPTR(gst_virtgpu_src_unlock);
  base_class->unlock_stop = GST_DEBUG_FUNCPTR(gst_virtgpu_src_unlock_stop);
  base_class->get_caps = GST_DEBUG_FUNCPTR(gst_virtgpu_src_get_caps);
  base_class->fixate = GST_DEBUG_FUNCPTR(gst_virtgpu_src_fixate);
  base_class->negotiate = GST_DEBUG_FUNCPTR(gst_virtgpu_src_negotiate);
  base_class->set_caps = GST_DEBUG_FUNCPTR(gst_virtgpu_src_set_caps);
  base_class->decide_allocation = GST_DEBUG_FUNCPTR(gst_virtgpu_src_decide_allocation);
  base_class->query = GST_DEBUG_FUNCPTR(gst_virtgpu_src_query);
  GST_PUSH_SRC_CLASS(klass)->create = GST_DEBUG_FUNCPTR(gst_virtgpu_src_create);
}

static void gst_virtgpu_src_init(GstVirtgpuSrc *self) {
  venc_settings_init(virtgpusrc_properties, &self->settings);
  g_cond_init(&self->wake);
  gst_base_src_set_live(GST_BASE_SRC(self), TRUE);
  gst_base_src_set_format(GST_BASE_SRC(self), GST_FORMAT_TIME);
}
