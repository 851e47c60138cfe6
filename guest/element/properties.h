/*
 * Properties of an element as a table, which generate.ts makes from the element's specification
 * (gen/ELEMENT-properties.c). The settable ones are stored in a structure of settings, each in the
 * field at its offset.
 */
#ifndef VENC_PROPERTIES_H
#define VENC_PROPERTIES_H

#include <gst/gst.h>

/* Offset of a read-only property, which the element computes. */
#define VENC_READ_ONLY (-1)

/* The property with id N is row N - 1 of its table; a row without a name ends the table. */
typedef struct {
  const gchar *name, *nick, *blurb;
  GType type;               /* fundamental; G_TYPE_BOXED: a GstStructure */
  GType (*enum_type)(void); /* of G_TYPE_ENUM */
  GParamFlags flags;
  gssize offset;
  guint minimum, maximum, initial; /* strings are initially NULL */
} VencProperty;

void venc_properties_install(GObjectClass *klass, const VencProperty *properties);
/* Sets every field to its default. */
void venc_settings_init(const VencProperty *properties, gpointer settings);
/* Gives a structure that was copied by assignment strings of its own. */
void venc_settings_own_strings(const VencProperty *properties, gpointer settings);
void venc_settings_clear(const VencProperty *properties, gpointer settings);
/* FALSE: the property `id` is read-only. */
gboolean venc_settings_set(const VencProperty *properties, gpointer settings, guint id,
                           const GValue *value);
gboolean venc_settings_get(const VencProperty *properties, gconstpointer settings, guint id,
                           GValue *value);

#endif
