/*
 * A screen for machines that have none. Framebuffers are memfds; what is shown, and what of it
 * changes, is told by the test. It counts the handles that nobody closed.
 */
#ifndef TEST_FAKE_KMS_H
#define TEST_FAKE_KMS_H

#include "kms.h"

extern const VencKmsOps fake_kms;

typedef struct {
  guint32 width, height, fourcc, pitch, offset;
  guint64 modifier;
} FakeFramebuffer;

/* One output, "Virtual-1", off. Ends what was before. */
void fake_kms_reset(void);
/* A framebuffer of new memory, filled with the 32-bit `pixel`; returns its number in this file. */
guint fake_kms_create(const FakeFramebuffer *like, guint32 pixel);
void fake_kms_fill(guint number, guint32 pixel);
void fake_kms_set_pixel(guint number, guint x, guint y, guint32 pixel);
/* Shows part of a framebuffer under the kernel's id `id`; the same id may stand for another. */
void fake_kms_flip(guint number, guint32 id, guint32 x, guint32 y, guint32 width, guint32 height);
/* The cursor at a place of the screen. */
void fake_kms_set_cursor(guint number, guint32 id, gint32 x, gint32 y, guint32 size);
/* A commit of damage without a flip. */
void fake_kms_damage(void);
void fake_kms_off(void);
/* What a process without rights gets: no handles. */
void fake_kms_deny(void);
/* The next `times` questions for a framebuffer come after it was removed. */
void fake_kms_remove(guint times);
void fake_kms_set_planes(guint planes);
void fake_kms_set_opaque(void);
/* A kernel that tells of no damage. */
void fake_kms_set_blind(void);

typedef struct {
  guint looks, framebuffers, exports, open_handles, mistakes;
} FakeKmsCounts;
void fake_kms_get_counts(FakeKmsCounts *counts);

#endif
