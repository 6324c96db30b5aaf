// Statistics of spike counts in NumPy arrays; `eccsnn.incremental.statistics` is what people use.
#include "count_statistics.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "eccsnn/count_statistics.h"

namespace py = pybind11;

namespace {

using eccsnn::ClassCounts;
using eccsnn::CountRows;
using eccsnn::CountStatistics;
using eccsnn::CountType;
using Labels = py::array_t<std::int64_t, py::array::c_style>;
template <class T>
using Matrix = py::array_t<T, py::array::c_style>;

// Runs work on `threads` threads. Where the system gives no more of them, this one does the rest.
eccsnn::ParallelFor on_threads(std::int64_t threads) {
  return [threads](std::int64_t count, const std::function<void(std::int64_t, std::int64_t)>& work) {
    const std::int64_t parts = std::clamp<std::int64_t>(threads, 1, std::max<std::int64_t>(count, 1));
    std::vector<std::thread> others;
    others.reserve(static_cast<std::size_t>(parts - 1));
    std::int64_t begun = count / parts;
    for (std::int64_t i = 1; i < parts; ++i) {
      const std::int64_t begin = count * i / parts, end = count * (i + 1) / parts;
      try {
        others.emplace_back(work, begin, end);
      } catch (const std::system_error&) {
        work(begin, end);
      }
    }
    work(0, begun);
    for (std::thread& other : others) other.join();
  };
}

template <class T>
CountRows rows_of(const CountStatistics& self, const Matrix<T>& features, const Labels& labels) {
  if (features.ndim() != 2 || features.shape(1) != self.features()) {
    std::string shape;
    for (py::ssize_t i = 0; i < features.ndim(); ++i) {
      if (i) shape.append(", ");
      shape.append(std::to_string(features.shape(i)));
    }
    throw std::invalid_argument("features have shape [" + shape + "], expected [N, " +
                                std::to_string(self.features()) + "] as the state has");
  }
  if (labels.ndim() != 1 || labels.shape(0) != features.shape(0)) {
    throw std::invalid_argument("there are " + std::to_string(labels.size()) + " labels for " +
                                std::to_string(features.shape(0)) + " samples; expected one each");
  }
  return {features.data(), sizeof(T) == 1 ? CountType::kUint8 : CountType::kInt16, labels.data(),
          features.shape(0)};
}

template <class T>
void add(CountStatistics& self, const Matrix<T>& features, const Labels& labels, std::int64_t threads) {
  const CountRows rows = rows_of(self, features, labels);
  py::gil_scoped_release release;
  self.add(rows, on_threads(threads));
}

template <class T>
void subtract(CountStatistics& self, const Matrix<T>& features, const Labels& labels, std::int64_t threads) {
  const CountRows rows = rows_of(self, features, labels);
  py::gil_scoped_release release;
  self.subtract(rows, on_threads(threads));
}

CountStatistics from_parts(std::int64_t max_count, const Labels& ids, const Labels& samples,
                           const Matrix<std::int64_t>& sums, const Matrix<std::int64_t>& moment) {
  if (ids.ndim() != 1 || samples.ndim() != 1 || sums.ndim() != 2 || moment.ndim() != 2 ||
      samples.shape(0) != ids.shape(0) || sums.shape(0) != ids.shape(0) || moment.shape(0) != sums.shape(1) ||
      moment.shape(1) != sums.shape(1)) {
    throw std::invalid_argument("expected ids [K], samples [K], sums [K, D] and moment [D, D]");
  }
  CountStatistics::Classes classes;
  const std::int64_t features = sums.shape(1);
  for (py::ssize_t k = 0; k < ids.shape(0); ++k) {
    if (samples.at(k) == 0) continue;
    ClassCounts& entry = classes[ids.at(k)];
    if (!entry.sums.empty())
      throw std::invalid_argument("class " + std::to_string(ids.at(k)) + " is given twice");
    entry.samples = samples.at(k);
    entry.sums.assign(sums.data(k, 0), sums.data(k, 0) + features);
  }
  return CountStatistics::from_parts(features, max_count, std::move(classes), moment.data());
}

template <class T>
Matrix<T> moment(const CountStatistics& self) {
  Matrix<T> result({self.features(), self.features()});
  T* const to = result.mutable_data();
  {
    py::gil_scoped_release release;
    self.write_moment(to);
  }
  return result;
}

Matrix<std::int64_t> sums(const CountStatistics& self) {
  Matrix<std::int64_t> result(
      {static_cast<py::ssize_t>(self.classes().size()), static_cast<py::ssize_t>(self.features())});
  std::int64_t* to = result.mutable_data();
  for (const auto& [id, entry] : self.classes()) to = std::copy(entry.sums.begin(), entry.sums.end(), to);
  return result;
}

Labels per_class(const CountStatistics& self, bool ids) {
  Labels result(static_cast<py::ssize_t>(self.classes().size()));
  std::int64_t* to = result.mutable_data();
  for (const auto& [id, entry] : self.classes()) *to++ = ids ? id : entry.samples;
  return result;
}

std::pair<CountStatistics, py::bytes> parse(const py::bytes& data) {
  char* at = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(data.ptr(), &at, &size) != 0) throw py::error_already_set();
  CountStatistics::Source source;
  CountStatistics state = CountStatistics::parse(reinterpret_cast<const std::uint8_t*>(at),
                                                 static_cast<std::size_t>(size), &source);
  return {std::move(state), py::bytes(reinterpret_cast<const char*>(source.data()), source.size())};
}

