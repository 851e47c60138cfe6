#include "encoder-stats.h"

GstElement *encoder_find(GstElement *pipeline) {
  g_autoptr(GstIterator) elements = gst_bin_iterate_recurse(GST_BIN(pipeline));
  GValue item = G_VALUE_INIT;
  GstElement *found = NULL;
  while (!found && gst_iterator_next(elements, &item) == GST_ITERATOR_OK) {
    GstElement *element = g_value_get_object(&item);
    GstElementFactory *factory = gst_element_get_factory(element);
    if (factory && g_str_equal(GST_OBJECT_NAME(factory), "vsockenc"))
      found = gst_object_ref(element);
    g_value_reset(&item);
  }
  g_value_unset(&item);
  return found;
}

static gboolean print_field(GQuark name, const GValue *value, gpointer data) {
  FILE *file = data;
  fprintf(file, ",\n  \"%s\": ", g_quark_to_string(name));
  if (G_VALUE_HOLDS_STRING(value)) {
    g_autofree gchar *text = g_strescape(g_value_get_string(value), NULL);
    fprintf(file, "\"%s\"", text);
  } else {
    g_autofree gchar *text = gst_value_serialize(value);
    fputs(text, file);
  }
  return TRUE;
}

void encoder_print_stats(GstElement *encoder, FILE *file) {
  g_autoptr(GstStructure) stats = NULL;
  g_object_get(encoder, "stats", &stats, NULL);
  gst_structure_foreach(stats, print_field, file);
}
