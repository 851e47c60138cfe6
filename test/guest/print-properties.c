/*
 * Prints the properties that a pipeline's text sets, as GStreamer has read them: one JSON object a
 * line for each DESCRIPTION, with the settable properties of its first element of that factory.
 * Nothing is opened.
 *
 *     print-properties [--factory vsockenc] DESCRIPTION...
 *
 * Integers become numbers and enums their nicks; other types are written as GStreamer writes them.
 */
#include <stdio.h>

#include "gstvsockenc.h"
#include "vsockenc-properties.h"

static void print_text(const gchar *text) {
  putchar('"');
  for (; *text; text++) {
    guchar byte = (guchar)*text;
    if (byte < 0x20 || byte == 0x7f)
      printf("\\u%04x", byte);
    else if (byte == '"' || byte == '\\')
      printf("\\%c", byte);
    else
      putchar(byte);
  }
  putchar('"');
}

static void print_value(const GValue *value) {
  if (G_VALUE_HOLDS_UINT(value)) {
    printf("%u", g_value_get_uint(value));
  } else if (G_VALUE_HOLDS_STRING(value)) {
    const gchar *text = g_value_get_string(value);
    if (text)
      print_text(text);
    else
      printf("null");
  } else if (G_VALUE_HOLDS_ENUM(value)) {
    g_autoptr(GEnumClass) values = g_type_class_ref(G_VALUE_TYPE(value));
    print_text(g_enum_get_value(values, g_value_get_enum(value))->value_nick);
  } else {
    g_autofree gchar *text = gst_value_serialize(value);
    print_text(text ? text : "");
  }
}

static void print_properties(GObject *object) {
  guint count = 0;
  g_autofree GParamSpec **specs =
      g_object_class_list_properties(G_OBJECT_GET_CLASS(object), &count);
  const gchar *before = "{";
  for (guint i = 0; i < count; i++) {
    GValue value = G_VALUE_INIT;
    if ((specs[i]->flags & G_PARAM_READWRITE) != G_PARAM_READWRITE) continue;
    g_object_get_property(object, specs[i]->name, &value);
    printf("%s", before);
    print_text(specs[i]->name);
    putchar(':');
    print_value(&value);
    g_value_unset(&value);
    before = ",";
  }
  puts("}");
}

static gint has_factory(const GValue *element, const gchar *factory) {
  GstElementFactory *made_by = gst_element_get_factory(g_value_get_object(element));
  return g_strcmp0(GST_OBJECT_NAME(made_by), factory);
}

/* FALSE: GStreamer does not read the description as it stands, or the element is not in it. */
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
    fprintf(stderr, "print-properties: %s: there is no %s in it\n", description, factory);
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
