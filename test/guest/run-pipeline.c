/*
 * Runs a pipeline to its end as an application does, and prints what came of it as JSON:
 *
 *     run-pipeline --get encoder.source 'videotestsrc num-buffers=9 ! vsockenc name=encoder ! …'
 *
 * An appsink named "videosink" is emptied from its signal new-sample, as desktop-bridge does. The
 * status is 0 at the end of the stream, 1 after an error or when the time is over.
 */
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <stdio.h>

#define SINK_NAME "videosink"

typedef struct {
  GstElement *pipeline;
  GMutex lock;
  GCond arrived;
  guint64 samples, key_frames, bytes;
  GstCaps *caps; /* of the last sample */
  guint64 let_through;
  gboolean stopping;
} Run;

/* Text as a JSON string; NULL as null. */
static void append_string(GString *json, const gchar *text) {
  if (!text) {
    g_string_append(json, "null");
    return;
  }
  g_string_append_c(json, '"');
  for (const guchar *c = (const guchar *)text; *c; c++) {
    if (*c == '"' || *c == '\\')
      g_string_append_printf(json, "\\%c", *c);
    else if (*c < 0x20)
      g_string_append_printf(json, "\\u%04x", *c);
    else
      g_string_append_c(json, (gchar)*c);
  }
  g_string_append_c(json, '"');
}

/* Numbers and booleans as such, everything else as GStreamer's text for it. */
static void append_value(GString *json, const GValue *value) {
  if (G_VALUE_HOLDS_BOOLEAN(value)) {
    g_string_append(json, g_value_get_boolean(value) ? "true" : "false");
  } else if (G_VALUE_HOLDS_STRING(value)) {
    append_string(json, g_value_get_string(value));
  } else if (G_VALUE_HOLDS_ENUM(value)) {
    GEnumClass *klass = g_type_class_ref(G_VALUE_TYPE(value));
    GEnumValue *entry = g_enum_get_value(klass, g_value_get_enum(value));
    append_string(json, entry ? entry->value_nick : NULL);
    g_type_class_unref(klass);
  } else {
    g_autofree gchar *text = gst_value_serialize(value);
    gboolean number = G_VALUE_HOLDS_INT(value) || G_VALUE_HOLDS_UINT(value) ||
                      G_VALUE_HOLDS_INT64(value) || G_VALUE_HOLDS_UINT64(value) ||
                      G_VALUE_HOLDS_DOUBLE(value);
    if (number)
      g_string_append(json, text);
    else
      append_string(json, text);
  }
}

static gboolean append_field(GQuark field, const GValue *value, gpointer data) {
  GString *json = data;
  if (json->str[json->len - 1] != '{') g_string_append_c(json, ',');
  append_string(json, g_quark_to_string(field));
  g_string_append_c(json, ':');
  append_value(json, value);
  return TRUE;
}

/* The property `stats` of the pipeline's vsockenc. */
static void append_statistics(GString *json, GstElement *pipeline) {
  g_autoptr(GstIterator) elements =
      gst_bin_iterate_all_by_element_factory_name(GST_BIN(pipeline), "vsockenc");
  g_auto(GValue) item = G_VALUE_INIT;
  if (gst_iterator_next(elements, &item) != GST_ITERATOR_OK) {
    g_string_append(json, "null");
    return;
  }
  g_autoptr(GstStructure) stats = NULL;
  g_object_get(g_value_get_object(&item), "stats", &stats, NULL);
  g_string_append_c(json, '{');
  gst_structure_foreach(stats, append_field, json);
  g_string_append_c(json, '}');
}

/* `names` are element.property; FALSE: there is no such thing. */
static gboolean append_properties(GString *json, GstElement *pipeline, gchar **names) {
  g_string_append_c(json, '{');
  for (guint i = 0; names && names[i]; i++) {
    g_auto(GStrv) parts = g_strsplit(names[i], ".", 2);
    g_auto(GValue) value = G_VALUE_INIT;
    g_autoptr(GstElement) element = gst_bin_get_by_name(GST_BIN(pipeline), parts[0]);
    if (!element || !parts[1] ||
        !g_object_class_find_property(G_OBJECT_GET_CLASS(element), parts[1])) {
      fprintf(stderr, "run-pipeline: there is no %s\n", names[i]);
      return FALSE;
    }
    g_object_get_property(G_OBJECT(element), parts[1], &value);
    if (i > 0) g_string_append_c(json, ',');
    append_string(json, names[i]);
    g_string_append_c(json, ':');
    append_value(json, &value);
  }
  g_string_append_c(json, '}');
  return TRUE;
}

