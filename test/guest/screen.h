/* The fixture of virtgpusrc's tests: the element in a pipeline, with a fake screen (fake-kms.h). */
#ifndef TEST_SCREEN_H
#define TEST_SCREEN_H

#include <gst/gst.h>

#include "fake-kms.h"

#define XR24 0x34325258u
#define AR24 0x34325241u
#define NV12 0x3231564eu
#define WIDTH 64u
#define HEIGHT 32u
#define PITCH (WIDTH * 4)
/* A frame rate that no test has to wait for. */
#define DMABUF "video/x-raw(memory:DMABuf),format=BGRx,framerate=1000/1"
#define SYSTEM "video/x-raw,format=BGRx,framerate=1000/1"

/* WIDTH by HEIGHT pixels without padding, and a cursor of 4 by 4. */
extern const FakeFramebuffer plain, small_cursor;

typedef struct {
  GstElement *pipeline, *source, *sink;
  GstBus *bus;
} Screen;

/* Before and after each test; the teardown asserts that all handles are closed. */
void screen_setup(Screen *f, gconstpointer data);
void screen_teardown(Screen *f, gconstpointer data);
/* Shows the whole framebuffer `number` with the id `id`. */
void screen_show(guint number, guint32 id);
/* The element with `settings` in gst-launch syntax, and a capsfilter. */
void screen_make(Screen *f, const gchar *settings, const gchar *caps);
/* The same, in PLAYING; returns its frames as GstSamples. */
GAsyncQueue *screen_play(Screen *f, const gchar *settings, const gchar *caps);
/* Waits for the next frame. */
GstSample *screen_next(GAsyncQueue *queue);
/* Discards frames until one has `pixel` in its upper left corner. */
GstSample *screen_until(GAsyncQueue *queue, guint32 pixel);
/* One pixel of a frame, by its VideoMeta, without the top byte. */
guint32 screen_pixel_at(GstSample *sample, guint x, guint y);
/* Waits for a message of this type. */
GstMessage *screen_wait_message(Screen *f, GstMessageType type);
/* Asserts that the next error has this code, and `part` in its text. */
void screen_assert_error(Screen *f, GQuark domain, gint code, const gchar *part);
/* Registers the element and runs the tests that `add` adds. */
int screen_main(int argc, char **argv, void (*add)(void));

#define TEST(name, test, data) g_test_add(name, Screen, data, screen_setup, test, screen_teardown)

#endif
