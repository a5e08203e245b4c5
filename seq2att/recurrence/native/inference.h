// What an inference step is made of: products with packed matrices, layers over sequences, attention, selection.
//
// Every result of a row is computed from that row alone, in an order that does not depend on the other rows: a sentence
// gets the same answer to the last bit beside any neighbours.
#pragma once
#include <limits>

#include "attend.h"
#include "boundary.h"
#include "cell.h"
#include "gemm.h"
#include "int8.h"
#include "threads.h"

namespace inference {

template <typename T> struct Matrix {  // [outputs, inputs]
  int64_t outputs, inputs, room;
  const void *packed;  // [room]
  const T *scales;     // [outputs] of an int8 matrix; null: the matrix is of T
  const T *bias;       // [outputs] or null
  Status status() const {
    int64_t needed = scales ? int8::packed_size(outputs, inputs) : ::packed_size<T>(outputs, inputs);
    bool aligned = reinterpret_cast<uintptr_t>(packed) % 64 == 0;
    return outputs >= 0 && inputs >= 0 && room == needed && aligned ? OK : INVALID;
  }
};

// How many threads so much work is worth: one costs some 20 microseconds.
inline int64_t worth(int64_t threads, int64_t work, int64_t pieces) {
  return std::clamp<int64_t>(std::min(threads, work / (1 << 20)), 1, std::max<int64_t>(pieces, 1));
}

// Call work(row) for every row.
template <typename Work> void each_row(int64_t rows, int64_t threads, int64_t cost, const Work &work) {
  int64_t parts = worth(threads, rows * cost, rows);
  in_threads(parts, [&](int64_t part) {
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++) work(r);
  });
}

enum Mode : int64_t { ADD = 1, WITH_TANH = 2 };

// Y = bias + X W' or, with ADD, Y += X W'; with WITH_TANH then tanh of it. Of the outputs from a panel's first on.
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
  void multiply(int64_t first, int64_t last, T *y, int64_t y_row, int64_t mode) const {
    const T *bias = matrix.bias ? matrix.bias + first : nullptr;
    int64_t columns = last - first;
    y += first;
    if (quantized) {
      const uint8_t *packed = static_cast<const uint8_t *>(matrix.packed) + first * quantized->depth;
      int8::multiply(*quantized, packed, matrix.scales + first, bias, columns, y, y_row, mode & ADD);
    } else {
      const T *packed = static_cast<const T *>(matrix.packed) + first * matrix.inputs;
      if (bias && !(mode & ADD))
        for (int64_t r = 0; r < rows; r++) std::memcpy(y + r * y_row, bias, columns * sizeof(T));
      ::multiply(x, x_row, rows, packed, columns, matrix.inputs, y, y_row, (mode & ADD) || bias);
    }
    for (int64_t r = 0; r < rows && (mode & WITH_TANH); r++)
      for (int64_t j = 0; j < columns; j++) y[r * y_row + j] = fast_tanh(y[r * y_row + j]);
  }
};

template <typename T> struct Product {
  Matrix<T> matrix;
  int64_t mode, rows;
  const T *x;  // [rows, inputs], rows `x_row` apart
  int64_t x_row;
  T *y;  // [rows, outputs], rows `y_row` apart
  int64_t y_row;
  Status status() const { return mode < 0 || mode > (ADD | WITH_TANH) ? INVALID : matrix.status(); }
};

// The outputs divided over threads.
template <typename T> void product(const Product<T> &run, int64_t threads) {
  const Matrix<T> &matrix = run.matrix;
  Prepared<T> prepared(matrix, run.x, run.x_row, run.rows);
  int64_t panels = (matrix.outputs + prepared.panel() - 1) / prepared.panel();
  int64_t parts = worth(threads, run.rows * matrix.outputs * matrix.inputs, panels);
  in_threads(parts, [&](int64_t part) {
    int64_t first = panels * part / parts * prepared.panel(), last = panels * (part + 1) / parts * prepared.panel();
    prepared.multiply(first, std::min(last, matrix.outputs), run.y, run.y_row, run.mode);
  });
}

template <typename T> struct Recurrence {  // one layer over sequences that begin together
  Matrix<T> weight;         // U [G*H, H], without bias
  int64_t cell, backwards, rows, steps;
  const int64_t *lengths;   // [rows], not increasing; null: all of them
  const T *new_bias;        // GRU: [H]
  T *gates;                 // [rows, steps, G*H] W x + biases; overwritten
  T *hidden;                // [rows, H] the state, rows `hidden_row` apart
  int64_t hidden_row;
  T *memory;                // LSTM: [rows, H]
  T *states;                // [rows, steps, H], left as it is past a row's length; null where nobody wants it

  Status status() const {
    if (cell < TANH || cell > GRU || weight.outputs != gates_of(cell) * weight.inputs) return INVALID;
    if ((cell == GRU && !new_bias) || (cell == LSTM && !memory)) return INVALID;
    if (lengths && !(within(lengths, rows, 0, steps) && descending(lengths, rows))) return OUT_OF_RANGE;
    return weight.status();
  }
};

