// What an inference step is made of: products with packed matrices, layers over sequences, attention, selection.
//
// Every result of a row is computed from that row alone, in an order that does not depend on the other rows: a sentence
// gets the same answer to the last bit beside any neighbours.
#pragma once
#include <limits>

#include "cell.h"
#include "gemm.h"
#include "int8.h"
#include "threads.h"

template <typename T> struct Matrix {  // packed, [outputs, inputs]
  const void *packed;
  const T *scales;  // [outputs] of an int8 matrix; null: the matrix is of T
  const T *bias;    // [outputs] or null
  int64_t outputs, inputs;
};

// Y = bias + X W' or, with `add`, Y += X W'; a part of the outputs, from a panel's first on.
template <typename T> struct Prepared {
  const Matrix<T> &matrix;
  const T *x;
  int64_t x_row, rows;
  std::unique_ptr<int8::Rows<T>> quantized;
  Prepared(const Matrix<T> &matrix, const T *x, int64_t x_row, int64_t rows)
      : matrix(matrix), x(x), x_row(x_row), rows(rows) {
    if (matrix.scales) quantized = std::make_unique<int8::Rows<T>>(x, x_row, rows, matrix.inputs);
  }
  int64_t panel() const { return matrix.scales ? int8::PANEL : PANEL<T>; }
  void multiply(int64_t first, int64_t last, T *y, int64_t y_row, bool add) const {
    const T *bias = matrix.bias ? matrix.bias + first : nullptr;
    if (quantized) {
      const uint8_t *packed = static_cast<const uint8_t *>(matrix.packed) + first * quantized->depth;
      int8::multiply(*quantized, packed, matrix.scales + first, bias, last - first, y + first, y_row, add);
      return;
    }
    const T *packed = static_cast<const T *>(matrix.packed) + first * matrix.inputs;
    if (bias && !add)
      for (int64_t r = 0; r < rows; r++) std::memcpy(y + r * y_row + first, bias, (last - first) * sizeof(T));
    ::multiply(x, x_row, rows, packed, last - first, matrix.inputs, y + first, y_row, add || bias);
  }
};

// The outputs divided over threads.
template <typename T>
void product(const Matrix<T> &matrix, const T *x, int64_t x_row, int64_t rows, T *y, int64_t y_row, bool add,
             int64_t threads) {
  Prepared<T> prepared(matrix, x, x_row, rows);
  int64_t panels = (matrix.outputs + prepared.panel() - 1) / prepared.panel();
  int64_t parts = std::clamp<int64_t>(threads, 1, std::max<int64_t>(panels, 1));
  in_threads(parts, [&](int64_t part) {
    int64_t first = panels * part / parts * prepared.panel(), last = panels * (part + 1) / parts * prepared.panel();
    prepared.multiply(first, std::min(last, matrix.outputs), y, y_row, add);
  });
}

template <typename T> struct Recurrence {  // one layer over sequences that begin together
  int64_t cell, rows, steps, size, backwards, threads;
  const int64_t *lengths;   // [rows], not increasing
  const Matrix<T> *weight;  // U [G*H, H], without bias
  const T *new_bias;        // GRU: [H]
  T *gates;                 // [rows, steps, G*H] W x + biases; overwritten
  T *hidden;                // [rows, H] the state, rows `hidden_row` apart
  T *memory;                // LSTM: [rows, H]
  int64_t hidden_row;
  T *outputs;               // [rows, steps, H], left as it is past a row's length; null where nobody wants it
};

template <typename T> void recur_rows(const Recurrence<T> &run, int64_t first, int64_t last) {
  int64_t size = run.size, width = gates_of(run.cell) * size;
  const int64_t *lengths = run.lengths;
  bool gru = run.cell == GRU, ragged = lengths[first] != lengths[last - 1];
  bool apart = gru || (run.backwards && ragged);  // a product puts rows at equal distances
  Array<T> spare = allocate<T>(size), through = allocate<T>(apart ? (last - first) * width : 0);
  for (int64_t t = 0; t < run.steps; t++) {
    while (last > first && lengths[last - 1] <= t) last--;
    if (last == first) return;
    auto place = [&](int64_t r) { return r * run.steps + (run.backwards ? lengths[r] - 1 - t : t); };
    Prepared<T> prepared(*run.weight, run.hidden + first * run.hidden_row, run.hidden_row, last - first);
    if (apart) prepared.multiply(0, width, through.get(), width, false);
    else prepared.multiply(0, width, run.gates + place(first) * width, run.steps * width, true);
    for (int64_t r = first; r < last; r++) {
      T *gates = run.gates + place(r) * width, *hidden = run.hidden + r * run.hidden_row;
      const T *sums = through.get() + (r - first) * width;
      if (apart && !gru)
        for (int64_t j = 0; j < width; j++) gates[j] += sums[j];
      if (run.cell == LSTM) lstm_forward(gates, hidden, run.memory + r * size, spare.get(), size);
      else if (gru) gru_forward(gates, sums, run.new_bias, hidden, spare.get(), size);
      else simple_forward(run.cell == RELU, gates, hidden, size);
      if (run.outputs) std::memcpy(run.outputs + place(r) * size, hidden, size * sizeof(T));
    }
  }
}

