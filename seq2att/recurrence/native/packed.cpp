#include "gemm.h"

// Matrices packed once and used often, as in decoding.
extern "C" {
int64_t packed_size_f32(int64_t outputs, int64_t inputs) { return packed_size<float>(outputs, inputs); }
int64_t packed_size_f64(int64_t outputs, int64_t inputs) { return packed_size<double>(outputs, inputs); }
void pack_f32(const float *weight, int64_t outputs, int64_t inputs, float *packed) {
  pack(weight, outputs, inputs, inputs, int64_t(1), packed);
}
void pack_f64(const double *weight, int64_t outputs, int64_t inputs, double *packed) {
  pack(weight, outputs, inputs, inputs, int64_t(1), packed);
}
}
