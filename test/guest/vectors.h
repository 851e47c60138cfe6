/* Access units of real encoders, small enough to stand in the source. */
#ifndef TEST_VECTORS_H
#define TEST_VECTORS_H

#include <glib.h>

#include "session.pb.h"

typedef struct {
  vsockenc_Codec codec;
  vsockenc_Profile profile;
  guint width, height;
  const guint8 *sets; /* the parameter sets, each behind a start code of four bytes */
  gsize sets_size;
  const guint8 *picture; /* an IDR picture behind a start code of three */
  gsize picture_size;
  guint level_at; /* where the SPS has its level */
} Vector;

#define N_VECTORS 6u
extern const Vector VECTORS[N_VECTORS];

/* One of this width, or another of the codec and profile (UNSPECIFIED: any); NULL: none. */
const Vector *vector_find(vsockenc_Codec codec, vsockenc_Profile profile, guint width);

#endif
