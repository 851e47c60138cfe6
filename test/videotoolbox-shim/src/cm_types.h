// CoreMedia's objects.
#pragma once

#include <CoreMedia/CoreMedia.h>

#include <memory>
#include <vector>

#include "cf_types.h"

struct OpaqueCMBlockBuffer final : vt_shim::ObjectOf<OpaqueCMBlockBuffer> {
  // Pieces of at most `piece_size` bytes, each an allocation of its own; 0: one piece.
  OpaqueCMBlockBuffer(const std::vector<uint8_t> &bytes, size_t piece_size);
  // The piece that holds `offset`, and where in it; nullptr behind the end.
  char *At(size_t offset, size_t *rest_of_piece) const;
  void Finalize() override { pieces.clear(); }

  struct Piece {
    std::unique_ptr<char[]> bytes;
    size_t size;
  };
  std::vector<Piece> pieces;
  size_t length;
};

struct opaqueCMFormatDescription final : vt_shim::ObjectOf<opaqueCMFormatDescription> {
  opaqueCMFormatDescription(CMVideoCodecType codec_type, CMVideoDimensions size,
                            std::vector<std::vector<uint8_t>> sets, int length_size,
                            vt_shim::Ref<__CFDictionary> extension_dictionary);
  bool Equals(const Object &other) const override;
  void Finalize() override;

  CMVideoCodecType codec;
  CMVideoDimensions dimensions;
  std::vector<std::vector<uint8_t>> parameter_sets;
  int nal_length_size;
  vt_shim::Ref<__CFDictionary> extensions;
};

struct opaqueCMSampleBuffer final : vt_shim::ObjectOf<opaqueCMSampleBuffer> {
  opaqueCMSampleBuffer();
  void Finalize() override;

  vt_shim::Ref<OpaqueCMBlockBuffer> data;
  vt_shim::Ref<opaqueCMFormatDescription> format;
  vt_shim::Ref<__CFArray> attachments;
  CMTime pts = kCMTimeInvalid;
  CMTime dts = kCMTimeInvalid;
  CMTime duration = kCMTimeInvalid;
};

namespace vt_shim {

template <>
inline constexpr Type kTypeOf<OpaqueCMBlockBuffer>{"CMBlockBuffer", 20};
template <>
inline constexpr Type kTypeOf<opaqueCMFormatDescription>{"CMFormatDescription", 21};
template <>
inline constexpr Type kTypeOf<opaqueCMSampleBuffer>{"CMSampleBuffer", 22};

}  // namespace vt_shim
