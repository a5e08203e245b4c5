// A decoder whose output or context feeds back: the loop over all steps of a batch.
//
// luong: layers on [input ; fed], then attention with their top as query, then out = tanh(R [top ; context]) is fed to
// the next step. bahdanau: attention with the top layer's h before the step as query, then layers on
// [input ; fed ; context]. Rows are packed step by step, longest first. The gradients of weights, of keys compared by dot
// product and of values are left to one product each after the loop. `feedback.py` documents each array.
#pragma once
#include "attend.h"
#include "boundary.h"
#include "cell.h"
#include "gemm.h"
#include "threads.h"

template <typename T> struct Level {  // one layer
  const T *hidden_weight;  // U [G*H, H]
  const T *below_weight;   // W [G*H, H]; null: the lowest layer
  const T *new_bias;       // GRU: [H]
  const T *mask;           // [N, H] dropout on the input; null: none
  T *gates;                // [N, G*H]
  T *outputs;              // [N, H]
  T *previous, *extra;     // [N, H]; null: nothing is kept
  T *below;                // [N, H]; null: the lowest layer, or nothing is kept
  T *hidden, *memory;      // [rows, H] the state; in the backward pass its gradient
  T *d_projected;              // [N, G*H] in the backward pass, GRU
};

template <typename T> struct Loop {
  int64_t cell, query_first, residual, score, backward;  // `backward`: the gradients
  int64_t steps, rows, total, size, width, layers;    // T, B, N, H, G*H, L
  int64_t fed_size, source, key_size, value_size;     // D, S, A, C
  const int64_t *sizes;
  const Level<T> *levels;
  const T *fed_weight, *context_weight;                      // [G*H, D], [G*H, C]; null: not fed
  const T *readout_top, *readout_context;                    // [D, H], [D, C]; null: the output is the top
  const T *out_mask;                                         // [N, D]; null: none
  const T *keys, *values, *query_weight, *energy;            // [rows, S, A], [rows, S, C], [A, H], [A]
  const uint8_t *padding;                                    // [rows, S] or null
  T *top, *readout, *out, *fed;                                 // [N, H], [N, D], [N, D], [rows, D]
  T *query, *weights, *context;                              // [N, A] or null, [N, S], [N, C]
  const T *d_top, *d_weights;                                // [N, H], [N, S]; null: none
  T *d_out, *d_fed, *d_context, *d_scores, *d_query, *d_energy, *d_keys;

  Status status() const {
    if (cell < TANH || cell > GRU || width != gates_of(cell) * size || layers < 1) return INVALID;
    for (int64_t l = 0; l < layers; l++)
      if (!fits(levels[l], l)) return INVALID;
    return fits_output() && fits_attention() ? packed_rows(sizes, steps, rows, total) : INVALID;
  }
  bool fits(const Level<T> &level, int64_t l) const {
    bool gru = cell == GRU, gated = gru || cell == LSTM;
    if ((l > 0 && !level.below_weight) || (cell == LSTM && !level.memory)) return false;
    if (!backward) return (!gru || level.new_bias) && (!level.previous || (level.extra && (gru || level.memory)));
    return (!gated || (level.previous && level.extra)) && (!gru || level.d_projected);
  }
  bool fits_output() const {
    if ((context_weight || readout_context) && score == NO_SCORE) return false;
    if (!fed_size) return true;
    return readout && (readout_top || fed_size == size) && (backward ? d_out && d_fed : out && fed);
  }
  bool fits_attention() const {
    if (score == NO_SCORE) return true;
    if (score < NO_SCORE || score > ADDITIVE || !keys || !values || !weights || !context) return false;
    if (backward && (!d_context || !d_scores)) return false;
    if (score == DOT) return key_size == size;
    return query_weight && energy && (!backward || (query && d_query && d_energy && d_keys));
  }
};

template <typename T> struct PackedWeights {
  std::vector<Array<T>> hidden, below;
  Array<T> fed, context, readout_top, readout_context, query;
};

// A packed matrix, empty where there is none; `transposed` to multiply gradients.
template <typename T> Array<T> packed(const T *weight, int64_t rows, int64_t columns, bool transposed) {
  if (!weight || rows == 0 || columns == 0) return Array<T>();
  Array<T> to = allocate<T>(transposed ? packed_size<T>(columns, rows) : packed_size<T>(rows, columns));
  if (transposed) pack(weight, columns, rows, int64_t(1), columns, to.get());
  else pack(weight, rows, columns, columns, int64_t(1), to.get());
  return to;
}

template <typename T> PackedWeights<T> pack_weights(const Loop<T> &run, bool transposed) {
  PackedWeights<T> weights;
  int64_t size = run.size, width = gates_of(run.cell) * size;
  for (int64_t l = 0; l < run.layers; l++) {
    weights.hidden.push_back(packed(run.levels[l].hidden_weight, width, size, transposed));
    weights.below.push_back(packed(run.levels[l].below_weight, width, size, transposed));
  }
  weights.fed = packed(run.fed_weight, width, run.fed_size, transposed);
  weights.context = packed(run.context_weight, width, run.value_size, transposed);
  weights.query = packed(run.query_weight, run.key_size, size, transposed);
  weights.readout_top = packed(run.readout_top, run.fed_size, size, transposed);
  weights.readout_context = packed(run.readout_context, run.fed_size, run.value_size, transposed);
  return weights;
}

