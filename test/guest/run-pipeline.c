/*
 * Runs a pipeline to its end like an application, and prints a report as JSON:
 *
 *     run-pipeline --get encoder.source 'videotestsrc num-buffers=9 ! vsockenc name=encoder ! …'
 *
 * An appsink named "videosink" is emptied from its signal new-sample, as in desktop-bridge. The
 * exit status is 0 at EOS, 1 after an error or a time-out.
 *
 *     run-pipeline --parse vsockenc DESCRIPTION...
 *
 * only parses each description, without opening anything, and prints the settable properties of its
 * first element of the factory: one JSON object a line.
 */
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <stdio.h>

#include "json.h"

#define SINK_NAME "videosink"

typedef struct {
  GstElement *pipeline;
  GMutex lock;
  GCond arrived;
  guint64 samples, key_frames, bytes;
  GstCaps *caps; /* of the last sample */
  guint64 let_through;
  gboolean stopping;
  GString *errors, *warnings, *infos;
} Run;

/* `names` are element.property; FALSE: one of them does not exist. */
static gboolean append_properties(GString *json, GstElement *pipeline, gchar **names) {
  g_string_append_c(json, '{');
  for (guint i = 0; names && names[i]; i++) {
    g_auto(GStrv) parts = g_strsplit(names[i], ".", 2);
    g_auto(GValue) value = G_VALUE_INIT;
    g_autoptr(GstElement) element = gst_bin_get_by_name(GST_BIN(pipeline), parts[0]);
    if (!element || !parts[1] ||
        !g_object_class_find_property(G_OBJECT_GET_CLASS(element), parts[1])) {
      fprintf(stderr, "run-pipeline: %s does not exist\n", names[i]);
      return FALSE;
    }
    g_object_get_property(G_OBJECT(element), parts[1], &value);
    json_append_name(json, names[i]);
    json_append_value(json, &value);
  }
  g_string_append_c(json, '}');
  return TRUE;
}

static GstFlowReturn take_sample(GstAppSink *sink, gpointer data) {
  Run *run = data;
  g_autoptr(GstSample) sample = gst_app_sink_pull_sample(sink);
  if (!sample) return GST_FLOW_EOS;
  GstBuffer *buffer = gst_sample_get_buffer(sample);
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&run->lock);
  run->samples++;
  if (!GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DELTA_UNIT)) run->key_frames++;
  run->bytes += gst_buffer_get_size(buffer);
  gst_caps_replace(&run->caps, gst_sample_get_caps(sample));
  g_cond_broadcast(&run->arrived);
  return GST_FLOW_OK;
}

/* Holds a frame back until the samples of all previous frames have arrived. */
static GstPadProbeReturn wait_for_samples(GstPad *pad, GstPadProbeInfo *info, gpointer data) {
  Run *run = data;
  g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&run->lock);
  while (run->samples < run->let_through && !run->stopping) g_cond_wait(&run->arrived, &run->lock);
  run->let_through++;
  return GST_PAD_PROBE_OK;
}

static gboolean connect_sink(Run *run) {
  g_autoptr(GstElement) sink = gst_bin_get_by_name(GST_BIN(run->pipeline), SINK_NAME);
  if (sink) g_signal_connect(sink, "new-sample", G_CALLBACK(take_sample), run);
  return sink != NULL;
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
  json_append_string(list, GST_MESSAGE_SRC_NAME(message));
  g_string_append(list, ",\"text\":");
  json_append_string(list, error->message);
  g_string_append_c(list, '}');
}

/* Follows the bus to the end of the stream, an error, or `deadline`. */
static const gchar *follow(Run *run, gint64 deadline) {
  g_autoptr(GstBus) bus = gst_element_get_bus(run->pipeline);
  for (;;) {
    gint64 left = MAX(deadline - g_get_monotonic_time(), 0);
    g_autoptr(GError) error = NULL;
    g_autoptr(GstMessage) message = bus_pop(bus, (GstClockTime)left * GST_USECOND, &error);
    if (!message) return "timeout";
    GstMessageType type = GST_MESSAGE_TYPE(message);
    if (type == GST_MESSAGE_EOS) return "eos";
    append_message(type == GST_MESSAGE_ERROR     ? run->errors
                   : type == GST_MESSAGE_WARNING ? run->warnings
                                                 : run->infos,
                   message, error);
    if (type == GST_MESSAGE_ERROR) return "error";
  }
}

/* Stops the pipeline and wakes the thread that waits for samples. */
static void stop(Run *run) {
  g_mutex_lock(&run->lock);
  run->stopping = TRUE;
  g_cond_broadcast(&run->arrived);
  g_mutex_unlock(&run->lock);
  gst_element_set_state(run->pipeline, GST_STATE_NULL);
}

