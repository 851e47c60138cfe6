#include "lavc_encoder_types.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/error.h>
#include <libavutil/frame.h>
}

namespace vsockenc {

void FreeCodecContext::operator()(AVCodecContext *context) const {
  avcodec_free_context(&context);
}
void FreeFrame::operator()(AVFrame *frame) const {
  av_frame_free(&frame);
}
void FreePacket::operator()(AVPacket *packet) const {
  av_packet_free(&packet);
}

std::string AvError(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

}  // namespace vsockenc
