/*
 * Parses pipeline descriptions and prints the properties that GStreamer set, without opening
 * anything: one JSON object a line for each DESCRIPTION, with the settable properties of its first
 * element of the factory.
 *
 *     print-properties [--factory vsockenc] DESCRIPTION...
 */
#include <stdio.h>

#include "gstvsockenc.h"
#include "json.h"
#include "vsockenc-properties.h"

static void print_properties(GObject *object) {
  guint count = 0;
  g_autofree GParamSpec **specs =
      g_object_class_list_properties(G_OBJECT_GET_CLASS(object), &count);
  g_autoptr(GString) json = g_string_new("{");
  for (guint i = 0; i < count; i++) {
    g_auto(GValue) value = G_VALUE_INIT;
    if ((specs[i]->flags & G_PARAM_READWRITE) != G_PARAM_READWRITE) continue;
    g_object_get_property(object, specs[i]->name, &value);
    json_append_name(json, specs[i]->name);
    json_append_value(json, &value);
  }
  printf("%s}\n", json->str);
}

static gint has_factory(const GValue *element, const gchar *factory) {
  GstElementFactory *made_by = gst_element_get_factory(g_value_get_object(element));
  return g_strcmp0(GST_OBJECT_NAME(made_by), factory);
}

/* FALSE: GStreamer cannot parse the description, or it does not contain the element. */
static gboolean print_description(const gchar *description, const gchar *factory) {
  g_autoptr(GError) error = NULL;
  /* A bin, also around a single element. */
  g_autoptr(GstElement) bin = gst_parse_bin_from_description(description, FALSE, &error);
  if (error) {
    fprintf(stderr, "print-properties: %s: %s\n", description, error->message);
    return FALSE;
  }
  gst_object_ref_sink(bin);
  g_autoptr(GstIterator) elements = gst_bin_iterate_recurse(GST_BIN(bin));
  GValue found = G_VALUE_INIT;
  if (!gst_iterator_find_custom(elements, (GCompareFunc)has_factory, &found, (gpointer)factory)) {
    fprintf(stderr, "print-properties: %s: it contains no %s\n", description, factory);
    return FALSE;
  }
  print_properties(g_value_get_object(&found));
  g_value_unset(&found);
  return TRUE;
}

int main(int argc, char **argv) {
  g_autofree gchar *factory = g_strdup(VSOCKENC_FACTORY);
  const GOptionEntry options[] = {
      {"factory", 0, 0, G_OPTION_ARG_STRING, &factory, "whose element is shown (vsockenc)", "NAME"},
      G_OPTION_ENTRY_NULL};
  g_autoptr(GOptionContext) context = g_option_context_new("DESCRIPTION...");
  g_autoptr(GError) error = NULL;
  gboolean fine = TRUE;

  g_option_context_add_main_entries(context, options, NULL);
  g_option_context_add_group(context, gst_init_get_option_group());
  if (!g_option_context_parse(context, &argc, &argv, &error)) {
    fprintf(stderr, "print-properties: %s\n", error->message);
    return 2;
  }
  gst_element_register(NULL, VSOCKENC_FACTORY, GST_RANK_NONE, GST_TYPE_VSOCK_ENC);
  for (int i = 1; i < argc; i++) fine = print_description(argv[i], factory) && fine;
  return fine ? 0 : 1;
}
