// Large products C[M, N] = A[M, K] B' + bias, B [N, K], where either matrix may lie row by row or column by column.
//
// Blocked as in Goto & van de Geijn 2008: some columns of C and some of K at a time have their part of B packed; of A a
// block of rows stays in the second cache while the panels of B go past it.
#pragma once
#include "boundary.h"
#include "gemm.h"
#include "threads.h"

template <typename T> struct Matrix {
  const T *data;
  int64_t row, column;  // distances between rows and between columns; one of them is 1
  const T *at(int64_t r, int64_t c) const { return data + r * row + c * column; }
};

constexpr int64_t DEPTH = 576, HEIGHT = 256;  // most of K, and most rows of A, in a block
template <typename T> constexpr int64_t BREADTH = 20 * PANEL<T>;

// The size of as few equal parts of `whole` as there can be, each at most `most` and a multiple of `unit`.
inline int64_t evenly(int64_t whole, int64_t most, int64_t unit) {
  int64_t parts = std::max<int64_t>((whole + most - 1) / most, 1);
  return ((whole + parts - 1) / parts + unit - 1) / unit * unit;
}

// A block of rows of a matrix that lies column by column: ROWS numbers of each column together.
template <typename T> void pack_rows(const Matrix<T> &a, int64_t first, int64_t rows, int64_t start, int64_t depth, T *to) {
  for (int64_t r = 0; r < rows; r += ROWS, to += ROWS * depth) {
    int64_t real = std::min<int64_t>(ROWS, rows - r);
    const T *from = a.at(first + r, start);
    if (real == ROWS)
      for (int64_t k = 0; k < depth; k++) std::memcpy(to + k * ROWS, from + k * a.column, ROWS * sizeof(T));
    else
      for (int64_t k = 0; k < depth; k++)
        for (int64_t i = 0; i < real; i++) to[k * ROWS + i] = from[k * a.column + i];
  }
}

template <typename T, int V>
void packed_rows_with_vectors(const T *a, int64_t rows, const T *panel, int64_t depth, T *c, int64_t c_row,
                              int64_t columns, bool add) {
  int64_t r = 0;
  for (; r + ROWS <= rows; r += ROWS)
    block<T, ROWS, V>(a + r * depth, 1, ROWS, panel, depth, c + r * c_row, c_row, columns, add);
  for (a += r * depth; r < rows; r++, a++) block<T, 1, V>(a, 1, ROWS, panel, depth, c + r * c_row, c_row, columns, add);
}

template <typename T>
void packed_rows_with_panel(const T *a, int64_t rows, const T *panel, int64_t depth, T *c, int64_t c_row,
                            int64_t columns, bool add) {
  if (columns <= WIDTH<T>) packed_rows_with_vectors<T, 1>(a, rows, panel, depth, c, c_row, columns, add);
  else if (columns <= 2 * WIDTH<T>) packed_rows_with_vectors<T, 2>(a, rows, panel, depth, c, c_row, columns, add);
  else packed_rows_with_vectors<T, 3>(a, rows, panel, depth, c, c_row, columns, add);
}

// Rows `top` to `bottom` and columns `left` to `right` of C.
template <typename T>
void product_part(const Matrix<T> &a, const Matrix<T> &b, const T *bias, int64_t inputs, T *c, int64_t c_row,
                  int64_t top, int64_t bottom, int64_t left, int64_t right) {
  Array<T> panels = allocate<T>(BREADTH<T> * DEPTH), rows = allocate<T>(a.column == 1 ? 0 : HEIGHT * DEPTH);
  int64_t deep = evenly(inputs, DEPTH, 1), high = evenly(bottom - top, HEIGHT, ROWS);
  int64_t broad = evenly(right - left, BREADTH<T>, PANEL<T>);
  for (int64_t start = 0; start < inputs; start += deep) {
    int64_t depth = std::min(deep, inputs - start);
    bool add = start > 0 || bias;
    for (int64_t column = left; column < right; column += broad) {
      int64_t breadth = std::min(broad, right - column);
      pack(b.at(column, start), breadth, depth, b.row, b.column, panels.get());
      for (int64_t row = top; row < bottom; row += high) {
        int64_t height = std::min(high, bottom - row);
        if (a.column != 1) pack_rows(a, row, height, start, depth, rows.get());
        if (start == 0 && bias)
          for (int64_t r = row; r < row + height; r++)
            std::memcpy(c + r * c_row + column, bias + column, breadth * sizeof(T));
        for (int64_t first = 0; first < breadth; first += PANEL<T>) {
          const T *panel = panels.get() + first * depth;
          int64_t columns = std::min<int64_t>(PANEL<T>, breadth - first);
          T *to = c + row * c_row + column + first;
          if (a.column == 1) rows_with_panel(a.at(row, start), a.row, height, panel, depth, to, c_row, columns, add);
          else packed_rows_with_panel(rows.get(), height, panel, depth, to, c_row, columns, add);
        }
      }
    }
  }
}

template <typename T> struct Product {
  int64_t rows, columns, inputs;  // M, N, K
  Matrix<T> a, b;
  const T *bias;  // [N] or null
  T *c;           // [M, N]
  Status status() const {
    return (a.row == 1 || a.column == 1) && (b.row == 1 || b.column == 1) ? OK : INVALID;
  }
};

template <typename T> void run_product(const Product<T> &run, int64_t threads) {
  const Matrix<T> &a = run.a, &b = run.b;
  const T *bias = run.bias;
  T *c = run.c;
  int64_t rows = run.rows, columns = run.columns, inputs = run.inputs;
  bool wide = columns > rows;
  int64_t unit = wide ? PANEL<T> : ROWS, units = ((wide ? columns : rows) + unit - 1) / unit;
  int64_t worth = rows * columns * inputs >> 23;  // a thread costs some 20 microseconds
  int64_t parts = std::clamp<int64_t>(std::min(threads, worth), 1, std::max<int64_t>(units, 1));
  in_threads(parts, [&](int64_t part) {
    int64_t whole = wide ? columns : rows;
    int64_t from = std::min(units * part / parts * unit, whole), to = std::min(units * (part + 1) / parts * unit, whole);
    if (wide) product_part(a, b, bias, inputs, c, columns, 0, rows, from, to);
    else product_part(a, b, bias, inputs, c, columns, from, to, 0, columns);
  });
}
