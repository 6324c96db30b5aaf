// `_core`'s part of the exact statistics of spike counts.
#pragma once

#include <pybind11/pybind11.h>

void bind_count_statistics(pybind11::module_& m);
