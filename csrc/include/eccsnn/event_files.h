// Records of event files to events and back: AEDAT 2.0 of a DVS128, and the 40-bit binary of an ATIS.
//
// Everything is in blocks of whole records, so that a file of any size is read in bounded memory; opening
// files, headers and names are the caller's (python/eccsnn/data/events/files.py). All times are microseconds.
//
//   AEDAT 2.0   8 bytes, big-endian: address (uint32), timestamp (uint32, which wraps). Address of a DVS128:
//               bit 0 darker, bits 1-7 and 8-14 the two coordinates, counted from the far corner, so that
//               y = 127 - bits 1-7 and x = 127 - bits 8-14; all other bits are 0. A timestamp is taken as a
//               step modulo 2^32 from the one before, forward below 2^31, else back.
//   ATIS        5 bytes: x, y, then big-endian 24 bits: brighter (1 bit), timestamp (23 bits). A record with
//               y = 240, just below the sensor, is no event: every later timestamp counts 2^13 us more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace eccsnn {

enum class EventFormat { kAedat2, kAtis };

inline constexpr int kDvs128Size = 128;              // width and height
inline constexpr int kAtisColumns = 256;             // what 8 bits hold
inline constexpr int kAtisOverflowRow = 240;         // y of a record that is no event
inline constexpr std::int64_t kAtisOverflow = 8192;  // us that such a record adds

constexpr int record_bytes(EventFormat format) { return format == EventFormat::kAedat2 ? 8 : 5; }

// What is wrong with a file, or with events that a format cannot hold; says where and what was expected.
class EventFileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Where decoded events go; each array has room for as many events as there are records.
struct EventArrays {
  std::int64_t* t;
  std::uint16_t* x;
  std::uint16_t* y;
  std::uint8_t* polarity;
};

// Events to be encoded.
struct EventView {
  const std::int64_t* t;
  const std::uint16_t* x;
  const std::uint16_t* y;
  const std::uint8_t* polarity;
};

// What a decoder left out.
struct EventFaults {
  std::int64_t time_back = 0;        // events before the last good one
  std::int64_t outside = 0;          // events outside the sensor, or with address bits that no DVS128 sets
  std::int64_t truncated_bytes = 0;  // of a last record that is not whole
  std::string first;                 // what the first of them was
};

// Decodes the records of one file, block after block.
class EventDecoder {
 public:
  // `offset` is where the first record is in the file, for messages. With `skip`, bad records are counted
  // and left out; else the first one throws. Throws std::invalid_argument for a sensor that the format does
  // not have: 128 x 128 for AEDAT 2.0, up to 256 x 240 for ATIS.
  EventDecoder(EventFormat format, int width, int height, bool skip, std::int64_t offset);

  // Decodes the next `size` bytes; returns how many events were written. Only the last block of a file may
  // end in a part of a record. Throws EventFileError.
  std::int64_t decode(const std::uint8_t* bytes, std::size_t size, const EventArrays& out);

  std::int64_t records() const { return records_; }
  const EventFaults& faults() const { return faults_; }

 private:
  std::int64_t decode_slowly(const std::uint8_t* bytes, std::int64_t count, const EventArrays& out);
  void fault(std::int64_t& counter, std::int64_t amount, std::int64_t record, const std::string& what);

  EventFormat format_;
  int width_, height_;
  bool skip_;
  std::int64_t offset_;
  std::int64_t records_ = 0;
  std::int64_t base_ = 0;    // what the overflow records of an ATIS so far add
  std::int64_t last_t_ = 0;  // of the last good event
  bool started_ = false;     // whether there was one
  EventFaults faults_;
};

// Encodes events of one file, block after block.
class EventEncoder {
 public:
  explicit EventEncoder(EventFormat format) : format_(format) {}

  // Appends the records of `count` events. Throws EventFileError for an event that the format cannot hold,
  // and then appends nothing.
  void encode(const EventView& events, std::int64_t count, std::vector<std::uint8_t>& out);

 private:
  void encode_aedat2(const EventView& events, std::int64_t count, std::vector<std::uint8_t>& out);
  void encode_atis(const EventView& events, std::int64_t count, std::vector<std::uint8_t>& out);
  void check(const EventView& events, std::int64_t i, int width, int height) const;
  [[noreturn]] void refuse(const std::string& what) const;

  EventFormat format_;
  std::int64_t events_ = 0;
  std::int64_t last_t_ = 0;
  std::int64_t base_ = 0;  // what the overflow records so far add
};

}  // namespace eccsnn