static GstFlowReturn take_sample(GstAppSink *sink, gpointer data) {
  Run *run = data;
  g_autoptr(GstSample) sample = gst_app_sink_pull_sample(sink);
  if (!sample) return GST_FLOW_EOS;
  GstBuffer *buffer = gst_sample_get_buffer(sample);
  g_mutex_lock(&run->lock);
  run->samples++;
  if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT)) run->key_frames++;
  run->bytes += gst_buffer_get_size(buffer);
  gst_caps_replace(&run->caps, gst_sample_get_caps(sample));
  g_cond_broadcast(&run->arrived);
  g_mutex_unlock(&run->lock);
  return GST_FLOW_OK;
}

/* Holds a frame back until the samples of all before it have arrived. */
static GstPadProbeReturn wait_for_samples(GstPad *pad, GstPadProbeInfo *info, gpointer data) {
  Run *run = data;
  g_mutex_lock(&run->lock);
  while (run->samples < run->let_through && !run->stopping) g_cond_wait(&run->arrived, &run->lock);
  run->let_through++;
  g_mutex_unlock(&run->lock);
  return GST_PAD_PROBE_OK;
}

static gboolean connect_sink(Run *run) {
  g_autoptr(GstElement) sink = gst_bin_get_by_name(GST_BIN(run->pipeline), SINK_NAME);
  if (!sink) return FALSE;
  g_signal_connect(sink, "new-sample", G_CALLBACK(take_sample), run);
  return TRUE;
}

static gboolean hold_back(Run *run, const gchar *source) {
  g_autoptr(GstElement) element = gst_bin_get_by_name(GST_BIN(run->pipeline), source);
  g_autoptr(GstPad) pad = element ? gst_element_get_static_pad(element, "src") : NULL;
  if (!pad) return FALSE;
  gst_pad_add_probe(pad, GST_PAD_PROBE_TYPE_BUFFER, wait_for_samples, run, NULL);
  return TRUE;
}

static void append_message(GString *list, GstMessage *message, const GError *error) {
  if (list->len > 0) g_string_append_c(list, ',');
  g_string_append(list, "{\"source\":");
  append_string(list, GST_MESSAGE_SRC_NAME(message));
  g_string_append(list, ",\"text\":");
  append_string(list, error->message);
  g_string_append_c(list, '}');
}

typedef struct {
  GString *errors, *warnings, *infos;
} Messages;

