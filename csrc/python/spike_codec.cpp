// The spike codec in NumPy arrays and bytes; `eccsnn.transport.spike_codec` is what people use.
#include "spike_codec.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "eccsnn/byte_codec.h"
#include "eccsnn/spike_codec.h"

namespace py = pybind11;

namespace {

using eccsnn::SpikeDecoder;
using eccsnn::SpikeEncoder;
using eccsnn::SpikeGeometry;
using eccsnn::SpikeTables;
using Tables = std::shared_ptr<SpikeTables>;  // immutable; pybind11 holds no pointer to const
using Packed = py::array_t<std::uint8_t, py::array::c_style>;
using Bytes = std::vector<std::uint8_t>;

struct View {
  const std::uint8_t* data;
  std::size_t size;
};

View view(const py::bytes& bytes) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(bytes.ptr(), &data, &size) != 0) throw py::error_already_set();
  return {reinterpret_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)};
}

py::bytes to_bytes(const Bytes& bytes) {
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Packed spikes [T, H, W, ceil(C / 8)] of this geometry; returns T.
std::int64_t check_packed(const Packed& packed, const SpikeGeometry& geometry) {
  if (packed.ndim() != 4 || packed.shape(1) != geometry.height || packed.shape(2) != geometry.width ||
      packed.shape(3) != geometry.packed_channels()) {
    std::string shape;
    for (py::ssize_t i = 0; i < packed.ndim(); ++i) {
      if (i) shape.append(", ");
      shape.append(std::to_string(packed.shape(i)));
    }
    throw std::invalid_argument("packed spikes have shape [" + shape + "], expected [T, " +
                                std::to_string(geometry.height) + ", " + std::to_string(geometry.width) +
                                ", " + std::to_string(geometry.packed_channels()) +
                                "] as the tables' geometry says");
  }
  return packed.shape(0);
}

py::list encode(SpikeEncoder& encoder, const SpikeGeometry& geometry, const Packed& packed) {
  const std::int64_t timesteps = check_packed(packed, geometry);
  std::vector<Bytes> packets(static_cast<std::size_t>(timesteps));
  {
    const std::uint8_t* at = packed.data();
    py::gil_scoped_release release;
    encoder.check(at, timesteps);
    for (Bytes& packet : packets) {
      encoder.encode(at, packet);
      at += geometry.packed_bytes();
    }
  }
  py::list result;
  for (const Bytes& packet : packets) result.append(to_bytes(packet));
  return result;
}

Packed decode(SpikeDecoder& decoder, const SpikeGeometry& geometry, const std::vector<py::bytes>& packets) {
  std::vector<View> views;
  for (const py::bytes& packet : packets) views.push_back(view(packet));
  Packed packed({static_cast<py::ssize_t>(packets.size()), static_cast<py::ssize_t>(geometry.height),
                 static_cast<py::ssize_t>(geometry.width),
                 static_cast<py::ssize_t>(geometry.packed_channels())});
  std::uint8_t* at = packed.mutable_data();
  {
    py::gil_scoped_release release;
    for (const View& packet : views) {
      decoder.decode(packet.data, packet.size, at);
      at += geometry.packed_bytes();
    }
  }
  return packed;
}

// What Python holds: a coder with the geometry that it checks arrays against.
struct PyEncoder {
  Tables tables;
  SpikeEncoder encoder;
};
struct PyDecoder {
  Tables tables;
  SpikeDecoder decoder;
};

}  // namespace

