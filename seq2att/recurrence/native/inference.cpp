#include "inference.h"

#define BOTH(T, name)                                                                                                \
  void inference_product_##name(const Matrix<T> *matrix, const T *x, int64_t x_row, int64_t rows, T *y, int64_t y_row, \
                                int64_t add, int64_t threads) {                                                      \
    product(*matrix, x, x_row, rows, y, y_row, add, threads);                                                        \
  }                                                                                                                  \
  int64_t inference_packed_size_##name(int64_t outputs, int64_t inputs) { return packed_size<T>(outputs, inputs); }  \
  void inference_pack_##name(const T *weight, int64_t outputs, int64_t inputs, T *packed) {                          \
    pack(weight, outputs, inputs, inputs, int64_t(1), packed);                                                       \
  }                                                                                                                  \
  void inference_recur_##name(const Recurrence<T> *run) { recur(*run); }                                             \
  void inference_look_##name(const Look<T> *at) {                                                                    \
    each_row(at->rows, at->threads, [&](int64_t row) { look(*at, row); });                                           \
  }                                                                                                                  \
  void inference_log_softmax_##name(T *values, int64_t rows, int64_t size, int64_t threads) {                        \
    each_row(rows, threads, [&](int64_t row) { log_softmax(values + row * size, size); });                           \
  }                                                                                                                  \
  void inference_best_##name(const T *values, const T *starts, int64_t rows, int64_t width, int64_t size,            \
                             int64_t count, T *found, int64_t *index, int64_t threads) {                             \
    each_row(rows, threads, [&](int64_t row) {                                                                       \
      best(values + row * width * size, starts + row * width, width, size, count, found + row * count,               \
           index + row * count);                                                                                     \
    });                                                                                                              \
  }

extern "C" {
BOTH(float, f32)
BOTH(double, f64)
int64_t inference_packed_size_i8(int64_t outputs, int64_t inputs) { return int8::packed_size(outputs, inputs); }
void inference_pack_i8(const int8_t *weight, int64_t outputs, int64_t inputs, uint8_t *packed) {
  int8::pack(weight, outputs, inputs, packed);
}
}
