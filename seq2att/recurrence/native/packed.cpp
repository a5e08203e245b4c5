#include "boundary.h"
#include "int8.h"

// Matrices packed once and used often, as in decoding.
template <typename T> int64_t room_for(int64_t outputs, int64_t inputs) { return packed_size<T>(outputs, inputs); }
template <> int64_t room_for<int8_t>(int64_t outputs, int64_t inputs) { return int8::packed_size(outputs, inputs); }

template <typename T, typename To> struct Pack {
  int64_t outputs, inputs, room;
  const T *weight;  // [outputs, inputs]
  To *packed;       // [room]
  Status status() const { return room == room_for<T>(outputs, inputs) ? OK : INVALID; }
};

extern "C" {
int64_t packed_size_f32(int64_t outputs, int64_t inputs) { return room_for<float>(outputs, inputs); }
int64_t packed_size_f64(int64_t outputs, int64_t inputs) { return room_for<double>(outputs, inputs); }
int64_t packed_size_i8(int64_t outputs, int64_t inputs) { return room_for<int8_t>(outputs, inputs); }
int64_t pack_f32(const Pack<float, float> *run, int64_t bytes, int64_t) {
  return guarded(run, bytes, [](auto &r) { pack(r.weight, r.outputs, r.inputs, r.inputs, int64_t(1), r.packed); });
}
int64_t pack_f64(const Pack<double, double> *run, int64_t bytes, int64_t) {
  return guarded(run, bytes, [](auto &r) { pack(r.weight, r.outputs, r.inputs, r.inputs, int64_t(1), r.packed); });
}
int64_t pack_i8(const Pack<int8_t, uint8_t> *run, int64_t bytes, int64_t) {
  return guarded(run, bytes, [](auto &r) { int8::pack(r.weight, r.outputs, r.inputs, r.packed); });
}
}
