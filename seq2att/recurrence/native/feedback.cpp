#include "feedback.h"

extern "C" {
int64_t feedback_f32(const Loop<float> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { run_loop(run, threads); });
}
int64_t feedback_f64(const Loop<double> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { run_loop(run, threads); });
}
}
