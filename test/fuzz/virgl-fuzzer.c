/*
 * The exporter inside QEMU between hostile relays and a hostile guest. The input is a list of
 * steps: relays connect, send bytes or requests that are well-formed but for their numbers, read or
 * not, and leave; the guest makes, backs and frees resources; the GPU is slow or fails. After each
 * step every ready descriptor has one turn, as in QEMU's main loop.
 *
 * Everything of host/export/virgl runs but what speaks to the system: the listener, the loop, the
 * clients' sockets and the timer are replaced here (the kernel's would take most of the time), and
 * GL and virglrenderer by functions that do as little as they may. In the end of each input no
 * client is open, and no descriptor either.
 */
#include <assert.h>
#include <epoxy/gl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client.h"
#include "listener.h"
#include "loop.h"
#include "pb_encode.h"
#include "resources.h"
#include "server.h"
#include "virgl.h"

enum {
  PEERS = 6,        /* two more than may be open */
  CONNECTIONS = 24, /* those that a relay has left, and that the exporter has not closed yet */
  FIRST_SOCKET = 1000000,
  SOCKET_BYTES = 4096, /* each way; so few that the exporter has to wait for slow relays */
  IDS = 100,
  PAGE = 4096,
  MEMORY_BYTES = 64 * PAGE,
  MAX_WATCHES = 32,
  MAX_STEPS = 80,
  MAX_TURNS = 4096,
  MAX_DESCRIPTORS = 96,
};

/* What is left of the input; past its end all is 0. */
static const uint8_t *input;
static size_t left;

static uint8_t take(void) {
  if (left == 0) return 0;
  left--;
  return *input++;
}

/* Sockets: number FIRST_SOCKET + i is the exporter's end of the ith. */
static struct {
  bool relay, exporter; /* whether each has its end */
  bool shut;
  uint8_t bytes[SOCKET_BYTES]; /* to the exporter */
  size_t sent, received;       /* of them */
  size_t unread;               /* bytes to the relay, which looks at none */
} sockets[CONNECTIONS];

static bool is_socket(int descriptor) {
  return descriptor >= FIRST_SOCKET;
}

static bool is_over(int i) {
  return !sockets[i].relay || sockets[i].shut;
}

/* The linker has the exporter call these (CMakeLists.txt). */
ssize_t __wrap_recv(int descriptor, void *to, size_t size, int flags);
ssize_t __wrap_sendmsg(int descriptor, const struct msghdr *message, int flags);
int __wrap_shutdown(int descriptor, int how);
int __wrap_close(int descriptor);
int __real_close(int descriptor);
ssize_t __wrap_read(int descriptor, void *to, size_t size);
ssize_t __real_read(int descriptor, void *to, size_t size);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *after,
                           struct itimerspec *before);
int __wrap_fallocate(int memory, int mode, off_t offset, off_t size);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int memory, off_t offset);
void *__real_mmap(void *at, size_t size, int protection, int flags, int memory, off_t offset);

ssize_t __wrap_recv(int descriptor, void *to, size_t size, int flags) {
  int i = descriptor - FIRST_SOCKET;
  assert(is_socket(descriptor) && sockets[i].exporter && (flags & MSG_DONTWAIT) != 0);
  size_t there = sockets[i].sent - sockets[i].received;
  if (there == 0 || size == 0) {
    if (is_over(i)) return 0;
    errno = EAGAIN;
    return -1;
  }
  if (size > there) size = there;
  memcpy(to, sockets[i].bytes + sockets[i].received, size);
  sockets[i].received += size;
  if (size == there) sockets[i].sent = sockets[i].received = 0;
  return (ssize_t)size;
}

