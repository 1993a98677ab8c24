// One function per room of bindings; module.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

namespace convpool::bindings {

void bind_convolution(pybind11::module_& module);
void bind_geometry(pybind11::module_& module);
void bind_max_pooling(pybind11::module_& module);
void bind_pool_numbering(pybind11::module_& module);
void bind_prepared_weight(pybind11::module_& module);
void bind_runtime(pybind11::module_& module);
void bind_sum_pooling(pybind11::module_& module);

}  // namespace convpool::bindings
