#include "layer.h"

extern "C" {
void layer_forward_f32(const Layer<float> *run) { run_layer(*run, true); }
void layer_forward_f64(const Layer<double> *run) { run_layer(*run, true); }
void layer_backward_f32(const Layer<float> *run) { run_layer(*run, false); }
void layer_backward_f64(const Layer<double> *run) { run_layer(*run, false); }
}
