// `_core`'s part of event files.
#pragma once

#include <pybind11/pybind11.h>

void bind_event_files(pybind11::module_& m);