ssize_t __wrap_sendmsg(int descriptor, const struct msghdr *message, int flags) {
  int i = descriptor - FIRST_SOCKET;
  assert(is_socket(descriptor) && sockets[i].exporter && (flags & MSG_DONTWAIT) != 0);
  assert(message->msg_iovlen == 1);
  for (struct cmsghdr *rights = CMSG_FIRSTHDR(message); rights != NULL;
       rights = CMSG_NXTHDR((struct msghdr *)message, rights)) {
    int passed;
    memcpy(&passed, CMSG_DATA(rights), sizeof passed);
    assert(fcntl(passed, F_GETFD) >= 0);
  }
  size_t size = message->msg_iov->iov_len, space = SOCKET_BYTES - sockets[i].unread;
  if (is_over(i) || space == 0) {
    errno = is_over(i) ? EPIPE : EAGAIN;
    return -1;
  }
  if (size > space) size = space;
  sockets[i].unread += size;
  return (ssize_t)size;
}

int __wrap_shutdown(int descriptor, int how) {
  assert(is_socket(descriptor) && how == SHUT_RDWR);
  sockets[descriptor - FIRST_SOCKET].shut = true;
  return 0;
}

int __wrap_close(int descriptor) {
  if (!is_socket(descriptor)) return __real_close(descriptor);
  assert(sockets[descriptor - FIRST_SOCKET].exporter);
  sockets[descriptor - FIRST_SOCKET].exporter = false;
  return 0;
}

/* Pages of slots are made as they are touched: read_iov below touches two. */
int __wrap_fallocate(int memory, int mode, off_t offset, off_t size) {
  assert(mode == 0 && offset == 0);
  return ftruncate(memory, size);
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int memory, off_t offset) {
  return __real_mmap(at, size, protection, flags & ~MAP_POPULATE, memory, offset);
}

/* The timer of reads.c rings at once. */
static int timer = -1;
static bool timer_runs;

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *after,
                           struct itimerspec *before) {
  (void)flags, (void)before;
  timer = fd;
  timer_runs = after->it_value.tv_nsec > 0;
  return 0;
}

ssize_t __wrap_read(int descriptor, void *to, size_t size) {
  if (descriptor != timer) return __real_read(descriptor, to, size);
  assert(size == sizeof(uint64_t));
  if (!timer_runs) {
    errno = EAGAIN;
    return -1;
  }
  timer_runs = false;
  memset(to, 1, size);
  return (ssize_t)size;
}

/* The loop: descriptors and their watches. */
static struct {
  int descriptor;
  uint32_t events; /* of epoll */
  VirglWatch *watch;
} watches[MAX_WATCHES];
static unsigned watch_count;

bool virgl_loop_start(void) {
  return true;
}

bool virgl_loop_add(int descriptor, uint32_t events, VirglWatch *watch) {
  assert(watch_count < MAX_WATCHES);
  watches[watch_count].descriptor = descriptor;
  watches[watch_count].events = events;
  watches[watch_count++].watch = watch;
  return true;
}

static unsigned find_watch(int descriptor) {
  for (unsigned i = 0; i < watch_count; i++) {
    if (watches[i].descriptor == descriptor) return i;
  }
  abort();
}

void virgl_loop_change(int descriptor, uint32_t events, VirglWatch *watch) {
  unsigned i = find_watch(descriptor);
  assert(watches[i].watch == watch);
  watches[i].events = events;
}

void virgl_loop_remove(int descriptor) {
  watches[find_watch(descriptor)] = watches[--watch_count];
}

static bool is_ready(unsigned watch) {
  int descriptor = watches[watch].descriptor;
  if (!is_socket(descriptor)) return descriptor == timer && timer_runs;
  int i = descriptor - FIRST_SOCKET;
  bool in = sockets[i].received < sockets[i].sent || is_over(i);
  bool out = sockets[i].unread < SOCKET_BYTES || is_over(i);
  return (in && (watches[watch].events & EPOLLIN) != 0) ||
         (out && (watches[watch].events & EPOLLOUT) != 0);
}

