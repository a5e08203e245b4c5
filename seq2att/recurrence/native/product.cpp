#include "product.h"

extern "C" {
int64_t product_f32(const Product<float> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { run_product(run, threads); });
}
int64_t product_f64(const Product<double> *run, int64_t bytes, int64_t threads) {
  return guarded(run, bytes, [&](auto &run) { run_product(run, threads); });
}
}
