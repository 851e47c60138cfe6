#include "json.h"

void json_append_string(GString *json, const gchar *text) {
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

void json_append_value(GString *json, const GValue *value) {
  if (G_VALUE_HOLDS_BOOLEAN(value)) {
    g_string_append(json, g_value_get_boolean(value) ? "true" : "false");
  } else if (G_VALUE_HOLDS_STRING(value)) {
    json_append_string(json, g_value_get_string(value));
  } else if (G_VALUE_HOLDS_ENUM(value)) {
    GEnumClass *klass = g_type_class_ref(G_VALUE_TYPE(value));
    GEnumValue *entry = g_enum_get_value(klass, g_value_get_enum(value));
    json_append_string(json, entry ? entry->value_nick : NULL);
    g_type_class_unref(klass);
  } else {
    g_autofree gchar *text = gst_value_serialize(value);
    if (G_VALUE_HOLDS_INT(value) || G_VALUE_HOLDS_UINT(value) || G_VALUE_HOLDS_INT64(value) ||
        G_VALUE_HOLDS_UINT64(value) || G_VALUE_HOLDS_DOUBLE(value))
      g_string_append(json, text);
    else
      json_append_string(json, text);
  }
}

void json_append_name(GString *json, const gchar *name) {
  if (json->len > 0 && json->str[json->len - 1] != '{') g_string_append_c(json, ',');
  json_append_string(json, name);
  g_string_append_c(json, ':');
}

static gboolean append_field(GQuark field, const GValue *value, gpointer json) {
  json_append_name(json, g_quark_to_string(field));
  json_append_value(json, value);
  return TRUE;
}

gboolean json_append_statistics(GString *json, GstElement *pipeline) {
  g_autoptr(GstIterator) elements =
      gst_bin_iterate_all_by_element_factory_name(GST_BIN(pipeline), "vsockenc");
  g_auto(GValue) item = G_VALUE_INIT;
  if (gst_iterator_next(elements, &item) != GST_ITERATOR_OK) return FALSE;
  g_autoptr(GstStructure) stats = NULL;
  g_object_get(g_value_get_object(&item), "stats", &stats, NULL);
  gst_structure_foreach(stats, append_field, json);
  return TRUE;
}

GstMessage *bus_pop(GstBus *bus, GstClockTime timeout, GError **error) {
  const GstMessageType types =
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_WARNING | GST_MESSAGE_INFO;
  GstMessage *message = gst_bus_timed_pop_filtered(bus, timeout, types);
  if (message && GST_MESSAGE_TYPE(message) != GST_MESSAGE_EOS)
    gst_structure_get(gst_message_get_structure(message), "gerror", G_TYPE_ERROR, error, NULL);
  return message;
}
