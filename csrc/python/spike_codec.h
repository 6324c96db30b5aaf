// `_core`'s part of the spike codec.
#pragma once

#include <pybind11/pybind11.h>

void bind_spike_codec(pybind11::module_& m);
