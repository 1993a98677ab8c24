// Which algorithm serves a problem: the first row of a list that accepts it. The last one, the reference loops, accepts
// everything.
#pragma once

#include "pooling/pooling.hpp"

namespace convpool {

enum class PoolAlgorithm { direct, separable, scatter, reference };

PoolAlgorithm choose_pool_algorithm(const PoolGeometry& geometry, PoolPass pass);

}  // namespace convpool
