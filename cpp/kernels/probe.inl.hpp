// The register-only multiply-add peak of one core, for benchmarks to relate themselves to.

static double fma_peak(std::int64_t rounds) {
  constexpr int kChains = 12;  // more than ports * latency of any core so far
  Vector<float> sum[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) {
    sum[i] = broadcast(1.0f);
    asm volatile("" : "+m"(sum[i]));  // the compiler must not see that all chains are the same
  }
  Vector<float> factor = broadcast(0.999999f), term = broadcast(1e-6f);
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = multiply_add(sum[i], factor, term);
  }
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) asm volatile("" : : "m"(sum[i]));  // the results count as used
  return 2.0 * kLanes<float> * kChains * static_cast<double>(rounds);
}
