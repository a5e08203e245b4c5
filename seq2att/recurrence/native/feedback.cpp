#include "feedback.h"

extern "C" {
void feedback_forward_f32(const Loop<float> *run) { run_loop(*run, true); }
void feedback_forward_f64(const Loop<double> *run) { run_loop(*run, true); }
void feedback_backward_f32(const Loop<float> *run) { run_loop(*run, false); }
void feedback_backward_f64(const Loop<double> *run) { run_loop(*run, false); }
}