/* Follows the bus to the end of the stream, an error, or `deadline`. */
static const gchar *follow(GstBus *bus, gint64 deadline, Messages *messages) {
  const GstMessageType types =
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_WARNING | GST_MESSAGE_INFO;
  for (;;) {
    gint64 left = MAX(deadline - g_get_monotonic_time(), 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(GstMessage) message =
        gst_bus_timed_pop_filtered(bus, (GstClockTime)left * GST_USECOND, types);
    if (!message) return "timeout";
    switch (GST_MESSAGE_TYPE(message)) {
      case GST_MESSAGE_EOS:
        return "eos";
      case GST_MESSAGE_ERROR:
        gst_message_parse_error(message, &error, NULL);
        append_message(messages->errors, message, error);
        return "error";
      case GST_MESSAGE_WARNING:
        gst_message_parse_warning(message, &error, NULL);
        append_message(messages->warnings, message, error);
        break;
      default:
        gst_message_parse_info(message, &error, NULL);
        append_message(messages->infos, message, error);
        break;
    }
  }
}

/* Everything down; who waits for samples goes on. */
static void stop(Run *run) {
  g_mutex_lock(&run->lock);
  run->stopping = TRUE;
  g_cond_broadcast(&run->arrived);
  g_mutex_unlock(&run->lock);
  gst_element_set_state(run->pipeline, GST_STATE_NULL);
}

static int run_to_end(Run *run, gint seconds, gchar **properties) {
  g_autoptr(GstBus) bus = gst_element_get_bus(run->pipeline);
  g_autoptr(GString) json = g_string_new("{");
  Messages messages = {g_string_new(NULL), g_string_new(NULL), g_string_new(NULL)};

  gst_element_set_state(run->pipeline, GST_STATE_PLAYING);
  const gchar *end = follow(bus, g_get_monotonic_time() + seconds * G_TIME_SPAN_SECOND, &messages);
  g_mutex_lock(&run->lock);
  g_autofree gchar *caps = run->caps ? gst_caps_to_string(run->caps) : NULL;
  g_string_append_printf(json,
                         "\"end\":\"%s\",\"samples\":%" G_GUINT64_FORMAT
                         ",\"keyFrames\":%" G_GUINT64_FORMAT ",\"bytes\":%" G_GUINT64_FORMAT,
                         end, run->samples, run->key_frames, run->bytes);
  g_mutex_unlock(&run->lock);
  g_string_append(json, ",\"caps\":");
  append_string(json, caps);
  g_string_append_printf(json, ",\"errors\":[%s],\"warnings\":[%s],\"infos\":[%s],\"properties\":",
                         messages.errors->str, messages.warnings->str, messages.infos->str);
  gboolean known = append_properties(json, run->pipeline, properties);
  g_string_append(json, ",\"stats\":");
  append_statistics(json, run->pipeline);
  g_string_append_c(json, '}');
  stop(run);
  if (known) puts(json->str);
  g_string_free(messages.errors, TRUE);
  g_string_free(messages.warnings, TRUE);
  g_string_free(messages.infos, TRUE);
  return !known ? 2 : g_str_equal(end, "eos") ? 0 : 1;
}

/* Takes a reference of an element that nobody gives back. */
static gboolean leak(Run *run, const gchar *name) {
  return gst_bin_get_by_name(GST_BIN(run->pipeline), name) != NULL;
}

int main(int argc, char **argv) {
  g_auto(GStrv) properties = NULL;
  g_autofree gchar *lockstep = NULL, *leaked = NULL;
  gint seconds = 60, status = 2;
  const GOptionEntry options[] = {
      {"get", 0, 0, G_OPTION_ARG_STRING_ARRAY, &properties, "print a property, read at the end",
       "ELEMENT.PROPERTY"},
      {"lockstep", 0, 0, G_OPTION_ARG_STRING, &lockstep,
       "this source gives a frame when the samples of all before it have arrived", "ELEMENT"},
      {"leak", 0, 0, G_OPTION_ARG_STRING, &leaked,
       "keep a reference of this element, to see that a tracer sees it", "ELEMENT"},
      {"timeout", 0, 0, G_OPTION_ARG_INT, &seconds, "give up after that time (60)", "SECONDS"},
      G_OPTION_ENTRY_NULL};
  g_autoptr(GOptionContext) context = g_option_context_new("PIPELINE");
  g_autoptr(GError) error = NULL;
  Run run = {0};

  g_option_context_add_main_entries(context, options, NULL);
  if (!g_option_context_parse(context, &argc, &argv, &error) || argc != 2) {
    fprintf(stderr, "run-pipeline: %s\n", error ? error->message : "give one pipeline");
    return 2;
  }
  gst_init(NULL, NULL);
  g_mutex_init(&run.lock);
  g_cond_init(&run.arrived);
  run.pipeline = gst_parse_launch_full(argv[1], NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
  if (!run.pipeline) {
    fprintf(stderr, "run-pipeline: %s\n", error->message);
  } else {
    gboolean has_sink = connect_sink(&run);
    if (lockstep && (!has_sink || !hold_back(&run, lockstep)))
      fprintf(stderr,
              "run-pipeline: --lockstep needs a source of that name and an appsink named %s\n",
              SINK_NAME);
    else if (leaked && !leak(&run, leaked))
      fprintf(stderr, "run-pipeline: there is no %s\n", leaked);
    else
      status = run_to_end(&run, seconds, properties);
    gst_object_unref(run.pipeline);
  }
  gst_caps_replace(&run.caps, NULL);
  g_mutex_clear(&run.lock);
  g_cond_clear(&run.arrived);
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