/* One turn: the first ready descriptor at or after `first`. False: none is ready. */
static bool turn(unsigned first) {
  for (unsigned step = 0; step < watch_count; step++) {
    unsigned i = (first + step) % watch_count;
    if (!is_ready(i)) continue;
    watches[i].watch->on_ready(watches[i].watch);
    return true;
  }
  return false;
}

/* GL and virglrenderer, as the input has them. */
static uint8_t gpu; /* bits: the fence is not passed, reading fails, mapping fails, not cached */
static unsigned fences;
static uint8_t mapped_bytes[PAGE];
static unsigned maps;

static GLsync fence_sync(GLenum condition, GLbitfield flags) {
  (void)condition, (void)flags;
  fences++;
  return (GLsync)&fences;
}

static GLenum wait_sync(GLsync sync, GLbitfield flags, GLuint64 timeout) {
  (void)sync, (void)flags, (void)timeout;
  assert(fences == 1);
  return (gpu & 1) != 0 ? GL_TIMEOUT_EXPIRED : GL_ALREADY_SIGNALED;
}

static void delete_sync(GLsync sync) {
  (void)sync;
  assert(fences-- == 1);
}

static void nothing(void) {}

static int read_iov(uint32_t id, uint32_t context, uint32_t level, uint32_t stride, uint32_t layer,
                    struct virgl_box *box, uint64_t offset, struct iovec *to, int count) {
  (void)context, (void)level, (void)layer, (void)offset;
  assert(virgl_resources_find(id) != NULL && count == 1);
  assert((uint64_t)stride * box->h == to->iov_len);
  if ((gpu & 2) != 0) return -1;
  if (to->iov_len > 0) {
    memset(to->iov_base, 1, 1);
    memset((uint8_t *)to->iov_base + to->iov_len - 1, 1, 1);
  }
  return 0;
}

static int map(uint32_t id, void **address, uint64_t *size) {
  assert(virgl_resources_find(id) != NULL);
  if ((gpu & 4) != 0) return -1;
  *address = mapped_bytes;
  *size = sizeof mapped_bytes;
  maps++;
  return 0;
}

static int unmap(uint32_t id) {
  (void)id;
  assert(maps-- > 0);
  return 0;
}

static int map_info(uint32_t id, uint32_t *info) {
  (void)id;
  *info = (gpu & 8) != 0 ? VIRGL_RENDERER_MAP_CACHE_WC : VIRGL_RENDERER_MAP_CACHE_CACHED;
  return 0;
}

const VirglApi *virgl_api(void) {
  static const VirglApi api = {nothing, read_iov, map, unmap, map_info};
  return &api;
}

/* The listener: connections come from the input. */
static void (*connected)(int socket);

bool virgl_listener_start(const char *path, const char *users, void (*on_connection)(int socket)) {
  (void)path, (void)users;
  connected = on_connection;
  return true;
}

/* The relays' sockets; -1: not connected. */
static int peers[PEERS];

static void peer_connect(unsigned peer) {
  if (peers[peer] >= 0) return;
  int i = 0;
  while (sockets[i].relay || sockets[i].exporter) assert(++i < CONNECTIONS);
  memset(&sockets[i], 0, sizeof sockets[i]);
  sockets[i].relay = sockets[i].exporter = true;
  peers[peer] = i;
  connected(FIRST_SOCKET + i);
}

static void peer_send(unsigned peer, const void *bytes, size_t size) {
  int i = peers[peer];
  if (i < 0 || sockets[i].shut || !sockets[i].exporter) return;
  if (size > SOCKET_BYTES - sockets[i].sent) size = SOCKET_BYTES - sockets[i].sent;
  memcpy(sockets[i].bytes + sockets[i].sent, bytes, size);
  sockets[i].sent += size;
}

