#include "inference.h"

#define BOTH(T, name)                                                                                                \
  void inference_product_##name(const inference::Matrix<T> *matrix, const T *x, int64_t x_row, int64_t rows, T *y,   \
                                int64_t y_row, int64_t mode, int64_t threads) {                                      \
    inference::product(*matrix, x, x_row, rows, y, y_row, mode, threads);                                            \
  }                                                                                                                  \
  void inference_recur_##name(const inference::Recurrence<T> *run) { inference::recur(*run); }                       \
  void inference_look_##name(const inference::Look<T> *at) {                                                         \
    int64_t cost = at->memory.source * (at->memory.width + at->memory.context);                                      \
    inference::each_row(at->rows, at->threads, cost, [&](int64_t row) { inference::look(*at, row); });               \
  }                                                                                                                  \
  void inference_log_softmax_##name(T *values, int64_t rows, int64_t size, int64_t threads) {                        \
    inference::each_row(rows, threads, size, [&](int64_t row) { inference::log_softmax(values + row * size, size); }); \
  }                                                                                                                  \
  void inference_best_##name(const T *values, const T *starts, int64_t rows, int64_t width, int64_t size,            \
                             int64_t count, T *found, int64_t *index, int64_t threads) {                             \
    inference::each_row(rows, threads, width * size, [&](int64_t row) {                                              \
      inference::best(values + row * width * size, starts + row * width, width, size, count, found + row * count,    \
                      index + row * count);                                                                          \
    });                                                                                                              \
  }

extern "C" {
BOTH(float, f32)
BOTH(double, f64)
int64_t packed_size_i8(int64_t outputs, int64_t inputs) { return int8::packed_size(outputs, inputs); }
void pack_i8(const int8_t *weight, int64_t outputs, int64_t inputs, uint8_t *packed) {
  int8::pack(weight, outputs, inputs, packed);
}
}
