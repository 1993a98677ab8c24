// Row tiles: convolution with few target channels in a group, where packing a matrix would cost more than the products.
// The source rows are padded once and every tap reads them where they lie.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

// Few enough target channels in a group (or, for the gradient of the weight, pairs of channels) and few enough padded
// rows.
bool row_tiles_accept(const KernelTable& table, const Correlation& part);
bool row_grad_weight_accepts(const Correlation& part);

template <class T>
void run_row_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                   const T* bias, T* target, int num_threads);

template <class T>
void row_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                     T* grad_weight, int num_threads);

}  // namespace convpool
