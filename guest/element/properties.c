#include "properties.h"

void venc_properties_install(GObjectClass *klass, const VencProperty *properties) {
  for (const VencProperty *p = properties; p->name; p++) {
    GParamFlags flags = p->flags | G_PARAM_STATIC_STRINGS;
    GParamSpec *spec;
    switch (p->type) {
      case G_TYPE_UINT:
        spec = g_param_spec_uint(p->name, p->nick, p->blurb, p->minimum, p->maximum, p->initial,
                                 flags);
        break;
      case G_TYPE_BOOLEAN:
        spec = g_param_spec_boolean(p->name, p->nick, p->blurb, p->initial != 0, flags);
        break;
      case G_TYPE_ENUM:
        spec =
            g_param_spec_enum(p->name, p->nick, p->blurb, p->enum_type(), (gint)p->initial, flags);
        gst_type_mark_as_plugin_api(p->enum_type(), 0);
        break;
      case G_TYPE_STRING:
        spec = g_param_spec_string(p->name, p->nick, p->blurb, NULL, flags);
        break;
      default:
        spec = g_param_spec_boxed(p->name, p->nick, p->blurb, GST_TYPE_STRUCTURE, flags);
        break;
    }
    g_object_class_install_property(klass, (guint)(p - properties) + 1, spec);
  }
}

/* The field of a setting: a gchar * for a string, else 32 bits. */
static gpointer field_of(const VencProperty *property, gpointer settings) {
  return (guint8 *)settings + property->offset;
}

static gboolean is_string_setting(const VencProperty *property) {
  return property->type == G_TYPE_STRING && property->offset != VENC_READ_ONLY;
}

void venc_settings_init(const VencProperty *properties, gpointer settings) {
  for (const VencProperty *p = properties; p->name; p++) {
    if (is_string_setting(p))
      *(gchar **)field_of(p, settings) = NULL;
    else if (p->offset != VENC_READ_ONLY)
      *(guint *)field_of(p, settings) = p->initial;
  }
}

void venc_settings_own_strings(const VencProperty *properties, gpointer settings) {
  for (const VencProperty *p = properties; p->name; p++) {
    if (!is_string_setting(p)) continue;
    gchar **text = field_of(p, settings);
    *text = g_strdup(*text);
  }
}

void venc_settings_clear(const VencProperty *properties, gpointer settings) {
  for (const VencProperty *p = properties; p->name; p++)
    if (is_string_setting(p)) g_clear_pointer((gchar **)field_of(p, settings), g_free);
}

gboolean venc_settings_set(const VencProperty *properties, gpointer settings, guint id,
                           const GValue *value) {
  const VencProperty *property = &properties[id - 1];
  gpointer field = field_of(property, settings);
  if (property->offset == VENC_READ_ONLY) return FALSE;
  switch (property->type) {
    case G_TYPE_STRING:
      g_free(*(gchar **)field);
      *(gchar **)field = g_value_dup_string(value);
      return TRUE;
    case G_TYPE_ENUM:
      *(gint *)field = g_value_get_enum(value);
      return TRUE;
    case G_TYPE_BOOLEAN:
      *(gboolean *)field = g_value_get_boolean(value);
      return TRUE;
    default:
      *(guint *)field = g_value_get_uint(value);
      return TRUE;
  }
}

gboolean venc_settings_get(const VencProperty *properties, gconstpointer settings, guint id,
                           GValue *value) {
  const VencProperty *property = &properties[id - 1];
  gconstpointer field = field_of(property, (gpointer)settings);
  if (property->offset == VENC_READ_ONLY) return FALSE;
  switch (property->type) {
    case G_TYPE_STRING:
      g_value_set_string(value, *(gchar *const *)field);
      return TRUE;
    case G_TYPE_ENUM:
      g_value_set_enum(value, *(const gint *)field);
      return TRUE;
    case G_TYPE_BOOLEAN:
      g_value_set_boolean(value, *(const gboolean *)field);
      return TRUE;
    default:
      g_value_set_uint(value, *(const guint *)field);
      return TRUE;
  }
}
