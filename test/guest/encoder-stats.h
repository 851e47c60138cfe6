/* The element vsockenc of a pipeline, and the fields of its property `stats` as JSON. */
#ifndef TEST_ENCODER_STATS_H
#define TEST_ENCODER_STATS_H

#include <gst/gst.h>
#include <stdio.h>

/* The first vsockenc of the pipeline, or NULL. */
GstElement *encoder_find(GstElement *pipeline);
/* Each field as a member that follows another: a comma, name and value. */
void encoder_print_stats(GstElement *encoder, FILE *file);

#endif
