// The transforms of one axis, in both directions: F(outputs, taps).
//
// For the finite points x_j: `source` has the coefficients of the product of (x - x_i) over all other points, `weights`
// the powers 1, x_j, x_j^2 over the product of (x_j - x_i), `products` the powers x_j^i. `gradient` and
// `weight_gradient` are the adjoints of `products` and `weights`. The last point is infinity, where weights have their
// last tap: without it, nothing is multiplied there.
// Source: Lavin and Gray, arXiv:1509.09308; points after Barabasz et al., arXiv:1803.10986.

// even + point * odd and even - point * odd.
template <class T>
static inline __attribute__((always_inline)) void point_pair(T point, Vector<T> even, Vector<T> odd, Vector<T>& plus,
                                                             Vector<T>& minus) {
  plus = multiply_add(broadcast(point), odd, even);
  minus = multiply_add(broadcast(-point), odd, even);
}

// What two pairs of points and the last point give four outputs, and the adjoint for the pairs.
template <class T>
static inline __attribute__((always_inline)) void pair_products(T near, T far, const Vector<T>* m, Vector<T> last,
                                                                Vector<T> (&y)[4]) {
  const Vector<T> near_sum = m[0] + m[1], near_difference = m[0] - m[1];
  const Vector<T> far_sum = m[2] + m[3], far_difference = m[2] - m[3];
  y[0] = near_sum + far_sum;
  y[1] = multiply_add(broadcast(near), near_difference, broadcast(far) * far_difference);
  y[2] = multiply_add(broadcast(near * near), near_sum, broadcast(far * far) * far_sum);
  y[3] = multiply_add(broadcast(near * near * near), near_difference,
                      multiply_add(broadcast(far * far * far), far_difference, last));
}
template <class T>
static inline __attribute__((always_inline)) void pair_gradients(T near, T far, const Vector<T> (&y)[4], Vector<T>* m) {
  point_pair(near, multiply_add(broadcast(near * near), y[2], y[0]), multiply_add(broadcast(near * near), y[3], y[1]),
             m[0], m[1]);
  point_pair(far, multiply_add(broadcast(far * far), y[2], y[0]), multiply_add(broadcast(far * far), y[3], y[1]), m[2],
             m[3]);
}

// Two taps.
template <class T>
struct F22 {
  static constexpr int kOutputs = 2, kPoints = 3, kTaps = 2;

  static inline __attribute__((always_inline)) void source(const Vector<T> (&d)[3], Vector<T> (&v)[3]) {
    v[0] = d[0] - d[1];
    v[1] = d[1];
    v[2] = d[2] - d[1];
  }
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[2], Vector<T> (&u)[3]) {
    u[0] = g[0];
    u[1] = g[0] + g[1];
    u[2] = g[1];
  }
  static inline __attribute__((always_inline)) void products(const Vector<T> (&m)[3], Vector<T> (&y)[2]) {
    y[0] = m[0] + m[1];
    y[1] = m[1] + m[2];
  }
  static inline __attribute__((always_inline)) void gradient(const Vector<T> (&y)[2], Vector<T> (&m)[3]) {
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[1];
  }
  static inline __attribute__((always_inline)) void weight_gradient(const Vector<T> (&u)[3], Vector<T> (&g)[2]) {
    g[0] = u[0] + u[1];
    g[1] = u[1] + u[2];
  }
};

template <class T>
struct F42 {
  static constexpr int kOutputs = 4, kPoints = 5, kTaps = 2;
  static constexpr T kNear = T(0.375), kFar = T(1.25), kNear2 = kNear * kNear, kFar2 = kFar * kFar;
  static constexpr T kNearNorm = 1 / (2 * (kNear2 - kFar2)), kFarNorm = 1 / (2 * (kFar2 - kNear2));

  static inline __attribute__((always_inline)) void source(const Vector<T> (&d)[5], Vector<T> (&v)[5]) {
    const Vector<T> near2 = broadcast(-kNear2), far2 = broadcast(-kFar2);
    point_pair(kNear, multiply_add(far2, d[1], d[3]), multiply_add(far2, d[0], d[2]), v[0], v[1]);
    point_pair(kFar, multiply_add(near2, d[1], d[3]), multiply_add(near2, d[0], d[2]), v[2], v[3]);
    v[4] = multiply_add(broadcast(kNear2 * kFar2), d[0], multiply_add(broadcast(-(kNear2 + kFar2)), d[2], d[4]));
  }
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[2], Vector<T> (&u)[5]) {
    const Vector<T> near_norm = broadcast(kNearNorm), far_norm = broadcast(kFarNorm);
    point_pair(1 / kNear, near_norm * g[1], near_norm * g[0], u[0], u[1]);
    point_pair(1 / kFar, far_norm * g[1], far_norm * g[0], u[2], u[3]);
    u[4] = g[1];
  }
  static inline __attribute__((always_inline)) void products(const Vector<T> (&m)[5], Vector<T> (&y)[4]) {
    pair_products(kNear, kFar, m, m[4], y);
  }
  static inline __attribute__((always_inline)) void gradient(const Vector<T> (&y)[4], Vector<T> (&m)[5]) {
    pair_gradients(kNear, kFar, y, m);
    m[4] = y[3];
  }
  static inline __attribute__((always_inline)) void weight_gradient(const Vector<T> (&u)[5], Vector<T> (&g)[2]) {
    const Vector<T> near_norm = broadcast(kNearNorm), far_norm = broadcast(kFarNorm);
    g[0] = multiply_add(broadcast(1 / kNear) * near_norm, u[0] - u[1], broadcast(1 / kFar) * far_norm * (u[2] - u[3]));
    g[1] = multiply_add(near_norm, u[0] + u[1], multiply_add(far_norm, u[2] + u[3], u[4]));
  }
};

