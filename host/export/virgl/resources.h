/*
 * The resources of the VM's virtio-gpu, as QEMU describes them to virglrenderer.
 *
 * Theory of operation: interpose.c sees each call that makes, backs, maps or frees a resource and
 * keeps this table up to date. Everything happens on QEMU's main loop, so there are no locks. A
 * generation names one incarnation of an id: it is never used twice, and changes with the resource
 * and with its pages.
 */
#ifndef VSOCKENC_VIRGL_RESOURCES_H
#define VSOCKENC_VIRGL_RESOURCES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

typedef enum {
  VIRGL_KIND_TEXTURE, /* CREATE_2D, or CREATE_3D of a picture */
  VIRGL_KIND_BLOB,    /* bytes without a layout */
  VIRGL_KIND_OTHER,   /* buffers, 3D textures, arrays, multisampled textures */
} VirglKind;

typedef struct {
  uint32_t id;
  uint64_t generation;
  VirglKind kind;
  /* Textures: pixels, and VIRGL_FORMAT_*, whose numbers equal VIRTIO_GPU_FORMAT_* where both exist.
   */
  uint32_t width;
  uint32_t height;
  uint32_t format;
  /* Textures: made by CREATE_2D, which guests use for what their CPU draws. */
  bool made_2d;
  /* Blobs: bytes, and whether the host has memory for them, besides the guest's pages or alone. */
  uint64_t blob_size;
  bool host_memory;
  /* The guest's pages in QEMU's address space; QEMU's, valid until it detaches them. */
  const struct iovec *pages;
  unsigned page_runs;
  /* Blobs in host memory: where they are mapped (NULL: not), and whether QEMU or this library did
   * it. */
  void *map;
  uint64_t map_size;
  bool mapped_by_qemu;
} VirglResource;

/* Called when a generation ends: its pages or its texture go back to the guest. */
typedef void (*VirglResourceEnded)(uint32_t id, uint64_t generation);

/* Begins to keep the table; before it, nothing is kept. */
void virgl_resources_start(VirglResourceEnded on_ended);

/* NULL: there is none, or there was no memory to note it. */
VirglResource *virgl_resources_find(uint32_t id);

/* Adds a copy of `resource` under a new generation; replaces one of the same id, as virglrenderer
 * does. */
void virgl_resources_add(const VirglResource *resource);

/* Before virglrenderer frees the resource. */
void virgl_resources_remove(uint32_t id);

/* Sets or (NULL, 0) removes the guest's pages; a new generation begins. */
void virgl_resources_set_pages(uint32_t id, const struct iovec *pages, unsigned runs);

/* Removes all, without reporting the end of their generations. */
void virgl_resources_clear(void);

#endif
