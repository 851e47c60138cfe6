/*
 * To be preloaded: gives libavcodec an encoder h264_nvenc, which is libx264 and fails as a file
 * says.
 *
 * The environment variable FAULTY_LIBAVCODEC names a file with the current fault, read at each use:
 *
 *   open crash     opening it executes an invalid instruction
 *   open hang      opening it never ends
 *   open full      it has no room for another session, in NVENC's words
 *   frame N        the Nth frame of each session fails, counted from 1
 *   hang N         the Nth frame of each session never ends
 *   close hang     closing it never ends
 *   (empty)        none
 *
 * Each use is a line of the file with ".log" behind its name, or on stderr where the process may
 * not write it: the process id, a space, and "open" with the number of the GPU, "opened", "failed"
 * or "hangs".
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <libavcodec/avcodec.h>
#include <libavutil/dict.h>
#include <libavutil/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* AVCodecContext.opaque of our sessions. */
typedef struct {
  int frames;
} Session;

static const char *path(void) {
  const char *name = getenv("FAULTY_LIBAVCODEC");
  if (!name) abort();
  return name;
}

/* Whether the current fault is `wanted`. */
static int fault_is(const char *wanted) {
  char text[64] = "";
  FILE *file = fopen(path(), "r");
  if (!file) return 0;
  const size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  text[strcspn(text, "\n")] = '\0';
  return strcmp(text, wanted) == 0;
}

static void record(const char *what, const char *detail) {
  char name[4096];
  snprintf(name, sizeof name, "%s.log", path());
  FILE *file = fopen(name, "a");
  fprintf(file ? file : stderr, "%d %s%s\n", (int)getpid(), what, detail);
  if (file) fclose(file);
}

static void hang(void) {
  record("hangs", "");
  for (;;) sleep(1);
}

const AVCodec *avcodec_find_encoder_by_name(const char *name) {
  const AVCodec *(*real)(const char *) = dlsym(RTLD_NEXT, "avcodec_find_encoder_by_name");
  return real(strcmp(name, "h264_nvenc") == 0 ? "libx264" : name);
}

static const char *option(AVDictionary *options, const char *key) {
  const AVDictionaryEntry *entry = av_dict_get(options, key, NULL, 0);
  return entry ? entry->value : NULL;
}

int avcodec_open2(AVCodecContext *context, const AVCodec *codec, AVDictionary **options) {
  int (*real)(AVCodecContext *, const AVCodec *, AVDictionary **) =
      dlsym(RTLD_NEXT, "avcodec_open2");
  /* Of NVENC's options, libx264 has no such one. */
  if (!options || !option(*options, "zerolatency")) return real(context, codec, options);
  const char *gpu = option(*options, "gpu");
  record("open ", gpu ? gpu : "any");
  if (fault_is("open crash")) __builtin_trap();
  if (fault_is("open hang")) hang();
  if (fault_is("open full")) {
    av_log(context, AV_LOG_ERROR, "OpenEncodeSessionEx failed: out of memory (10): (no details)\n");
    return AVERROR_EXTERNAL;
  }
  AVDictionary *ours = NULL;
  av_dict_set(&ours, "preset", "ultrafast", 0);
  av_dict_set(&ours, "tune", "zerolatency", 0);
  av_dict_set(&ours, "forced-idr", "1", 0);
  av_dict_set(&ours, "x264-params", "scenecut=0", 0);
  av_dict_set(&ours, "level", option(*options, "level"), 0);
  av_dict_free(options);
  const int result = real(context, codec, &ours);
  av_dict_free(&ours);
  if (result < 0) return result;
  context->opaque = calloc(1, sizeof(Session));
  record("opened", "");
  return result;
}

int avcodec_send_frame(AVCodecContext *context, const AVFrame *frame) {
  int (*real)(AVCodecContext *, const AVFrame *) = dlsym(RTLD_NEXT, "avcodec_send_frame");
  Session *session = context->opaque;
  if (session) {
    char fault[32];
    snprintf(fault, sizeof fault, "frame %d", ++session->frames);
    if (fault_is(fault)) {
      record("failed", "");
      return AVERROR_EXTERNAL;
    }
    snprintf(fault, sizeof fault, "hang %d", session->frames);
    if (fault_is(fault)) hang();
  }
  return real(context, frame);
}

void avcodec_free_context(AVCodecContext **context) {
  void (*real)(AVCodecContext **) = dlsym(RTLD_NEXT, "avcodec_free_context");
  if (*context && (*context)->opaque && fault_is("close hang")) hang();
  real(context);
}