// Three taps.
template <class T>
struct F23 {
  static constexpr int kOutputs = 2, kPoints = 4, kTaps = 3;

  static inline __attribute__((always_inline)) void source(const Vector<T> (&d)[4], Vector<T> (&v)[4]) {
    v[0] = d[2] - d[0];
    v[1] = d[2] + d[1];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[3], Vector<T> (&u)[4]) {
    const Vector<T> half = broadcast(T(0.5)), even = half * (g[0] + g[2]), odd = half * g[1];
    u[0] = -g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }
  static inline __attribute__((always_inline)) void products(const Vector<T> (&m)[4], Vector<T> (&y)[2]) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = m[3] + (m[1] - m[2]);
  }
  static inline __attribute__((always_inline)) void gradient(const Vector<T> (&y)[2], Vector<T> (&m)[4]) {
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[0] - y[1];
    m[3] = y[1];
  }
  static inline __attribute__((always_inline)) void weight_gradient(const Vector<T> (&u)[4], Vector<T> (&g)[3]) {
    const Vector<T> half = broadcast(T(0.5)), even = half * (u[1] + u[2]);
    g[0] = even - u[0];
    g[1] = half * (u[1] - u[2]);
    g[2] = even + u[3];
  }
};

template <class T>
struct F43 {
  static constexpr int kOutputs = 4, kPoints = 6, kTaps = 3;
  static constexpr T kNear = T(0.625), kFar = T(1.5), kNear2 = kNear * kNear, kFar2 = kFar * kFar;
  static constexpr T kZeroNorm = 1 / (kNear2 * kFar2), kNearNorm = 1 / (2 * kNear2 * (kNear2 - kFar2)),
                     kFarNorm = 1 / (2 * kFar2 * (kFar2 - kNear2));

  static inline __attribute__((always_inline)) void source(const Vector<T> (&d)[6], Vector<T> (&v)[6]) {
    const Vector<T> product = broadcast(kNear2 * kFar2), sum = broadcast(-(kNear2 + kFar2));
    const Vector<T> near2 = broadcast(-kNear2), far2 = broadcast(-kFar2);
    v[0] = multiply_add(product, d[0], multiply_add(sum, d[2], d[4]));
    point_pair(kNear, multiply_add(far2, d[2], d[4]), multiply_add(far2, d[1], d[3]), v[1], v[2]);
    point_pair(kFar, multiply_add(near2, d[2], d[4]), multiply_add(near2, d[1], d[3]), v[3], v[4]);
    v[5] = multiply_add(product, d[1], multiply_add(sum, d[3], d[5]));
  }
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[3], Vector<T> (&u)[6]) {
    u[0] = broadcast(kZeroNorm) * g[0];
    const Vector<T> near_norm = broadcast(kNearNorm), far_norm = broadcast(kFarNorm);
    point_pair(kNear, near_norm * multiply_add(broadcast(kNear2), g[2], g[0]), near_norm * g[1], u[1], u[2]);
    point_pair(kFar, far_norm * multiply_add(broadcast(kFar2), g[2], g[0]), far_norm * g[1], u[3], u[4]);
    u[5] = g[2];
  }
  static inline __attribute__((always_inline)) void products(const Vector<T> (&m)[6], Vector<T> (&y)[4]) {
    pair_products(kNear, kFar, m + 1, m[5], y);
    y[0] = m[0] + y[0];
  }
  static inline __attribute__((always_inline)) void gradient(const Vector<T> (&y)[4], Vector<T> (&m)[6]) {
    m[0] = y[0];
    pair_gradients(kNear, kFar, y, m + 1);
    m[5] = y[3];
  }
  static inline __attribute__((always_inline)) void weight_gradient(const Vector<T> (&u)[6], Vector<T> (&g)[3]) {
    const Vector<T> near_norm = broadcast(kNearNorm), far_norm = broadcast(kFarNorm);
    const Vector<T> near_sum = near_norm * (u[1] + u[2]), near_difference = near_norm * (u[1] - u[2]);
    const Vector<T> far_sum = far_norm * (u[3] + u[4]), far_difference = far_norm * (u[3] - u[4]);
    g[0] = multiply_add(broadcast(kZeroNorm), u[0], near_sum + far_sum);
    g[1] = multiply_add(broadcast(kNear), near_difference, broadcast(kFar) * far_difference);
    g[2] = multiply_add(broadcast(kNear2), near_sum, multiply_add(broadcast(kFar2), far_sum, u[5]));
  }
};

// An axis of one tap stays as it is.
template <class T>
struct F11 {
  static constexpr int kOutputs = 1, kPoints = 1, kTaps = 1;

  static inline __attribute__((always_inline)) void source(const Vector<T> (&d)[1], Vector<T> (&v)[1]) { v[0] = d[0]; }
  static inline __attribute__((always_inline)) void weights(const Vector<T> (&g)[1], Vector<T> (&u)[1]) { u[0] = g[0]; }
  static inline __attribute__((always_inline)) void products(const Vector<T> (&m)[1], Vector<T> (&y)[1]) {
    y[0] = m[0];
  }
  static inline __attribute__((always_inline)) void gradient(const Vector<T> (&y)[1], Vector<T> (&m)[1]) {
    m[0] = y[0];
  }
  static inline __attribute__((always_inline)) void weight_gradient(const Vector<T> (&u)[1], Vector<T> (&g)[1]) {
    g[0] = u[0];
  }
};