void bind_spike_codec(py::module_& m) {
  py::register_exception<eccsnn::SpikePacketError>(m, "SpikePacketError", PyExc_ValueError);

  py::class_<SpikeTables, Tables>(m, "SpikeTables",
                                  "What both ends of a spike stream know: geometry and probabilities.")
      .def_static(
          "flat",
          [](std::int64_t channels, std::int64_t height, std::int64_t width) {
            return std::const_pointer_cast<SpikeTables>(SpikeTables::flat({channels, height, width}));
          },
          py::arg("channels"), py::arg("height"), py::arg("width"), "Tables that nothing was learnt for.")
      .def_static(
          "parse",
          [](const py::bytes& data) {
            const View bytes = view(data);
            py::gil_scoped_release release;
            return std::const_pointer_cast<SpikeTables>(SpikeTables::parse(bytes.data, bytes.size));
          },
          py::arg("data"), "Tables as the rate model exports them. Raises SpikePacketError.")
      .def_property_readonly("id", &SpikeTables::id)
      .def_property_readonly("shape", [](const SpikeTables& tables) {
        const SpikeGeometry& geometry = tables.geometry();
        return py::make_tuple(geometry.channels, geometry.height, geometry.width);
      });

  py::class_<PyEncoder>(m, "SpikeEncoder", "The sending end of one stream.")
      .def(py::init([](const std::shared_ptr<SpikeTables>& tables) {
             return PyEncoder{tables, SpikeEncoder(tables)};
           }),
           py::arg("tables"))
      .def(
          "encode",
          [](PyEncoder& self, const Packed& packed) {
            return encode(self.encoder, self.tables->geometry(), packed);
          },
          py::arg("packed").noconvert(),
          "Packets of the next timesteps: uint8 [T, H, W, ceil(C / 8)] to T bytes.")
      .def_property_readonly("timesteps", [](const PyEncoder& self) { return self.encoder.timesteps(); });

  py::class_<PyDecoder>(m, "SpikeDecoder", "The receiving end of one stream.")
      .def(py::init([](const std::shared_ptr<SpikeTables>& tables) {
             return PyDecoder{tables, SpikeDecoder(tables)};
           }),
           py::arg("tables"))
      .def(
          "decode",
          [](PyDecoder& self, const std::vector<py::bytes>& packets) {
            return decode(self.decoder, self.tables->geometry(), packets);
          },
          py::arg("packets"),
          "The next timesteps: T packets to uint8 [T, H, W, ceil(C / 8)]. Raises SpikePacketError.")
      .def_property_readonly("timesteps", [](const PyDecoder& self) { return self.decoder.timesteps(); });

  m.def(
      "spike_stream_tables_id",
      [](const py::bytes& packet) {
        const View bytes = view(packet);
        return eccsnn::stream_tables_id(bytes.data, bytes.size);
      },
      py::arg("packet"), "The tables that a stream's first packet names. Raises SpikePacketError.");
  m.def(
      "encode_bytes",
      [](const Packed& features) {
        if (features.ndim() != 3) throw std::invalid_argument("features have no shape [C, H, W]");
        Bytes out;
        const SpikeGeometry geometry{features.shape(0), features.shape(1), features.shape(2)};
        {
          const std::uint8_t* data = features.data();
          py::gil_scoped_release release;
          eccsnn::encode_bytes(data, geometry, out);
        }
        return to_bytes(out);
      },
      py::arg("features").noconvert(), "Lossless code of uint8 features [C, H, W].");
  m.def(
      "decode_bytes",
      [](const py::bytes& data, py::ssize_t channels, py::ssize_t height, py::ssize_t width) {
        const View bytes = view(data);
        const SpikeGeometry geometry{channels, height, width};
        if (channels < 1 || height < 1 || width < 1 || geometry.bits() > eccsnn::kMaxFeatures)
          throw std::invalid_argument("features are out of range; expected [C, H, W] of at most 2^24 in all");
        Packed features({channels, height, width});
        std::uint8_t* const out = features.mutable_data();
        {
          py::gil_scoped_release release;
          eccsnn::decode_bytes(bytes.data, bytes.size, geometry, out);
        }
        return features;
      },
      py::arg("data"), py::arg("channels"), py::arg("height"), py::arg("width"),
      "Features of a code. Raises SpikePacketError.");
  m.attr("CODEC_SOURCES_SHA256") = ECCSNN_CODEC_SOURCES_SHA256;
  m.attr("SPIKE_CODEC_VERSION") = eccsnn::kSpikeCodecVersion;
  m.attr("SPIKE_STREAM_HEADER_BYTES") = eccsnn::kStreamHeaderBytes;
  m.attr("SPIKE_PACKET_HEADER_BYTES") = eccsnn::kPacketHeaderBytes;
}
