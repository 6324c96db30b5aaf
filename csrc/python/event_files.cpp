// Records of event files in NumPy arrays and bytes; `eccsnn.data.events` is what people use.
#include "event_files.h"

#include <pybind11/numpy.h>

#include <string>
#include <vector>

#include "eccsnn/event_files.h"

namespace py = pybind11;

namespace {

using eccsnn::EventDecoder;
using eccsnn::EventEncoder;
using eccsnn::EventFormat;
template <class T>
using Array = py::array_t<T, py::array::c_style>;

EventFormat format_of(const std::string& name) {
  if (name == "aedat2") return EventFormat::kAedat2;
  if (name == "atis") return EventFormat::kAtis;
  throw std::invalid_argument("format is '" + name + "', expected aedat2 or atis");
}

// What Python holds: a decoder with the length of its records.
struct PyDecoder {
  EventFormat format;
  EventDecoder decoder;
};

py::ssize_t decode(PyDecoder& self, const Array<std::uint8_t>& bytes, Array<std::int64_t>& t,
                   Array<std::uint16_t>& x, Array<std::uint16_t>& y, Array<std::uint8_t>& polarity) {
  const py::ssize_t records = bytes.size() / eccsnn::record_bytes(self.format);
  if (t.size() < records || x.size() < records || y.size() < records || polarity.size() < records) {
    throw std::invalid_argument("the arrays have room for fewer events than the bytes have records");
  }
  const std::uint8_t* const data = bytes.data();
  const auto size = static_cast<std::size_t>(bytes.size());
  const eccsnn::EventArrays out{t.mutable_data(), x.mutable_data(), y.mutable_data(),
                                polarity.mutable_data()};
  py::gil_scoped_release release;
  return static_cast<py::ssize_t>(self.decoder.decode(data, size, out));
}

py::bytes encode(EventEncoder& self, const Array<std::int64_t>& t, const Array<std::uint16_t>& x,
                 const Array<std::uint16_t>& y, const Array<std::uint8_t>& polarity) {
  if (x.size() != t.size() || y.size() != t.size() || polarity.size() != t.size()) {
    throw std::invalid_argument("t, x, y and polarity differ in length");
  }
  const eccsnn::EventView events{t.data(), x.data(), y.data(), polarity.data()};
  const auto count = static_cast<std::int64_t>(t.size());
  std::vector<std::uint8_t> out;
  {
    py::gil_scoped_release release;
    self.encode(events, count, out);
  }
  return py::bytes(reinterpret_cast<const char*>(out.data()), out.size());
}

}  // namespace

void bind_event_files(py::module_& m) {
  py::register_exception<eccsnn::EventFileError>(m, "EventFileError", PyExc_ValueError);

  py::class_<PyDecoder>(m, "EventDecoder", "The records of one event file, block after block.")
      .def(py::init([](const std::string& format, int width, int height, bool skip, std::int64_t offset) {
             const EventFormat kind = format_of(format);
             return PyDecoder{kind, EventDecoder(kind, width, height, skip, offset)};
           }),
           py::arg("format"), py::arg("width"), py::arg("height"), py::arg("skip"), py::arg("offset"))
      .def(
          "decode", &decode, py::arg("bytes").noconvert(), py::arg("t").noconvert(), py::arg("x").noconvert(),
          py::arg("y").noconvert(), py::arg("polarity").noconvert(),
          "Decodes whole records into the arrays; returns how many events there were. Raises EventFileError.")
      .def_property_readonly("records", [](const PyDecoder& self) { return self.decoder.records(); })
      .def_property_readonly("faults", [](const PyDecoder& self) {
        const eccsnn::EventFaults& faults = self.decoder.faults();
        return py::make_tuple(faults.time_back, faults.outside, faults.truncated_bytes, faults.first);
      });

  py::class_<EventEncoder>(m, "EventEncoder", "The records of one event file, block after block.")
      .def(py::init([](const std::string& format) { return EventEncoder(format_of(format)); }),
           py::arg("format"))
      .def("encode", &encode, py::arg("t").noconvert(), py::arg("x").noconvert(), py::arg("y").noconvert(),
           py::arg("polarity").noconvert(), "The records of these events. Raises EventFileError.");
}
