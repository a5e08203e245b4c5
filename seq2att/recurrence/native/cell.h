// The cells, elementwise: from the gates before their activations to the new state, and the backward pass.
//
// Gate order as in torch: LSTM input, forget, cell, output; GRU reset, update, new.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

enum Cell : int64_t { TANH, RELU, LSTM, GRU };
inline int64_t gates_of(int64_t cell) { return cell == LSTM ? 4 : cell == GRU ? 3 : 1; }

// exp to 2e-7 relative: 2^n e^r with |r| < ln 2 / 2 and a polynomial of degree 7 (Cephes, Moshier 1992).
inline float fast_exp(float x) {
  x = x > 88.f ? 88.f : x;
  x = x < -87.f ? -87.f : x;
  float n = __builtin_rintf(x * 1.44269504088896341f);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  uint32_t power = (static_cast<uint32_t>(static_cast<int32_t>(n)) + 127) << 23;
  float scale;
  std::memcpy(&scale, &power, 4);
  return p * scale;
}
inline double fast_exp(double x) { return std::exp(x); }

// tanh to 5e-7 relative, also near 0: a rational approximation (Eigen's, of degree 13 over 6), constant beyond 7.9.
inline float fast_tanh(float x) {
  float y = x > 7.90531110763549805f ? 7.90531110763549805f : x;
  y = y < -7.90531110763549805f ? -7.90531110763549805f : y;
  float s = y * y;
  float p = -2.76076847742355e-16f;
  p = p * s + 2.00018790482477e-13f;
  p = p * s - 8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  float q = 1.19825839466702e-06f;
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return y * p / q;
}
inline double fast_tanh(double x) { return std::tanh(x); }

template <typename T> inline T sigmoid(T x) { return T(1) / (T(1) + fast_exp(-x)); }

template <typename T> void lstm_forward(T *__restrict gates, T *__restrict hidden, T *__restrict memory,
                                        T *__restrict tanh_memory, int64_t size) {
  T *__restrict i = gates, *__restrict f = gates + size, *__restrict g = gates + 2 * size,
              *__restrict o = gates + 3 * size;
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++) {
    T in = sigmoid(i[j]), forget = sigmoid(f[j]), cell = fast_tanh(g[j]), out = sigmoid(o[j]);
    T next = forget * memory[j] + in * cell, tanh_next = fast_tanh(next);
    i[j] = in, f[j] = forget, g[j] = cell, o[j] = out;
    memory[j] = next, tanh_memory[j] = tanh_next, hidden[j] = out * tanh_next;
  }
}

// `gates` become the gradients of the gates before their activations; `d_memory` goes from c' to c.
template <typename T> void lstm_backward(T *__restrict gates, const T *__restrict memory,
                                         const T *__restrict tanh_memory, const T *__restrict d_hidden,
                                         T *__restrict d_memory, int64_t size) {
  T *__restrict i = gates, *__restrict f = gates + size, *__restrict g = gates + 2 * size,
              *__restrict o = gates + 3 * size;
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++) {
    T in = i[j], forget = f[j], cell = g[j], out = o[j], tanh_next = tanh_memory[j];
    T d = d_memory[j] + d_hidden[j] * out * (T(1) - tanh_next * tanh_next);
    i[j] = d * cell * in * (T(1) - in);
    f[j] = d * memory[j] * forget * (T(1) - forget);
    g[j] = d * in * (T(1) - cell * cell);
    o[j] = d_hidden[j] * tanh_next * out * (T(1) - out);
    d_memory[j] = d * forget;
  }
}

// `projected` [3H] holds U h; its last part with d_n added goes to `hidden_new`.
template <typename T> void gru_forward(T *__restrict gates, const T *__restrict projected, const T *__restrict new_bias,
                                       T *__restrict hidden, T *__restrict hidden_new, int64_t size) {
  T *__restrict r = gates, *__restrict z = gates + size, *__restrict n = gates + 2 * size;
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++) {
    T inner = projected[2 * size + j] + new_bias[j];
    T reset = sigmoid(r[j] + projected[j]), update = sigmoid(z[j] + projected[size + j]);
    T candidate = fast_tanh(n[j] + reset * inner);
    r[j] = reset, z[j] = update, n[j] = candidate, hidden_new[j] = inner;
    hidden[j] = candidate + update * (hidden[j] - candidate);
  }
}

// `projected` [3H] becomes the gradient of U h; `d_hidden` goes from h' to the part of h that does not pass U.
template <typename T> void gru_backward(T *__restrict gates, T *__restrict projected, const T *__restrict previous,
                                        const T *__restrict hidden_new, T *__restrict d_hidden, int64_t size) {
  T *__restrict r = gates, *__restrict z = gates + size, *__restrict n = gates + 2 * size;
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++) {
    T reset = r[j], update = z[j], candidate = n[j], d = d_hidden[j];
    T d_new = d * (T(1) - update) * (T(1) - candidate * candidate);
    r[j] = projected[j] = d_new * hidden_new[j] * reset * (T(1) - reset);
    z[j] = projected[size + j] = d * (previous[j] - candidate) * update * (T(1) - update);
    n[j] = d_new;
    projected[2 * size + j] = d_new * reset;
    d_hidden[j] = d * update;
  }
}

template <typename T> void simple_forward(bool relu, T *__restrict gates, T *__restrict hidden, int64_t size) {
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++)
    gates[j] = hidden[j] = relu ? (gates[j] > T(0) ? gates[j] : T(0)) : fast_tanh(gates[j]);
}

template <typename T> void simple_backward(bool relu, T *__restrict gates, const T *__restrict d_hidden, int64_t size) {
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++)
    gates[j] = relu ? (gates[j] > T(0) ? d_hidden[j] : T(0)) : d_hidden[j] * (T(1) - gates[j] * gates[j]);
}
