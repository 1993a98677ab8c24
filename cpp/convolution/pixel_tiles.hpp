// Pixel tiles: forward pass and gradients as products of pixels, whose channels lie together, with vectors of output
// channels. Channels last, most pixels are read and written where they lie.
#pragma once

#include "convolution/correlation.hpp"

namespace convpool {

bool pixel_tiles_accept(const Correlation& part);

// Runs every correlation (they write disjoint targets). bias: one value per target channel of all groups, or null.
template <class T>
void run_pixel_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                     const T* bias, T* target, int num_threads);

// The same by products of matrices, of values split into two or three parts; float32 only.
bool matrix_tiles_accept(const Correlation& part);
template <class T, int Parts>
void run_matrix_tiles(const KernelTable* table, const std::vector<Correlation>& parts, const T* source, const T* weight,
                      const T* bias, T* target, int num_threads);

// Gradient of the weight of the forward correlation `part`: grad_output lies on the target.
template <class T>
void pixel_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                       T* grad_weight, int num_threads);

// The same by products of matrices.
bool matrix_grad_weight_accepts(const Correlation& part);
template <class T, int Parts>
void matrix_grad_weight(const KernelTable* table, const Correlation& part, const T* source, const T* grad_output,
                        T* grad_weight, int num_threads);

}  // namespace convpool
