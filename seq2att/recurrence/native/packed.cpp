#include "gemm.h"
#include "threads.h"

// Products with a matrix that is packed once and used often, as in decoding: panels of outputs go to the threads.
template <typename T>
void product(const T *inputs, int64_t rows, const T *packed, const T *bias, int64_t outputs, int64_t width, T *results,
             int64_t threads) {
  int64_t panels = (outputs + PANEL<T> - 1) / PANEL<T>;
  int64_t worth = rows * outputs * width / (1 << 21);  // a thread costs some 20 microseconds
  int64_t parts = std::clamp<int64_t>(std::min(threads, worth), 1, panels);
  in_threads(parts, [&](int64_t part) {
    for (int64_t panel = panels * part / parts; panel < panels * (part + 1) / parts; panel++) {
      int64_t first = panel * PANEL<T>, columns = std::min<int64_t>(outputs - first, PANEL<T>);
      if (bias)
        for (int64_t r = 0; r < rows; r++) std::memcpy(results + r * outputs + first, bias + first, columns * sizeof(T));
      rows_with_panel(inputs, width, rows, packed + first * width, width, results + first, outputs, columns,
                      bias != nullptr);
    }
  });
}

extern "C" {
int64_t packed_size_f32(int64_t outputs, int64_t inputs) { return packed_size<float>(outputs, inputs); }
int64_t packed_size_f64(int64_t outputs, int64_t inputs) { return packed_size<double>(outputs, inputs); }
void pack_f32(const float *weight, int64_t outputs, int64_t inputs, float *packed) {
  pack(weight, outputs, inputs, inputs, int64_t(1), packed);
}
void pack_f64(const double *weight, int64_t outputs, int64_t inputs, double *packed) {
  pack(weight, outputs, inputs, inputs, int64_t(1), packed);
}
void product_f32(const float *inputs, int64_t rows, const float *packed, const float *bias, int64_t outputs,
                 int64_t width, float *results, int64_t threads) {
  product(inputs, rows, packed, bias, outputs, width, results, threads);
}
void product_f64(const double *inputs, int64_t rows, const double *packed, const double *bias, int64_t outputs,
                 int64_t width, double *results, int64_t threads) {
  product(inputs, rows, packed, bias, outputs, width, results, threads);
}
}
