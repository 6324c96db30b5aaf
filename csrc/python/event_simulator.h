#pragma once

#include <pybind11/pybind11.h>

void bind_event_simulator(pybind11::module_& m);
