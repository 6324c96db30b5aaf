// The event decoders of every instruction set; for event_files.cpp, and for the tests that compare them.
#pragma once

#include "dispatch.h"
#include "eccsnn/event_files.h"

namespace eccsnn {

// Records that are decoded, and where need be decoded again, at once.
inline constexpr std::int64_t kEventBlock = 2048;

// Records that are hoped to be in order; time = base + timestamp, `before` is that of the event before them.
struct EventRecords {
  const std::uint8_t* bytes;
  std::int64_t count;  // 1 to kEventBlock
  std::int64_t base, before;
  int width, height;
};

}  // namespace eccsnn

// Each returns false where a record is not in order (outside, an overflow, or a step in time
// that is negative or 2^31 and more); what it wrote is then worth nothing.
ECCSNN_DECLARE_KERNEL(bool, decode_aedat2_kernel, (const EventRecords& records, const EventArrays& out))
ECCSNN_DECLARE_KERNEL(bool, decode_atis_kernel, (const EventRecords& records, const EventArrays& out))