py::bytes serialize(const CountStatistics& self, const py::bytes& source) {
  const std::string name = source;
  const std::vector<std::uint8_t> bytes = self.serialize({name.begin(), name.end()});
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace

void bind_count_statistics(py::module_& m) {
  py::register_exception<eccsnn::CountStatisticsError>(m, "CountStatisticsError", PyExc_ValueError);
  const auto features = py::arg("features").noconvert();
  const auto labels = py::arg("labels").noconvert();
  py::class_<CountStatistics>(m, "CountStatistics", "Exact statistics of integer features in 0..max_count.")
      .def(py::init<std::int64_t, std::int64_t>(), py::arg("features"), py::arg("max_count"))
      .def(py::init<const CountStatistics&>(), py::arg("other"))
      .def_static(
          "from_parts", &from_parts, py::arg("max_count"), py::arg("ids").noconvert(),
          py::arg("samples").noconvert(), py::arg("sums").noconvert(), py::arg("moment").noconvert(),
          "A state from its parts; of `moment` the upper triangle counts. Raises CountStatisticsError.")
      .def_static("parse", &parse, py::arg("data"),
                  "A state and its source from a file's bytes. Raises CountStatisticsError.")
      .def("serialize", &serialize, py::arg("source"), "The bytes of a state file; `source` has 32 bytes.")
      .def("add", &add<std::uint8_t>, features, labels, py::arg("threads") = 1)
      .def("add", &add<std::int16_t>, features, labels, py::arg("threads") = 1)
      .def("subtract", &subtract<std::uint8_t>, features, labels, py::arg("threads") = 1)
      .def("subtract", &subtract<std::int16_t>, features, labels, py::arg("threads") = 1)
      .def("merge", &CountStatistics::merge, py::arg("other"))
      .def(
          "subtract_state", [](CountStatistics& self, const CountStatistics& other) { self.subtract(other); },
          py::arg("other"))
      .def_property_readonly("features", &CountStatistics::features)
      .def_property_readonly("max_count", &CountStatistics::max_count)
      .def_property_readonly("total", &CountStatistics::samples)
      .def_property_readonly("ids", [](const CountStatistics& self) { return per_class(self, true); })
      .def_property_readonly("samples", [](const CountStatistics& self) { return per_class(self, false); })
      .def_property_readonly("sums", &sums)
      .def_property_readonly("wide", &CountStatistics::wide)
      .def_property_readonly("state_bytes", &CountStatistics::state_bytes)
      .def("moment", &moment<std::int64_t>, "The second moment, int64 [D, D].")
      .def("moment_float64", &moment<double>, "The second moment, float64 [D, D].")
      .def(
          "__eq__", [](const CountStatistics& self, const CountStatistics& other) { return self == other; },
          py::is_operator());
  m.attr("COUNT_STATISTICS_VERSION") = eccsnn::kCountStatisticsVersion;
}
