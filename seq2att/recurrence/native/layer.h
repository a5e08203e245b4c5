// One recurrent layer over a whole batch, rows packed step by step: of step t the first sizes[t] rows, longest first.
#pragma once
#include "boundary.h"
#include "cell.h"
#include "gemm.h"
#include "threads.h"

template <typename T> struct Layer {
  int64_t cell, backwards, backward;        // `backwards`: from the last step to the first; `backward`: the gradients
  int64_t steps, rows, total, size, width;  // T, B, N, H, G*H
  const int64_t *sizes;     // [steps]
  const T *weight;          // U [G*H, H]
  const T *new_bias;        // GRU: [H]
  T *gates;                 // [N, G*H] W x + biases; then the gates, activated; then their gradients
  T *hidden, *memory;       // [rows, H] first the initial state, at last the final one; in the backward pass their gradients
  T *outputs;               // [N, H] h of every step; in the backward pass: its gradient
  T *previous;              // [N, H] LSTM: c, GRU: h before every step; null when nothing is kept
  T *extra;                 // [N, H] LSTM: tanh of c after it, GRU: U_n h + d_n
  T *d_projected;           // [N, G*H] GRU, in the backward pass: gradient of U h

  Status status() const {
    bool gru = cell == GRU, gated = gru || cell == LSTM, kept = previous && extra;
    if (cell < TANH || cell > GRU || width != gates_of(cell) * size || (cell == LSTM && !memory)) return INVALID;
    if (backward ? (gated && !kept) || (gru && !d_projected) : gru && !new_bias) return INVALID;
    if (!backward && previous && !(extra && (gru || memory))) return INVALID;
    return packed_rows(sizes, steps, rows, total);
  }
};

template <typename T> struct Rows {  // of one thread
  int64_t first, last;
  int64_t alive(int64_t size) const { return std::clamp<int64_t>(size - first, 0, last - first); }
};

template <typename T> void forward_rows(const Layer<T> &run, const T *packed, Rows<T> rows) {
  int64_t size = run.size, width = gates_of(run.cell) * size, offset = 0;
  if (run.backwards) for (int64_t t = 0; t < run.steps; t++) offset += run.sizes[t];
  Array<T> spare = allocate<T>(size), projected = allocate<T>(run.cell == GRU ? (rows.last - rows.first) * width : 0);
  for (int64_t k = 0; k < run.steps; k++) {
    int64_t t = run.backwards ? run.steps - 1 - k : k, live = rows.alive(run.sizes[t]);
    if (run.backwards) offset -= run.sizes[t];
    int64_t place = offset + rows.first;
    T *gates = run.gates + place * width, *hidden = run.hidden + rows.first * size;
    bool gru = run.cell == GRU;
    multiply(hidden, size, live, packed, width, size, gru ? projected.get() : gates, width, !gru);
    for (int64_t r = 0; r < live; r++, gates += width, hidden += size) {
      int64_t at = (place + r) * size;
      T *memory = run.memory + (rows.first + r) * size, *extra = run.previous ? run.extra + at : spare.get();
      if (run.previous) std::memcpy(run.previous + at, gru ? hidden : memory, size * sizeof(T));
      if (run.cell == LSTM) lstm_forward(gates, hidden, memory, extra, size);
      else if (gru) gru_forward(gates, projected.get() + r * width, run.new_bias, hidden, extra, size);
      else simple_forward(run.cell == RELU, gates, hidden, size);
      std::memcpy(run.outputs + at, hidden, size * sizeof(T));
    }
    if (!run.backwards) offset += run.sizes[t];
  }
}

template <typename T> void backward_rows(const Layer<T> &run, const T *packed, Rows<T> rows) {
  int64_t size = run.size, width = gates_of(run.cell) * size, offset = 0;
  if (!run.backwards) for (int64_t t = 0; t < run.steps; t++) offset += run.sizes[t];
  for (int64_t k = run.steps - 1; k >= 0; k--) {
    int64_t t = run.backwards ? run.steps - 1 - k : k, live = rows.alive(run.sizes[t]);
    if (!run.backwards) offset -= run.sizes[t];
    int64_t place = offset + rows.first;
    bool gru = run.cell == GRU;
    for (int64_t r = 0; r < live; r++) {
      int64_t at = (place + r) * size;
      T *gates = run.gates + (place + r) * width, *d_hidden = run.hidden + (rows.first + r) * size;
      const T *d_output = run.outputs + at;
      for (int64_t j = 0; j < size; j++) d_hidden[j] += d_output[j];
      if (run.cell == LSTM)
        lstm_backward(gates, run.previous + at, run.extra + at, d_hidden, run.memory + (rows.first + r) * size, size);
      else if (gru)
        gru_backward(gates, run.d_projected + (place + r) * width, run.previous + at, run.extra + at, d_hidden, size);
      else simple_backward(run.cell == RELU, gates, d_hidden, size);
    }
    multiply((gru ? run.d_projected : run.gates) + place * width, width, live, packed, size, width,
             run.hidden + rows.first * size, size, gru);
    if (run.backwards) offset += run.sizes[t];
  }
}

// In the backward pass W is U transposed: [H outputs, G*H inputs].
template <typename T> void run_layer(const Layer<T> &run, int64_t threads) {
  bool forward = !run.backward;
  int64_t width = gates_of(run.cell) * run.size, outputs = forward ? width : run.size;
  int64_t inputs = forward ? run.size : width;
  Array<T> packed = allocate<T>(packed_size<T>(outputs, inputs));
  if (forward) pack(run.weight, outputs, inputs, run.size, int64_t(1), packed.get());
  else pack(run.weight, outputs, inputs, int64_t(1), run.size, packed.get());
  int64_t parts = std::clamp<int64_t>(threads, 1, std::max<int64_t>(run.rows, 1));
  std::vector<int64_t> bounds = divide(run.sizes, run.steps, run.rows, parts);
  in_threads(parts, [&](int64_t part) {
    Rows<T> rows{bounds[part], bounds[part + 1]};
    if (forward) forward_rows(run, packed.get(), rows);
    else backward_rows(run, packed.get(), rows);
  });
}
