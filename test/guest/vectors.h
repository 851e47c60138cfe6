/* Small access units of real encoders. */
#ifndef TEST_VECTORS_H
#define TEST_VECTORS_H

#include <glib.h>

#include "session.pb.h"

typedef struct {
  vsockenc_Codec codec;
  vsockenc_Profile profile;
  guint width, height;
  guint level_at; /* offset of the SPS's level */
  /* Parameter sets, each after a start code of four bytes; an IDR picture after one of three. */
  const guint8 *unit;
  guint sets_size, size;
} Vector;

#define N_VECTORS 6u
extern const Vector VECTORS[N_VECTORS];

/* The codec's and profile's (UNSPECIFIED: any) vector, preferably of this width; NULL: none. */
const Vector *vector_find(vsockenc_Codec codec, vsockenc_Profile profile, guint width);

#endif
