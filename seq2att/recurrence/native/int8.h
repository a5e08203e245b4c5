// Products of few rows with an int8 matrix that was packed before: sums in int32 are exact, so no row sees another.
//
// A row of activations is scaled by its own largest value, a row of the matrix by its own. The matrix is held as
// w + 128, unsigned, so that vpdpbusd (unsigned times signed) takes it as it is; what that adds, 128 times the sum of
// the activations, is subtracted at the end.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "gemm.h"

namespace int8 {

constexpr int64_t LANES = 16, DEPTH = 4;  // outputs and inputs of one group of 64 bytes

#if defined(__AVX512VNNI__)
constexpr int GROUPS = 3, TALL = 8;  // 32 registers: 24 sums, 3 of the matrix, 1 of the rows
struct Sums {
  __m512i value;
  void clear() { value = _mm512_setzero_si512(); }
  void add(const uint8_t *group, int32_t four) {
    value = _mm512_dpbusd_epi32(value, _mm512_load_si512(group), _mm512_set1_epi32(four));
  }
  void store(int32_t *to) const { _mm512_storeu_si512(to, value); }
};
#elif defined(__AVXVNNI__)
constexpr int GROUPS = 1, TALL = 5;  // 16 registers
struct Sums {
  __m256i low, high;
  void clear() { low = high = _mm256_setzero_si256(); }
  void add(const uint8_t *group, int32_t four) {
    const __m256i *w = reinterpret_cast<const __m256i *>(group);
    __m256i x = _mm256_set1_epi32(four);
    low = _mm256_dpbusd_avx_epi32(low, w[0], x), high = _mm256_dpbusd_avx_epi32(high, w[1], x);
  }
  void store(int32_t *to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to + 8), high);
  }
};
#elif defined(__AVX2__)
constexpr int GROUPS = 1, TALL = 2;
struct Sums {  // of inputs 0 + 1 and 2 + 3 apart, 4 outputs a register
  __m256i value[4];
  void clear() { value[0] = value[1] = value[2] = value[3] = _mm256_setzero_si256(); }
  void add(const uint8_t *group, int32_t four) {
    const __m128i *w = reinterpret_cast<const __m128i *>(group);
    __m256i x = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(four)));
    for (int i = 0; i < 4; i++)
      value[i] = _mm256_add_epi32(value[i], _mm256_madd_epi16(_mm256_cvtepu8_epi16(w[i]), x));
  }
  void store(int32_t *to) const {
    int32_t pairs[8];
    for (int i = 0; i < 4; i++) {
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(pairs), value[i]);
      for (int j = 0; j < 4; j++) to[4 * i + j] = pairs[2 * j] + pairs[2 * j + 1];
    }
  }
};
#else
constexpr int GROUPS = 1, TALL = 2;
struct Sums {
  int32_t value[LANES];
  void clear() { std::memset(value, 0, sizeof value); }
  void add(const uint8_t *group, int32_t four) {
    int8_t x[DEPTH];
    std::memcpy(x, &four, DEPTH);
    for (int64_t j = 0; j < LANES; j++)
      for (int64_t k = 0; k < DEPTH; k++) value[j] += static_cast<int32_t>(group[j * DEPTH + k]) * x[k];
  }
  void store(int32_t *to) const { std::memcpy(to, value, sizeof value); }
};
#endif

constexpr int64_t PANEL = GROUPS * LANES;
inline int64_t padded(int64_t size, int64_t unit) { return (size + unit - 1) / unit * unit; }
inline int64_t packed_size(int64_t outputs, int64_t inputs) { return padded(outputs, PANEL) * padded(inputs, DEPTH); }

// Pack the matrix [outputs, inputs] of int8.
inline void pack(const int8_t *weight, int64_t outputs, int64_t inputs, uint8_t *packed) {
  int64_t depth = padded(inputs, DEPTH);
  for (int64_t first = 0; first < outputs; first += PANEL, packed += PANEL * depth)
    for (int64_t j = 0; j < PANEL; j++) {
      const int8_t *from = first + j < outputs ? weight + (first + j) * inputs : nullptr;
      for (int64_t k = 0; k < depth; k++) {
        int value = from && k < inputs ? from[k] : 0;
        packed[k / DEPTH * PANEL * DEPTH + j * DEPTH + k % DEPTH] = static_cast<uint8_t>(value + 128);
      }
    }
}

