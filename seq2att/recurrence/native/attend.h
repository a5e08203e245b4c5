// Attention of one query over the memory of its row, and the backward pass.
#pragma once
#include <vector>

#include "cell.h"

enum Score : int64_t { NO_SCORE, DOT, ADDITIVE };

template <typename T> inline T inner(const T *__restrict a, const T *__restrict b, int64_t size) {
  T sum = 0;
  for (int64_t j = 0; j < size; j++) sum += a[j] * b[j];
  return sum;
}

template <typename T> inline void add_times(T *__restrict to, T factor, const T *__restrict from, int64_t size) {
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++) to[j] += factor * from[j];
}

// v . tanh(q + k) (Bahdanau et al. 2015).
template <typename T>
inline T energy_of(const T *__restrict query, const T *__restrict key, const T *__restrict energy, int64_t size) {
  T sum = 0;
  for (int64_t j = 0; j < size; j++) sum += energy[j] * fast_tanh(query[j] + key[j]);
  return sum;
}

// Adds the gradient d of one score to those of query, key and energy; computes tanh again rather than keep it.
template <typename T>
inline void energy_backward(T d, const T *__restrict query, const T *__restrict key, const T *__restrict energy,
                            T *__restrict d_query, T *__restrict d_key, T *__restrict d_energy, int64_t size) {
#pragma GCC ivdep
  for (int64_t j = 0; j < size; j++) {
    T unit = fast_tanh(query[j] + key[j]), d_unit = d * energy[j] * (T(1) - unit * unit);
    d_query[j] += d_unit;
    d_key[j] += d_unit;
    d_energy[j] += d * unit;
  }
}

// The memory of all rows and how it is scored.
template <typename T> struct AttentionMemory {
  int64_t score, rows, source, key_size, value_size;  // B, S, A, C
  const T *energy;       // [A]
  const T *keys;         // [rows, S, A]
  const T *values;       // [rows, S, C]
  const uint8_t *padding;  // [rows, S] 1 at padding; null: no padding
  bool real(int64_t row, int64_t s) const { return !padding || !padding[row * source + s]; }
};

template <typename T>
void attend(const AttentionMemory<T> &memory, int64_t row, const T *query, T *weights, T *context) {
  int64_t source = memory.source, width = memory.key_size;
  const T *keys = memory.keys + row * source * width, *values = memory.values + row * source * memory.value_size;
  T highest = 0, total = 0;
  bool any = false;
  for (int64_t s = 0; s < source; s++) {
    if (!memory.real(row, s)) continue;
    const T *key = keys + s * width;
    weights[s] = memory.score == DOT ? inner(query, key, width) : energy_of(query, key, memory.energy, width);
    highest = any && highest > weights[s] ? highest : weights[s];
    any = true;
  }
  for (int64_t s = 0; s < source; s++) {
    weights[s] = memory.real(row, s) ? fast_exp(weights[s] - highest) : T(0);
    total += weights[s];
  }
  std::memset(context, 0, memory.value_size * sizeof(T));
  for (int64_t s = 0; s < source && any; s++) {
    weights[s] /= total;
    if (memory.real(row, s)) add_times(context, weights[s], values + s * memory.value_size, memory.value_size);
  }
}

// From the gradients of context and weights (null: none) to that of the scores [S] and, added, of the query; with
// additive scores also of the keys (added) and of the energy [A] (added).
template <typename T>
void attend_backward(const AttentionMemory<T> &memory, int64_t row, const T *query, const T *weights, const T *d_context,
                     const T *d_weights, T *d_scores, T *d_query, T *d_keys, T *d_energy) {
  int64_t source = memory.source, width = memory.key_size;
  const T *keys = memory.keys + row * source * width, *values = memory.values + row * source * memory.value_size;
  T mean = 0;
  for (int64_t s = 0; s < source; s++) {
    d_scores[s] = T(0);
    if (!memory.real(row, s)) continue;
    d_scores[s] = inner(d_context, values + s * memory.value_size, memory.value_size) + (d_weights ? d_weights[s] : T(0));
    mean += weights[s] * d_scores[s];
  }
  for (int64_t s = 0; s < source; s++) {
    if (!memory.real(row, s)) continue;
    d_scores[s] = weights[s] * (d_scores[s] - mean);
    const T *key = keys + s * width;
    if (memory.score == DOT) add_times(d_query, d_scores[s], key, width);
    else
      energy_backward(d_scores[s], query, key, memory.energy, d_query, d_keys + (row * source + s) * width, d_energy,
                      width);
  }
}
