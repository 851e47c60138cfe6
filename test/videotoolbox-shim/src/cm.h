// CoreMedia's objects.
#pragma once

#include <CoreMedia/CoreMedia.h>

#include <memory>
#include <vector>

#include "cf.h"

struct OpaqueCMBlockBuffer final : vt_shim::ObjectOf<OpaqueCMBlockBuffer> {
  static constexpr char kType[] = "CMBlockBuffer";
  // Pieces of at most `piece_size` bytes, each an allocation of its own; 0: one piece.
  OpaqueCMBlockBuffer(const std::vector<uint8_t> &bytes, size_t piece_size);

  std::vector<std::vector<uint8_t>> pieces;
  const size_t length;
};

struct opaqueCMFormatDescription final : vt_shim::ObjectOf<opaqueCMFormatDescription> {
  static constexpr char kType[] = "CMFormatDescription";

  CMVideoCodecType codec;
  std::vector<std::vector<uint8_t>> parameter_sets;
  int nal_length_size;
};

struct opaqueCMSampleBuffer final : vt_shim::ObjectOf<opaqueCMSampleBuffer> {
  static constexpr char kType[] = "CMSampleBuffer";

  vt_shim::Ref<OpaqueCMBlockBuffer> data;
  vt_shim::Ref<opaqueCMFormatDescription> format;
  vt_shim::Ref<__CFArray> attachments;
  CMTime dts = kCMTimeInvalid;
};
