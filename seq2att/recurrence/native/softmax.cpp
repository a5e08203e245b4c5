#include "softmax.h"

extern "C" {
void cross_entropy_f32(const CrossEntropy<float> *run) { cross_entropy(*run); }
void cross_entropy_f64(const CrossEntropy<double> *run) { cross_entropy(*run); }
}
