#include "resources.h"

#include <search.h>
#include <stdlib.h>

#include "virgl.h"

static void *table; /* of VirglResource, by id; see tsearch(3) */
static uint64_t last_generation;
static VirglResourceEnded ended; /* NULL: no table is kept */

static int compare(const void *left, const void *right) {
  uint32_t a = ((const VirglResource *)left)->id;
  uint32_t b = ((const VirglResource *)right)->id;
  return a < b ? -1 : a > b;
}

void virgl_resources_start(VirglResourceEnded on_ended) {
  ended = on_ended;
}

VirglResource *virgl_resources_find(uint32_t id) {
  VirglResource **found = tfind(&(VirglResource){.id = id}, &table, compare);
  return found == NULL ? NULL : *found;
}

static void forget(void *data) {
  VirglResource *resource = data;
  if (resource->map != NULL && !resource->mapped_by_qemu) {
    virgl_api()->force_ctx_0();
    virgl_api()->resource_unmap(resource->id);
  }
  free(resource);
}

void virgl_resources_add(const VirglResource *resource) {
  if (ended == NULL) {
    return;
  }
  virgl_resources_remove(resource->id);
  VirglResource *added = malloc(sizeof *added);
  if (added == NULL) {
    return;
  }
  *added = *resource;
  added->generation = ++last_generation;
  if (tsearch(added, &table, compare) == NULL) {
    free(added);
  }
}

void virgl_resources_remove(uint32_t id) {
  VirglResource *resource = virgl_resources_find(id);
  if (resource == NULL) {
    return;
  }
  uint64_t generation = resource->generation;
  tdelete(resource, &table, compare);
  forget(resource);
  ended(id, generation);
}

void virgl_resources_set_pages(uint32_t id, const struct iovec *pages, unsigned runs) {
  VirglResource *resource = virgl_resources_find(id);
  if (resource == NULL || (runs == 0 && resource->page_runs == 0)) {
    return;
  }
  uint64_t old = resource->generation;
  resource->pages = pages;
  resource->page_runs = runs;
  resource->generation = ++last_generation;
  ended(id, old);
}

void virgl_resources_clear(void) {
  tdestroy(table, forget);
  table = NULL;
}
