/* The calls of libvirglrenderer (0.10.4 to 1.x) that this library makes itself, past its own
 * definitions. */
#ifndef VSOCKENC_VIRGL_VIRGL_H
#define VSOCKENC_VIRGL_VIRGL_H

#include <stdint.h>
#include <sys/uio.h>
#include <virglrenderer.h>

/* The box of a transfer. Not in a public header; as in virgl_hw.h and virtio 1.2, 5.7.6.8
 * (virtio_gpu_box). */
struct virgl_box {
  uint32_t x, y, z;
  uint32_t w, h, d;
};

typedef struct {
  void (*force_ctx_0)(void);
  int (*transfer_read_iov)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, struct virgl_box *,
                           uint64_t, struct iovec *, int);
  int (*resource_map)(uint32_t, void **, uint64_t *);
  int (*resource_unmap)(uint32_t);
  int (*resource_get_map_info)(uint32_t, uint32_t *);
} VirglApi;

const VirglApi *virgl_api(void);

#endif
