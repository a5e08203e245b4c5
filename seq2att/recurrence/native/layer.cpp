#include "layer.h"

extern "C" {
int64_t layer_f32(const Layer<float> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { run_layer(run, threads); });
}
int64_t layer_f64(const Layer<double> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { run_layer(run, threads); });
}
}