template <typename T> void recur_rows(const Recurrence<T> &run, int64_t first, int64_t last) {
  int64_t size = run.weight.inputs, width = run.weight.outputs;
  auto length = [&](int64_t r) { return run.lengths ? run.lengths[r] : run.steps; };
  // A product adds to rows at equal distances; read backwards, sentences of different lengths do not have them.
  bool gru = run.cell == GRU, apart = gru || run.backwards;
  Array<T> spare = allocate<T>(size), through = allocate<T>(apart ? (last - first) * width : 0);
  for (int64_t t = 0; t < run.steps; t++) {
    while (last > first && length(last - 1) <= t) last--;
    if (last == first) return;
    auto place = [&](int64_t r) { return r * run.steps + (run.backwards ? length(r) - 1 - t : t); };
    Prepared<T> prepared(run.weight, run.hidden + first * run.hidden_row, run.hidden_row, last - first);
    if (apart) prepared.multiply(0, width, through.get(), width, 0);
    else prepared.multiply(0, width, run.gates + place(first) * width, run.steps * width, ADD);
    for (int64_t r = first; r < last; r++) {
      T *gates = run.gates + place(r) * width, *hidden = run.hidden + r * run.hidden_row;
      const T *sums = through.get() + (r - first) * width;
      if (apart && !gru)
        for (int64_t j = 0; j < width; j++) gates[j] += sums[j];
      if (run.cell == LSTM) lstm_forward(gates, hidden, run.memory + r * size, spare.get(), size);
      else if (gru) gru_forward(gates, sums, run.new_bias, hidden, spare.get(), size);
      else simple_forward(run.cell == RELU, gates, hidden, size);
      if (run.states) std::memcpy(run.states + place(r) * size, hidden, size * sizeof(T));
    }
  }
}

template <typename T> void recur(const Recurrence<T> &run, int64_t threads) {
  int64_t work = run.rows * run.steps * run.weight.outputs * run.weight.inputs;
  int64_t parts = worth(threads, work, run.rows / ROWS);
  in_threads(parts, [&](int64_t part) {
    int64_t first = run.rows * part / parts, last = run.rows * (part + 1) / parts;
    if (first < last) recur_rows(run, first, last);
  });
}

template <typename T> struct Attend {
  AttentionMemory<T> memory;  // of every sentence
  int64_t rows;
  const int64_t *which;  // [rows] the sentence that each row attends to
  const T *query;        // [rows, A], rows `query_row` apart
  int64_t query_row;
  T *context;            // [rows, C], rows `context_row` apart
  int64_t context_row;
  T *weights;            // [rows, S]
  Status status() const {
    if (memory.score != DOT && (memory.score != ADDITIVE || !memory.energy)) return INVALID;
    return within(which, rows, 0, memory.rows - 1) ? OK : OUT_OF_RANGE;
  }
};

template <typename T> void attend_row(const Attend<T> &run, int64_t row) {
  AttentionMemory<T> memory = run.memory;
  int64_t sentence = run.which[row], source = memory.source;
  memory.keys += sentence * source * memory.key_size, memory.values += sentence * source * memory.value_size;
  memory.padding += sentence * source;
  // What comes after the last real position is left out: sums must not depend on how far other sentences go.
  while (memory.source && memory.padding[memory.source - 1]) memory.source--;
  T *weights = run.weights + row * source;
  ::attend(memory, int64_t(0), run.query + row * run.query_row, weights, run.context + row * run.context_row);
  std::fill(weights + memory.source, weights + source, T(0));
}

template <typename T> void attend(const Attend<T> &run, int64_t threads) {
  int64_t cost = run.memory.source * (run.memory.key_size + run.memory.value_size);
  each_row(run.rows, threads, cost, [&](int64_t row) { attend_row(run, row); });
}

template <typename T> struct LogSoftmax {
  int64_t rows, size;
  T *values;  // [rows, size]
  Status status() const { return rows == 0 || size > 0 ? OK : INVALID; }
};

template <typename T> void log_softmax(T *row, int64_t size) {
  constexpr int64_t lanes = 4 * WIDTH<T>;
  T tops[lanes], top = row[0], total = 0;
  for (T &one : tops) one = top;
  int64_t k = 0;
  for (; k + lanes <= size; k += lanes)
    for (int64_t l = 0; l < lanes; l++) tops[l] = tops[l] < row[k + l] ? row[k + l] : tops[l];
  for (; k < size; k++) top = std::max(top, row[k]);
  for (T one : tops) top = std::max(top, one);
  for (k = 0; k < size; k++) total += fast_exp(row[k] - top);
  T shift = top + std::log(total);
  for (k = 0; k < size; k++) row[k] -= shift;
}

template <typename T> void log_softmax(const LogSoftmax<T> &run, int64_t threads) {
  each_row(run.rows, threads, run.size, [&](int64_t row) { log_softmax(run.values + row * run.size, run.size); });
}

template <typename T> struct Best {
  int64_t batch, width, rows, size, count;
  const T *values;  // [rows = batch * width, size]
  const T *starts;  // [batch, width]
  T *found;         // [batch, count]
  int64_t *index;   // [batch, count]
  Status status() const { return rows == batch * width && (count > 0 || batch == 0) ? OK : INVALID; }
};

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

template <typename T> void best(const Best<T> &run, int64_t threads) {
  each_row(run.batch, threads, run.width * run.size, [&](int64_t row) {
    best(run.values + row * run.width * run.size, run.starts + row * run.width, run.width, run.size, run.count,
         run.found + row * run.count, run.index + row * run.count);
  });
}

}  // namespace inference