static int run_to_end(Run *run, gchar **properties) {
  g_autoptr(GString) json = g_string_new("{");
  run->errors = g_string_new(NULL);
  run->warnings = g_string_new(NULL);
  run->infos = g_string_new(NULL);
  gst_element_set_state(run->pipeline, GST_STATE_PLAYING);
  const gchar *end = follow(run, g_get_monotonic_time() + G_TIME_SPAN_MINUTE);
  g_mutex_lock(&run->lock);
  g_autofree gchar *caps = run->caps ? gst_caps_to_string(run->caps) : NULL;
  g_string_append_printf(json,
                         "\"end\":\"%s\",\"samples\":%" G_GUINT64_FORMAT
                         ",\"keyFrames\":%" G_GUINT64_FORMAT ",\"bytes\":%" G_GUINT64_FORMAT,
                         end, run->samples, run->key_frames, run->bytes);
  g_mutex_unlock(&run->lock);
  g_string_append(json, ",\"caps\":");
  json_append_string(json, caps);
  g_string_append_printf(json, ",\"errors\":[%s],\"warnings\":[%s],\"infos\":[%s],\"properties\":",
                         run->errors->str, run->warnings->str, run->infos->str);
  gboolean known = append_properties(json, run->pipeline, properties);
  g_autoptr(GString) stats = g_string_new("{");
  gboolean has_stats = json_append_statistics(stats, run->pipeline);
  g_string_append_printf(json, ",\"stats\":%s}",
                         has_stats ? g_string_append_c(stats, '}')->str : "null");
  stop(run);
  if (known) puts(json->str);
  return !known ? 2 : g_str_equal(end, "eos") ? 0 : 1;
}

static gint has_factory(const GValue *element, const gchar *factory) {
  return g_strcmp0(GST_OBJECT_NAME(gst_element_get_factory(g_value_get_object(element))), factory);
}

/* FALSE: GStreamer cannot parse the description, or it does not contain the element. */
static gboolean print_parsed(const gchar *description, const gchar *factory) {
  guint count = 0;
  g_auto(GValue) found = G_VALUE_INIT;
  g_autoptr(GError) error = NULL;
  g_autoptr(GString) json = g_string_new("{");
  /* A bin, also around a single element. */
  g_autoptr(GstElement) bin = gst_parse_bin_from_description(description, FALSE, &error);
  g_autoptr(GstIterator) elements =
      error ? NULL : gst_bin_iterate_recurse(gst_object_ref_sink(bin));
  if (error ||
      !gst_iterator_find_custom(elements, (GCompareFunc)has_factory, &found, (gpointer)factory)) {
    fprintf(stderr, "run-pipeline: %s: %s\n", description,
            error ? error->message : "it contains no such element");
    return FALSE;
  }
  GObject *object = g_value_get_object(&found);
  g_autofree GParamSpec **specs =
      g_object_class_list_properties(G_OBJECT_GET_CLASS(object), &count);
  for (guint i = 0; i < count; i++) {
    g_auto(GValue) value = G_VALUE_INIT;
    if ((specs[i]->flags & G_PARAM_READWRITE) != G_PARAM_READWRITE) continue;
    g_object_get_property(object, specs[i]->name, &value);
    json_append_name(json, specs[i]->name);
    json_append_value(json, &value);
  }
  printf("%s}\n", json->str);
  return TRUE;
}

int main(int argc, char **argv) {
  g_auto(GStrv) properties = NULL;
  g_autofree gchar *lockstep = NULL, *leaked = NULL, *factory = NULL;
  int status = 2;
  const GOptionEntry options[] = {
      {"get", 0, 0, G_OPTION_ARG_STRING_ARRAY, &properties, "print a property, read at the end",
       "ELEMENT.PROPERTY"},
      {"lockstep", 0, 0, G_OPTION_ARG_STRING, &lockstep,
       "hold back each frame of this source until all previous samples have arrived", "ELEMENT"},
      {"leak", 0, 0, G_OPTION_ARG_STRING, &leaked,
       "leak a reference of this element, as a test of the tracer", "ELEMENT"},
      {"parse", 0, 0, G_OPTION_ARG_STRING, &factory, "print the element's parsed properties",
       "FACTORY"},
      G_OPTION_ENTRY_NULL};
  g_autoptr(GOptionContext) context = g_option_context_new("PIPELINE");
  g_autoptr(GError) error = NULL;
  static Run run;

  g_option_context_add_main_entries(context, options, NULL);
  if (!g_option_context_parse(context, &argc, &argv, &error) || argc < 2 ||
      (argc > 2 && !factory)) {
    fprintf(stderr, "run-pipeline: %s\n", error ? error->message : "give one pipeline");
    return 2;
  }
  gst_init(NULL, NULL);
  if (factory) {
    gboolean fine = TRUE;
    for (int i = 1; i < argc; i++) fine = print_parsed(argv[i], factory) && fine;
    return fine ? 0 : 1;
  }
  run.pipeline = gst_parse_launch_full(argv[1], NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
  if (!run.pipeline) {
    fprintf(stderr, "run-pipeline: %s\n", error->message);
  } else {
    gboolean has_sink = connect_sink(&run);
    if (lockstep && (!has_sink || !hold_back(&run, lockstep)))
      fprintf(stderr,
              "run-pipeline: --lockstep needs a source of that name and an appsink named %s\n",
              SINK_NAME);
    /* Takes a reference that is never released. */
    else if (leaked && !gst_bin_get_by_name(GST_BIN(run.pipeline), leaked))
      fprintf(stderr, "run-pipeline: %s does not exist\n", leaked);
    else
      status = run_to_end(&run, properties);
    gst_object_unref(run.pipeline);
  }
  gst_caps_replace(&run.caps, NULL);
  gst_deinit(); /* has GST_TRACERS=leaks report */
  return status;
}
