#include "product.h"

extern "C" {
void product_f32(const Matrix<float> *a, const Matrix<float> *b, const float *bias, int64_t rows, int64_t columns,
                 int64_t inputs, float *c, int64_t threads) {
  run_product(*a, *b, bias, rows, columns, inputs, c, threads);
}
void product_f64(const Matrix<double> *a, const Matrix<double> *b, const double *bias, int64_t rows, int64_t columns,
                 int64_t inputs, double *c, int64_t threads) {
  run_product(*a, *b, bias, rows, columns, inputs, c, threads);
}
}
