#include "softmax.h"

extern "C" {
int64_t cross_entropy_f32(const CrossEntropy<float> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { cross_entropy(run, threads); });
}
int64_t cross_entropy_f64(const CrossEntropy<double> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { cross_entropy(run, threads); });
}
}
