// The forms of a timestep that need no model: raw bits, addresses of spikes, and runs between spikes.
//
// A timestep is a string of bits in coding order: positions row by row, the channels of a position in order,
// without the padding of the packed layout. Bits of a payload fill its bytes from the lowest bit up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "eccsnn/spike_codec.h"

namespace eccsnn {

// Packed [H, W, ceil(C / 8)] to dense bits, ceil(C H W / 8) bytes with 0 past the last, and back.
void packed_to_dense(const SpikeGeometry& geometry, const std::uint8_t* packed, std::uint8_t* dense);
void dense_to_packed(const SpikeGeometry& geometry, const std::uint8_t* dense, std::uint8_t* packed);

std::int64_t count_ones(const std::uint8_t* dense, std::int64_t bytes);

// Addresses: ceil(log2(bits)) bits a spike, ascending, until the payload ends.
int address_bits(std::int64_t bits);
void put_addresses(const std::uint8_t* dense, std::int64_t bits, std::vector<std::uint8_t>& out);

// Runs: four bits r, then for each spike the number of zeros before it, Golomb-Rice coded: quotient by 2^r as
// ones and a zero, remainder in r bits. Ones fill the last byte.
int run_parameter(std::int64_t bits, std::int64_t spikes);
// Bits that runs need, and about how many without looking at each.
std::int64_t run_bits(const std::uint8_t* dense, std::int64_t bits, int parameter);
std::int64_t expected_run_bits(const std::uint8_t* dense, std::int64_t bits, std::int64_t spikes,
                               int parameter);
void put_runs(const std::uint8_t* dense, std::int64_t bits, int parameter, std::vector<std::uint8_t>& out);

// Read into dense bits, which are zero before. They throw SpikePacketError for what the encoder does not
// write.
void get_addresses(const std::uint8_t* data, std::size_t size, std::int64_t bits, std::uint8_t* dense);
void get_runs(const std::uint8_t* data, std::size_t size, std::int64_t bits, std::uint8_t* dense);

}  // namespace eccsnn