// A row as int8 [inputs, padded by 0] by its largest value; gives the sum of the int8 values.
template <typename T> __attribute__((noinline)) int32_t quantize(const T *row, int64_t inputs, int8_t *to, T *scale) {
  T tops[64] = {}, top = 0;
  int64_t k = 0;
  for (; k + 64 <= inputs; k += 64)
    for (int64_t l = 0; l < 64; l++) {
      T size = row[k + l] < 0 ? -row[k + l] : row[k + l];
      tops[l] = tops[l] < size ? size : tops[l];
    }
  for (; k < inputs; k++) top = std::max(top, row[k] < 0 ? -row[k] : row[k]);
  for (T one : tops) top = std::max(top, one);
  *scale = top / T(127);
  T inverse = top > 0 ? T(127) / top : T(0);
  int32_t sum = 0, unknown = 0;
  for (k = 0; k < inputs; k++) {
    T value = std::rint(row[k] * inverse);
    value = value > T(127) ? T(127) : value < T(-127) ? T(-127) : value;  // of denormals the inverse is infinite
    int32_t whole = static_cast<int32_t>(value == value ? value : T(0));
    to[k] = static_cast<int8_t>(whole);
    sum += whole, unknown |= row[k] != row[k];
  }
  if (unknown) *scale = std::numeric_limits<T>::quiet_NaN();  // NaN stays
  for (; k < padded(inputs, DEPTH); k++) to[k] = 0;
  return sum;
}

template <typename T> struct Rows {  // quantized
  int64_t size, depth;
  Array<int8_t> values;  // [size, depth]
  Array<T> scales;       // [size]
  Array<int32_t> sums;   // [size]
  Rows(const T *from, int64_t row, int64_t rows, int64_t inputs)
      : size(rows), depth(padded(inputs, DEPTH)), values(allocate<int8_t>(rows * depth)), scales(allocate<T>(rows)),
        sums(allocate<int32_t>(rows)) {
    for (int64_t r = 0; r < rows; r++)
      sums[r] = quantize(from + r * row, inputs, values.get() + r * depth, scales.get() + r);
  }
};

// R rows from `first` on with one panel: the integers.
template <typename T, int R>
inline void block(const Rows<T> &rows, int64_t first, const uint8_t *panel, int32_t (*whole)[PANEL]) {
  Sums sums[R][GROUPS];
  const int8_t *a = rows.values.get() + first * rows.depth;
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int g = 0; g < GROUPS; g++) sums[r][g].clear();
  for (int64_t k = 0; k < rows.depth; k += DEPTH, panel += PANEL * DEPTH)
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      int32_t four;
      std::memcpy(&four, a + r * rows.depth + k, DEPTH);
#pragma GCC unroll 3
      for (int g = 0; g < GROUPS; g++) sums[r][g].add(panel + g * LANES * DEPTH, four);
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int g = 0; g < GROUPS; g++) sums[r][g].store(whole[r] + g * LANES);
}

// c = bias + sums or, with `add`, c += sums. One function for all blocks, not inlined: a compiler that may reorder the
// factors must do so in the same way for a row in every company.
template <typename T>
__attribute__((noinline)) void scaled(const int32_t *whole, int32_t extra, T scale, const T *scales, const T *bias, T *c,
                                      int64_t columns, bool add) {
  if (add)
    for (int64_t j = 0; j < columns; j++) c[j] += static_cast<T>(whole[j] - extra) * scale * scales[j];
  else if (bias)
    for (int64_t j = 0; j < columns; j++) c[j] = static_cast<T>(whole[j] - extra) * scale * scales[j] + bias[j];
  else
    for (int64_t j = 0; j < columns; j++) c[j] = static_cast<T>(whole[j] - extra) * scale * scales[j];
}

// R rows and the outputs of one panel.
template <typename T, int R>
inline void rows_with_panel(const Rows<T> &rows, int64_t first, const uint8_t *panel, const T *scales, const T *bias,
                            T *c, int64_t c_row, int64_t columns, bool add) {
  alignas(64) int32_t whole[R][PANEL];
  block<T, R>(rows, first, panel, whole);
  for (int r = 0; r < R; r++)
    scaled(whole[r], 128 * rows.sums[first + r], rows.scales[first + r], scales, bias, c + r * c_row, columns, add);
}

template <typename T>
void multiply(const Rows<T> &rows, const uint8_t *packed, const T *scales, const T *bias, int64_t outputs, T *c,
              int64_t c_row, bool add) {
  using Block = void (*)(const Rows<T> &, int64_t, const uint8_t *, const T *, const T *, T *, int64_t, int64_t, bool);
  static constexpr Block blocks[] = {rows_with_panel<T, 1>, rows_with_panel<T, 2>, rows_with_panel<T, 3>,
                                     rows_with_panel<T, 4>, rows_with_panel<T, 5>, rows_with_panel<T, 6>,
                                     rows_with_panel<T, 7>, rows_with_panel<T, 8>};
  for (int64_t first = 0; first < outputs; first += PANEL, packed += PANEL * rows.depth)
    for (int64_t r = 0; r < rows.size; r += TALL) {
      int64_t tall = std::min<int64_t>(rows.size - r, TALL), columns = std::min<int64_t>(outputs - first, PANEL);
      blocks[tall - 1](rows, r, packed, scales + first, bias ? bias + first : nullptr, c + r * c_row + first, c_row,
                       columns, add);
    }
}

}  // namespace int8