// One thread's rows, and where the current step's rows lie in the packed arrays.
template <typename T> struct LoopRows {
  const Loop<T> &run;
  const PackedWeights<T> &weights;
  int64_t first, last;
  int64_t size, width, fed, context, query_size, place = 0, live = 0;
  AttentionMemory<T> source_memory;
  Array<T> projected, spare, query, d_top, d_below;

  LoopRows(const Loop<T> &run, const PackedWeights<T> &weights, int64_t first, int64_t last)
      : run(run), weights(weights), first(first), last(last), size(run.size), width(gates_of(run.cell) * run.size),
        fed(run.fed_size), context(run.value_size), query_size(run.key_size),
        source_memory{run.score, run.rows, run.source, run.key_size, run.value_size,
                      run.energy, run.keys, run.values, run.padding} {
    int64_t rows = last - first;
    projected = allocate<T>(rows * width);
    query = allocate<T>(rows * query_size);
    for (Array<T> *array : {&spare, &d_top, &d_below}) *array = allocate<T>(rows * size);
  }

  void seek(int64_t t, int64_t offset) {
    place = offset + first;
    live = std::clamp<int64_t>(run.sizes[t] - first, 0, last - first);
  }

  // to (+)= from W' of the live rows.
  void multiply_live(const T *from, int64_t inputs, const Array<T> &weight, int64_t outputs, T *to, bool add) const {
    if (weight) multiply(from, inputs, live, weight.get(), outputs, inputs, to, outputs, add);
  }

  void attention_forward(const T *query_rows) {  // [live, H]
    if (run.score == NO_SCORE) return;
    if (run.score == ADDITIVE) {
      T *projected_query = run.query ? run.query + place * query_size : query.get();
      multiply_live(query_rows, size, weights.query, query_size, projected_query, false);
      query_rows = projected_query;
    }
    for (int64_t r = 0; r < live; r++)
      attend(source_memory, first + r, query_rows + r * query_size, run.weights + (place + r) * run.source,
             run.context + (place + r) * context);
  }

  void layer_input(int64_t l) {  // adds the part of the gates that depends on the step before or the layer below
    const Level<T> &level = run.levels[l];
    T *gates = level.gates + place * width;
    if (l == 0) {
      multiply_live(run.fed + first * fed, fed, weights.fed, width, gates, true);
      multiply_live(run.context + place * context, context, weights.context, width, gates, true);
      return;
    }
    const T *top = run.top + place * size;
    T *below = level.below ? level.below + place * size : d_below.get();
    for (int64_t j = 0; j < live * size; j++) below[j] = level.mask ? top[j] * level.mask[place * size + j] : top[j];
    multiply_live(below, size, weights.below[l], width, gates, true);
  }

  void layer_step(int64_t l) {
    const Level<T> &level = run.levels[l];
    bool gru = run.cell == GRU;
    layer_input(l);
    T *gates = level.gates + place * width, *hidden = level.hidden + first * size;
    multiply_live(hidden, size, weights.hidden[l], width, gru ? projected.get() : gates, !gru);
    for (int64_t r = 0; r < live; r++, gates += width, hidden += size) {
      int64_t at = (place + r) * size;
      T *memory = level.memory + (first + r) * size, *extra = level.previous ? level.extra + at : spare.get();
      if (level.previous) std::memcpy(level.previous + at, gru ? hidden : memory, size * sizeof(T));
      if (run.cell == LSTM) lstm_forward(gates, hidden, memory, extra, size);
      else if (gru) gru_forward(gates, projected.get() + r * width, level.new_bias, hidden, extra, size);
      else simple_forward(run.cell == RELU, gates, hidden, size);
      for (int64_t j = 0; j < size; j++) level.outputs[at + j] = hidden[j];
      T *top = run.top + at;  // the highest level's outputs may be the top themselves
      for (int64_t j = 0; j < size; j++) top[j] = run.residual && l > 0 ? top[j] + hidden[j] : hidden[j];
    }
  }

  void readout_forward() {  // the output, which is fed to the next step
    T *readout = run.readout + place * fed, *out = run.out + place * fed;
    const T *top = run.top + place * size;
    if (run.readout_top) {
      multiply_live(top, size, weights.readout_top, fed, readout, true);
      multiply_live(run.context + place * context, context, weights.readout_context, fed, readout, true);
      for (int64_t j = 0; j < live * fed; j++) readout[j] = fast_tanh(readout[j]);
    } else
      for (int64_t j = 0; j < live * fed; j++) readout[j] = top[j];
    for (int64_t j = 0; j < live * fed; j++)
      out[j] = run.out_mask ? readout[j] * run.out_mask[place * fed + j] : readout[j];
    std::memcpy(run.fed + first * fed, out, live * fed * sizeof(T));
  }

  void forward(int64_t t, int64_t offset) {
    seek(t, offset);
    if (run.query_first) attention_forward(run.levels[run.layers - 1].hidden + first * size);
    for (int64_t l = 0; l < run.layers; l++) layer_step(l);
    if (!run.query_first) attention_forward(run.top + place * size);
    if (fed) readout_forward();
  }

  void readout_backward() {
    const T *readout = run.readout + place * fed, *d_fed = run.d_fed + first * fed;
    T *d = run.d_out + place * fed;
    for (int64_t j = 0; j < live * fed; j++) {
      T d_dropped = (d[j] + d_fed[j]) * (run.out_mask ? run.out_mask[place * fed + j] : T(1));
      d[j] = run.readout_top ? d_dropped * (T(1) - readout[j] * readout[j]) : d_dropped;
    }
    if (run.readout_top) multiply_live(d, fed, weights.readout_top, size, d_top.get(), true);
    else
      for (int64_t j = 0; j < live * size; j++) d_top[j] += d[j];
    multiply_live(d, fed, weights.readout_context, context, run.d_context + place * context, true);
  }

  void attention_backward(T *d_query_rows) {  // adds the gradient of the live rows' queries [live, H]
    if (run.score == NO_SCORE) return;
    bool additive = run.score == ADDITIVE;
    T *d_query = additive ? run.d_query + place * query_size : d_query_rows;
    if (additive) {
      std::memset(d_query, 0, live * query_size * sizeof(T));
      std::memset(run.d_energy + place * query_size, 0, live * query_size * sizeof(T));
    }
    for (int64_t r = 0; r < live; r++) {
      int64_t at = place + r;
      attend_backward(source_memory, first + r, additive ? run.query + at * query_size : nullptr,
                      run.weights + at * run.source, run.d_context + at * context, run.d_weights ? run.d_weights + at * run.source : nullptr,
                      run.d_scores + at * run.source, d_query + r * query_size, run.d_keys,
                      additive ? run.d_energy + at * query_size : nullptr);
    }
    if (additive) multiply_live(d_query, query_size, weights.query, size, d_query_rows, true);
  }

  void layer_backward(int64_t l) {  // `d_top`: first the gradient of the output, then of the input
    const Level<T> &level = run.levels[l];
    bool gru = run.cell == GRU;
    for (int64_t r = 0; r < live; r++) {
      int64_t at = (place + r) * size;
      T *gates = level.gates + (place + r) * width, *d_hidden = level.hidden + (first + r) * size;
      const T *d_output = d_top.get() + r * size;
      for (int64_t j = 0; j < size; j++) d_hidden[j] += d_output[j];
      if (run.cell == LSTM)
        lstm_backward(gates, level.previous + at, level.extra + at, d_hidden, level.memory + (first + r) * size, size);
      else if (gru)
        gru_backward(gates, level.d_projected + (place + r) * width, level.previous + at, level.extra + at, d_hidden,
                     size);
      else simple_backward(run.cell == RELU, gates, d_hidden, size);
    }
    const T *gates = level.gates + place * width;
    multiply_live((gru ? level.d_projected : level.gates) + place * width, width, weights.hidden[l], size,
                  level.hidden + first * size, gru);
    if (l == 0) {
      multiply_live(gates, width, weights.fed, fed, run.d_fed + first * fed, false);
      multiply_live(gates, width, weights.context, context, run.d_context + place * context, true);
      return;
    }
    multiply_live(gates, width, weights.below[l], size, d_below.get(), false);
    for (int64_t j = 0; j < live * size; j++) {
      T d = level.mask ? d_below[j] * level.mask[place * size + j] : d_below[j];
      d_top[j] = run.residual ? d_top[j] + d : d;
    }
  }

  void backward(int64_t t, int64_t offset) {
    seek(t, offset);
    for (int64_t j = 0; j < live * size; j++) d_top[j] = run.d_top ? run.d_top[place * size + j] : T(0);
    if (fed) readout_backward();
    if (!run.query_first) attention_backward(d_top.get());
    for (int64_t l = run.layers - 1; l >= 0; l--) layer_backward(l);
    if (run.query_first) attention_backward(run.levels[run.layers - 1].hidden + first * size);
  }
};

template <typename T> void run_loop(const Loop<T> &run, int64_t threads) {
  bool forward = !run.backward;
  PackedWeights<T> weights = pack_weights(run, !forward);
  int64_t parts = std::clamp<int64_t>(threads, 1, std::max<int64_t>(run.rows, 1));
  std::vector<int64_t> bounds = divide(run.sizes, run.steps, run.rows, parts), offsets{0};
  for (int64_t t = 0; t < run.steps; t++) offsets.push_back(offsets[t] + run.sizes[t]);
  in_threads(parts, [&](int64_t part) {
    LoopRows<T> rows(run, weights, bounds[part], bounds[part + 1]);
    if (forward)
      for (int64_t t = 0; t < run.steps; t++) rows.forward(t, offsets[t]);
    else
      for (int64_t t = run.steps - 1; t >= 0; t--) rows.backward(t, offsets[t]);
  });
}
