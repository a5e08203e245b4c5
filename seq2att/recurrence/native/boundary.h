// What a native function tells the gate (gate.py): a status, never an exception or a crash.
#pragma once
#include <cstdint>
#include <new>

enum Status : int64_t { OK, OUT_OF_MEMORY, INVALID, OUT_OF_RANGE, FAILED };

// Do the work if the arguments go together: `Run::status()` says so, and `bytes` is what the gate has packed.
template <typename Run, typename Work> int64_t guarded(const Run *run, int64_t bytes, const Work &work) noexcept {
  if (bytes != static_cast<int64_t>(sizeof(Run))) return INVALID;
  try {
    Status status = run->status();
    if (status == OK) work(*run);
    return status;
  } catch (const std::bad_alloc &) {
    return OUT_OF_MEMORY;
  } catch (...) {
    return FAILED;
  }
}

// Whether all numbers are from `low` to `high`.
inline bool within(const int64_t *numbers, int64_t count, int64_t low, int64_t high) {
  for (int64_t i = 0; i < count; i++)
    if (numbers[i] < low || numbers[i] > high) return false;
  return true;
}

// Whether no number is larger than the one before it.
inline bool descending(const int64_t *numbers, int64_t count) {
  for (int64_t i = 1; i < count; i++)
    if (numbers[i] > numbers[i - 1]) return false;
  return true;
}

// Rows packed step by step: of step t the first sizes[t] of `rows`, `total` of them over all steps.
inline Status packed_rows(const int64_t *sizes, int64_t steps, int64_t rows, int64_t total) {
  if (!within(sizes, steps, 0, rows) || !descending(sizes, steps)) return OUT_OF_RANGE;
  for (int64_t t = 0; t < steps; t++) total -= sizes[t];
  return total == 0 ? OK : OUT_OF_RANGE;
}