static void peer_request(unsigned peer, const vsockenc_ExportMessage *message) {
  uint8_t bytes[VIRGL_LENGTH_BYTES + VSOCKENC_MAX_EXPORT_REQUEST_BYTES];
  pb_ostream_t stream =
      pb_ostream_from_buffer(bytes + VIRGL_LENGTH_BYTES, sizeof bytes - VIRGL_LENGTH_BYTES);
  assert(pb_encode(&stream, vsockenc_ExportMessage_fields, message));
  uint32_t length = (uint32_t)stream.bytes_written;
  memcpy(bytes, &length, VIRGL_LENGTH_BYTES);
  peer_send(peer, bytes, VIRGL_LENGTH_BYTES + length);
}

/* Reads what was sent to a relay. */
static void peer_receive(unsigned peer) {
  if (peers[peer] >= 0) sockets[peers[peer]].unread = 0;
}

static void peer_leave(unsigned peer) {
  if (peers[peer] >= 0) sockets[peers[peer]].relay = false;
  peers[peer] = -1;
}

/* The guest. */
static uint8_t *memory;       /* shared, as QEMU has it */
static uint8_t private[PAGE]; /* not shared */

static void guest_add(void) {
  static const uint32_t formats[] = {1, 2, 67, 64, 65, 177};
  VirglResource resource = {.id = 1 + take() % IDS, .kind = (VirglKind)(take() % 3)};
  uint8_t flags = take();
  resource.width = (1u + take()) << ((flags & 1) != 0 ? 6 : 0);
  resource.height = 1u + take();
  resource.format = formats[take() % (sizeof formats / sizeof *formats)];
  resource.made_2d = (flags & 2) != 0;
  resource.host_memory = (flags & 4) != 0;
  resource.blob_size = (uint64_t)take() << ((flags & 8) != 0 ? 56 : 5);
  virgl_resources_add(&resource);
}

static void guest_back(void) {
  static struct iovec pages[IDS + 1][4];
  uint32_t id = 1 + take() % IDS;
  unsigned runs = take() % 5;
  for (unsigned i = 0; i < runs; i++) {
    uint8_t where = take();
    size_t length = (size_t)take() * 64;
    /* At the end of the memory, and beyond it. */
    pages[id][i] = where == 255 ? (struct iovec){private, length}
                                : (struct iovec){memory + where % 65 * PAGE, length};
  }
  virgl_resources_set_pages(id, runs == 0 ? NULL : pages[id], runs);
}

static uint64_t generation(uint32_t id) {
  const VirglResource *resource = virgl_resources_find(id);
  return resource == NULL ? 0 : resource->generation;
}

static void step(void) {
  uint8_t kind = take() % 13;
  unsigned peer = take() % PEERS;
  uint32_t id = 1 + take() % IDS;
  uint8_t value = take();
  switch (kind) {
    case 0:
      peer_connect(peer);
      break;
    case 1: {
      size_t size = value < left ? value : left;
      peer_send(peer, input, size);
      input += size;
      left -= size;
      break;
    }
    case 2: {
      /* Up to more than a request may have, and than the input has. */
      static const uint8_t zeros[3 * UINT8_MAX];
      uint32_t length = 3u * value;
      size_t size = length < left ? length : left;
      peer_send(peer, &length, VIRGL_LENGTH_BYTES);
      peer_send(peer, input, size);
      input += size;
      left -= size;
      peer_send(peer, zeros, length - size);
      break;
    }
    case 3:
      peer_request(peer,
                   VIRGL_MESSAGE(hello, {.version = VSOCKENC_EXPORT_VERSION - (value == 255)}));
      break;
    case 4:
      peer_request(peer, VIRGL_MESSAGE(acquire, {.request = value,
                                                 .resource = id,
                                                 .content = (vsockenc_Content)(value % 3),
                                                 .bytes = (uint64_t)(value >> 3) * 100,
                                                 .known = value % 5 == 0 ? generation(id) : 0}));
      break;
    case 5:
      peer_request(peer, VIRGL_MESSAGE(read, {.request = value,
                                              .resource = id,
                                              .generation = generation(id) + (value > 250),
                                              .slot = value % (VSOCKENC_MAX_SLOTS + 1)}));
      break;
    case 6:
      peer_request(peer, VIRGL_MESSAGE(free, {value % (VSOCKENC_MAX_SLOTS + 1), id > IDS / 2}));
      break;
    case 7:
      peer_request(peer, VIRGL_MESSAGE(release, {id, generation(id)}));
      break;
    case 8:
      guest_add();
      break;
    case 9:
      guest_back();
      break;
    case 10:
      virgl_resources_remove(id);
      break;
    case 11:
      gpu = value;
      if (value > 240) virgl_server_reset();
      break;
    default:
      if (value < 200)
        peer_receive(peer);
      else
        peer_leave(peer);
  }
}