template <typename T> void recur(const Recurrence<T> &run) {
  int64_t parts = std::clamp<int64_t>(run.threads, 1, std::max<int64_t>(run.rows / ROWS, 1));
  in_threads(parts, [&](int64_t part) {
    int64_t first = run.rows * part / parts, last = run.rows * (part + 1) / parts;
    if (first < last) recur_rows(run, first, last);
  });
}

// Sums of many numbers, in an order that depends on their number only.
template <typename T, typename Term> inline T sum(int64_t size, const Term &term) {
  constexpr int64_t lanes = 4 * WIDTH<T>;
  T sums[lanes] = {}, rest = 0;
  int64_t k = 0;
  for (; k + lanes <= size; k += lanes)
    for (int64_t l = 0; l < lanes; l++) sums[l] += term(k + l);
  for (; k < size; k++) rest += term(k);
  for (int64_t half = lanes / 2; half; half /= 2)
    for (int64_t l = 0; l < half; l++) sums[l] += sums[l + half];
  return sums[0] + rest;
}

template <typename T> inline T largest(const T *from, int64_t size) {
  constexpr int64_t lanes = 4 * WIDTH<T>;
  T tops[lanes], top = -std::numeric_limits<T>::infinity();
  for (T &one : tops) one = top;
  int64_t k = 0;
  for (; k + lanes <= size; k += lanes)
    for (int64_t l = 0; l < lanes; l++) tops[l] = tops[l] < from[k + l] ? from[k + l] : tops[l];
  for (; k < size; k++) top = std::max(top, from[k]);
  for (T one : tops) top = std::max(top, one);
  return top;
}

template <typename T> struct Look {
  int64_t additive, rows, source, query_size, memory_size, threads;
  const int64_t *which;  // [rows] the row of keys, values and mask that each looks at
  const T *query;        // [rows, Q], rows `query_row` apart
  int64_t query_row;
  const T *keys, *values;  // [B, S, Q], [B, S, M]
  const uint8_t *mask;     // [B, S]
  const T *energy;         // additive: [Q]
  T *context;              // [rows, M], rows `context_row` apart
  int64_t context_row;
  T *weights;              // [rows, S]
};

template <typename T> void look(const Look<T> &at, int64_t row) {
  const T *query = at.query + row * at.query_row, *values = at.values + at.which[row] * at.source * at.memory_size;
  const T *keys = at.keys + at.which[row] * at.source * at.query_size;
  const uint8_t *mask = at.mask + at.which[row] * at.source;
  T *weights = at.weights + row * at.source, *context = at.context + row * at.context_row, total = 0;
  T top = -std::numeric_limits<T>::infinity();
  for (int64_t s = 0; s < at.source; s++) {
    const T *key = keys + s * at.query_size;
    if (!mask[s]) continue;
    weights[s] = at.additive
                     ? sum<T>(at.query_size, [&](int64_t k) { return at.energy[k] * fast_tanh(query[k] + key[k]); })
                     : sum<T>(at.query_size, [&](int64_t k) { return query[k] * key[k]; });
    top = std::max(top, weights[s]);
  }
  for (int64_t s = 0; s < at.source; s++) total += weights[s] = mask[s] ? fast_exp(weights[s] - top) : T(0);
  for (int64_t m = 0; m < at.memory_size; m++) context[m] = 0;
  for (int64_t s = 0; s < at.source; s++) {
    if (!mask[s]) continue;
    T weight = weights[s] /= total;
    const T *value = values + s * at.memory_size;
    for (int64_t m = 0; m < at.memory_size; m++) context[m] += weight * value[m];
  }
}

// Call work(row) for every row, over threads.
template <typename Work> void each_row(int64_t rows, int64_t threads, const Work &work) {
  int64_t parts = std::clamp<int64_t>(threads, 1, std::max<int64_t>(rows, 1));
  in_threads(parts, [&](int64_t part) {
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++) work(r);
  });
}

template <typename T> void log_softmax(T *row, int64_t size) {
  T top = largest(row, size);
  T shift = top + std::log(sum<T>(size, [&](int64_t k) { return fast_exp(row[k] - top); }));
  for (int64_t k = 0; k < size; k++) row[k] -= shift;
}

// The `count` largest of values[k * size + v] + starts[k], best first, the earlier one where two are equal; what is
// not above -inf is not found and keeps index 0.
template <typename T>
void best(const T *values, const T *starts, int64_t width, int64_t size, int64_t count, T *found, int64_t *index) {
  constexpr int64_t block = 4 * WIDTH<T>;
  for (int64_t i = 0; i < count; i++) found[i] = -std::numeric_limits<T>::infinity(), index[i] = 0;
  for (int64_t k = 0; k < width; k++, values += size) {
    T start = starts[k], lowest = found[count - 1];
    for (int64_t v = 0; v < size; v += block) {
      int64_t end = std::min(v + block, size);
      if (end == v + block) {
        int any = 0;
        for (int64_t l = 0; l < block; l++) any |= values[v + l] + start > lowest;
        if (!any) continue;
      }
      for (int64_t l = v; l < end; l++) {
        T value = values[l] + start;
        if (!(value > lowest)) continue;
        int64_t place = count - 1;
        for (; place > 0 && value > found[place - 1]; place--)
          found[place] = found[place - 1], index[place] = index[place - 1];
        found[place] = value, index[place] = k * size + l;
        lowest = found[count - 1];
      }
    }
  }
}
