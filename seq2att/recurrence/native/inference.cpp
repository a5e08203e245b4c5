#include "inference.h"

#define FUNCTION(T, name, Struct, function)                                               \
  int64_t name(const inference::Struct<T> *run, int64_t bytes, int64_t threads) {         \
    return guarded(run, bytes, [&](auto &run) { inference::function(run, threads); });    \
  }
#define BOTH(name, Struct, function) \
  FUNCTION(float, name##_f32, Struct, function) FUNCTION(double, name##_f64, Struct, function)

extern "C" {
BOTH(inference_product, Product, product)
BOTH(inference_recur, Recurrence, recur)
BOTH(inference_attend, Attend, attend)
BOTH(inference_log_softmax, LogSoftmax, log_softmax)
BOTH(inference_best, Best, best)
}