static void check_clients(void) {
  for (unsigned i = 0; i < VIRGL_MAX_CLIENTS; i++) {
    assert(virgl_clients[i].filled <= sizeof virgl_clients[i].input);
    assert(virgl_clients[i].held_count <= VSOCKENC_MAX_ACQUIRED_RESOURCES);
    assert(virgl_clients[i].read_count <= VSOCKENC_MAX_SLOTS);
  }
}

static bool any_open(void) {
  for (unsigned i = 0; i < VIRGL_MAX_CLIENTS; i++) {
    if (virgl_clients[i].open) return true;
  }
  return false;
}

/* How many descriptors are open. (fuzz.ts has libFuzzer name no functions: it would start a
 * symbolizer behind pipes.) */
static unsigned open_descriptors(void) {
  struct pollfd all[MAX_DESCRIPTORS];
  for (int i = 0; i < MAX_DESCRIPTORS; i++) all[i] = (struct pollfd){.fd = i};
  (void)!poll(all, MAX_DESCRIPTORS, 0);
  unsigned count = 0;
  for (int i = 0; i < MAX_DESCRIPTORS; i++) count += (all[i].revents & POLLNVAL) == 0;
  return count;
}

static void start(void) {
  epoxy_glFenceSync = fence_sync;
  epoxy_glClientWaitSync = wait_sync;
  epoxy_glDeleteSync = delete_sync;
  epoxy_glFlush = nothing;
  int descriptor = memfd_create("guest", MFD_CLOEXEC);
  assert(descriptor >= 0 && ftruncate(descriptor, MEMORY_BYTES) == 0);
  memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  assert(memory != MAP_FAILED);
  virgl_server_start("");
  /* The exporter opens the memory once, and keeps it. */
  static struct iovec page;
  page = (struct iovec){memory, PAGE};
  for (unsigned i = 0; i < PEERS; i++) peers[i] = -1;
  virgl_resources_add(&(VirglResource){
      .id = 1, .kind = VIRGL_KIND_TEXTURE, .width = 16, .height = 16, .format = 1});
  virgl_resources_set_pages(1, &page, 1);
  peer_connect(0);
  peer_request(0, VIRGL_MESSAGE(hello, {.version = VSOCKENC_EXPORT_VERSION}));
  peer_request(0, VIRGL_MESSAGE(acquire, {.resource = 1, .content = vsockenc_Content_PAGES}));
  while (turn(0)) {
  }
}

static void finish(void) {
  for (unsigned i = 0; i < PEERS; i++) peer_leave(i);
  gpu = 0;
  unsigned turns = 0;
  while (turn(turns) || any_open()) assert(++turns < MAX_TURNS);
  virgl_server_reset();
  assert(fences == 0 && maps == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned at_rest;
  if (memory == NULL) {
    start();
    finish();
    at_rest = open_descriptors();
  }
  input = data;
  left = size;
  for (unsigned steps = 0; left > 0 && steps < MAX_STEPS; steps++) {
    step();
    unsigned turns = watch_count;
    for (unsigned i = 0; i < turns && turn(i); i++) check_clients();
  }
  finish();
  assert(open_descriptors() == at_rest);
  return 0;
}
