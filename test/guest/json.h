/* GObject values as JSON, and the messages of a bus. */
#ifndef TEST_JSON_H
#define TEST_JSON_H

#include <gst/gst.h>

/* NULL becomes null. */
void json_append_string(GString *json, const gchar *text);
/* Numbers and booleans as such, enums as their nicks, other values in GStreamer's syntax. */
void json_append_value(GString *json, const GValue *value);
/* A member of an object: a comma unless it is the first, its name and a colon. */
void json_append_name(GString *json, const gchar *name);
/* The members of the property `stats` of the pipeline's first vsockenc, if there is one. */
gboolean json_append_statistics(GString *json, GstElement *pipeline);
/* The next EOS, error, warning or info, with the GError in it; NULL: none came in time. */
GstMessage *bus_pop(GstBus *bus, GstClockTime timeout, GError **error);

#endif
