// Products of few rows with a matrix that was packed before: C[n, N] (+)= A[n, K] W', W [N, K].
//
// A step of a recurrence multiplies the rows that are still alive, 1 to a few hundred, with the same matrix at every
// step. Packed once into panels of 3 vectors of outputs, the matrix is read in order, and a block of ROWS rows keeps
// all its sums in registers.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 8;  // 32 registers: 24 sums, 3 of the matrix, 1 of the rows
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 4;  // 16 registers
#elif defined(__aarch64__)
constexpr int BYTES = 16, ROWS = 8;
#else
constexpr int BYTES = 16, ROWS = 4;
#endif

template <typename T> struct Vectors;
template <> struct Vectors<float> {
  typedef float type __attribute__((vector_size(BYTES)));
  typedef float loose __attribute__((vector_size(BYTES), aligned(4), may_alias));
};
template <> struct Vectors<double> {
  typedef double type __attribute__((vector_size(BYTES)));
  typedef double loose __attribute__((vector_size(BYTES), aligned(8), may_alias));
};
template <typename T> constexpr int WIDTH = BYTES / sizeof(T);
template <typename T> constexpr int PANEL = 3 * WIDTH<T>;

struct Free { void operator()(void *memory) const { std::free(memory); } };
template <typename T> using Array = std::unique_ptr<T[], Free>;

template <typename T> Array<T> allocate(int64_t size) {
  int64_t bytes = (std::max<int64_t>(size, 1) * sizeof(T) + 63) / 64 * 64;
  void *memory = std::aligned_alloc(64, bytes);
  if (!memory) throw std::bad_alloc();
  return Array<T>(static_cast<T *>(memory));
}

// Numbers that a packed matrix of so many outputs and inputs takes.
template <typename T> int64_t packed_size(int64_t outputs, int64_t inputs) {
  return (outputs + PANEL<T> - 1) / PANEL<T> * PANEL<T> * inputs;
}

// Pack the matrix whose element for output j and input k is weight[j * row + k * column].
template <typename T>
void pack(const T *weight, int64_t outputs, int64_t inputs, int64_t row, int64_t column, T *packed) {
  for (int64_t first = 0; first < outputs; first += PANEL<T>, packed += PANEL<T> * inputs)
    for (int64_t part = 0; part < PANEL<T>; part += WIDTH<T>) {  // a few rows at a time, for the cache's sake
      int64_t real = std::clamp<int64_t>(outputs - first - part, 0, WIDTH<T>);
      const T *from = weight + (first + part) * row;
      if (row == 1 && real == WIDTH<T>) {
        for (int64_t k = 0; k < inputs; k++)
          std::memcpy(packed + k * PANEL<T> + part, from + k * column, WIDTH<T> * sizeof(T));
        continue;
      }
      for (int64_t k = 0; k < inputs; k++) {
        T *to = packed + k * PANEL<T> + part;
        for (int64_t j = 0; j < real; j++) to[j] = from[j * row + k * column];
        for (int64_t j = real; j < WIDTH<T>; j++) to[j] = 0;
      }
    }
}

// R rows with the first V vectors of one panel; element k of row r is a[r * a_row + k * a_column].
template <typename T, int R, int V>
inline void block(const T *a, int64_t a_row, int64_t a_column, const T *panel, int64_t inputs, T *c, int64_t c_row,
                  int64_t columns, bool add) {
  using Vector = typename Vectors<T>::type;
  using Loose = typename Vectors<T>::loose;
  Vector sums[R][V] = {};
  for (int64_t k = 0; k < inputs; k++, panel += PANEL<T>) {
    const Vector *from = reinterpret_cast<const Vector *>(panel);
    Vector w[V];
#pragma GCC unroll 3
    for (int v = 0; v < V; v++) w[v] = from[v];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      T x = a[r * a_row + k * a_column];
#pragma GCC unroll 3
      for (int v = 0; v < V; v++) sums[r][v] += x * w[v];
    }
  }
  if (columns == V * WIDTH<T>) {
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      Loose *to = reinterpret_cast<Loose *>(c + r * c_row);
#pragma GCC unroll 3
      for (int v = 0; v < V; v++) to[v] = add ? to[v] + sums[r][v] : sums[r][v];
    }
    return;
  }
  for (int r = 0; r < R; r++) {
    const T *from = reinterpret_cast<const T *>(sums[r]);
    T *to = c + r * c_row;
    for (int64_t j = 0; j < columns; j++) to[j] = add ? to[j] + from[j] : from[j];
  }
}

template <typename T, int V>
inline void rows_with_vectors(const T *a, int64_t a_row, int64_t rows, const T *panel, int64_t inputs, T *c,
                              int64_t c_row, int64_t columns, bool add) {
  int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS)
    block<T, ROWS, V>(a + r * a_row, a_row, 1, panel, inputs, c + r * c_row, c_row, columns, add);
  a += r * a_row, c += r * c_row;
  switch (rows - r) {
    case 1: return block<T, 1, V>(a, a_row, 1, panel, inputs, c, c_row, columns, add);
    case 2: return block<T, 2, V>(a, a_row, 1, panel, inputs, c, c_row, columns, add);
    case 3: return block<T, 3, V>(a, a_row, 1, panel, inputs, c, c_row, columns, add);
    case 4: return block<T, 4, V>(a, a_row, 1, panel, inputs, c, c_row, columns, add);
    case 5: return block<T, 5, V>(a, a_row, 1, panel, inputs, c, c_row, columns, add);
    case 6: return block<T, 6, V>(a, a_row, 1, panel, inputs, c, c_row, columns, add);
    case 7: return block<T, 7, V>(a, a_row, 1, panel, inputs, c, c_row, columns, add);
  }
}

// Some rows with as much of one panel as is real.
template <typename T>
inline void rows_with_panel(const T *a, int64_t a_row, int64_t rows, const T *panel, int64_t inputs, T *c, int64_t c_row,
                            int64_t columns, bool add) {
  if (columns <= WIDTH<T>) rows_with_vectors<T, 1>(a, a_row, rows, panel, inputs, c, c_row, columns, add);
  else if (columns <= 2 * WIDTH<T>) rows_with_vectors<T, 2>(a, a_row, rows, panel, inputs, c, c_row, columns, add);
  else rows_with_vectors<T, 3>(a, a_row, rows, panel, inputs, c, c_row, columns, add);
}

// C (+)= A W', W packed.
template <typename T>
void multiply(const T *a, int64_t a_row, int64_t rows, const T *packed, int64_t outputs, int64_t inputs, T *c,
              int64_t c_row, bool add) {
  for (int64_t first = 0; first < outputs; first += PANEL<T>, packed += PANEL<T> * inputs)
    rows_with_panel(a, a_row, rows, packed, inputs, c + first, c_row, std::min<int64_t>(outputs - first, PANEL<T>),
                    add);
}
