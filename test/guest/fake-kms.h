/*
 * A screen for machines without one. Framebuffers are memfds; the test sets what is on the screen.
 * Open handles are counted.
 */
#ifndef TEST_FAKE_KMS_H
#define TEST_FAKE_KMS_H

#include "kms.h"

extern const VencKmsOps fake_kms;

typedef struct {
  guint32 width, height, fourcc, pitch, offset;
  guint64 modifier;
} FakeFramebuffer;

/* Starts again with one output, "Virtual-1", which is off. */
void fake_kms_reset(void);
/* A framebuffer of new memory, filled with the 32-bit `pixel`; returns its number in this file. */
guint fake_kms_create(const FakeFramebuffer *like, guint32 pixel);
void fake_kms_fill(guint number, guint32 pixel);
void fake_kms_set_pixel(guint number, guint x, guint y, guint32 pixel);
/* Shows part of a framebuffer under the kernel's id `id`; an id may be reused for another. */
void fake_kms_flip(guint number, guint32 id, guint32 x, guint32 y, guint32 width, guint32 height);
/* Puts the cursor at a position on the screen. */
void fake_kms_set_cursor(guint number, guint32 id, gint32 x, gint32 y, guint32 size);
/* A commit of damage without a flip. */
void fake_kms_damage(void);

typedef struct {
  gboolean active; /* the screen is on; set by every flip */
  gboolean denied; /* the process lacks the privilege: no handles */
  gboolean opaque; /* a 3D device: the CPU cannot read its buffers */
  gboolean blind;  /* a kernel that does not report damage */
  guint removed;   /* the framebuffer is gone at the next so many look-ups */
  guint planes;    /* of each framebuffer */
} FakeKmsState;
FakeKmsState *fake_kms_lock(void);
void fake_kms_unlock(void);
#define fake_kms_set(field, value) (fake_kms_lock()->field = (value), fake_kms_unlock())

typedef struct {
  guint looks, framebuffers, exports, open_handles, mistakes;
} FakeKmsCounts;
FakeKmsCounts fake_kms_counts(void);

#endif
