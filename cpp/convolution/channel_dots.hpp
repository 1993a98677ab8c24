// Gradients of an input of few channels, channels last, from many: a target is the sum of dot products of pixels of
// grad_output and rows of the weight, both read where they lie.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

bool channel_dots_accept(const Correlation& part);

// Runs every correlation (they write disjoint targets). bias: one value per target channel of all groups, or null.
template <class T>
void run_channel_dots(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads);

}  // namespace convpool
