// Rows divided over threads: rows never wait for each other, so each thread runs its whole loop alone.
#pragma once
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

// Where each of `parts` begins (and the last ends), so that all have about the same number of (row, step) pairs;
// `sizes[t]` rows, the first ones, are alive at step t.
inline std::vector<int64_t> divide(const int64_t *sizes, int64_t steps, int64_t rows, int64_t parts) {
  std::vector<int64_t> lengths(rows, 0), bounds{0};
  int64_t total = 0, sum = 0;
  for (int64_t t = 0; t < steps; t++)
    for (int64_t r = 0; r < sizes[t]; r++) lengths[r]++, total++;
  for (int64_t r = 0; r < rows; r++) {
    sum += lengths[r];
    while (static_cast<int64_t>(bounds.size()) < parts && sum * parts >= total * static_cast<int64_t>(bounds.size()))
      bounds.push_back(r + 1);
  }
  while (static_cast<int64_t>(bounds.size()) <= parts) bounds.push_back(rows);
  return bounds;
}

// Call work(part) for every part, the first one here, the others in threads that treat denormals as this one does. What
// a part throws is thrown when all have ended.
template <typename Work> void in_threads(int64_t parts, const Work &work) {
  if (parts == 1) return work(0);
  std::vector<std::exception_ptr> errors(parts);
  std::vector<std::thread> threads;
  threads.reserve(parts);
#if defined(__SSE__)
  unsigned int mode = _mm_getcsr();
#endif
  auto attempt = [&](int64_t part) {
    try {
      work(part);
    } catch (...) {
      errors[part] = std::current_exception();
    }
  };
  for (int64_t part = 1; part < parts; part++) try {
      threads.emplace_back([&, part] {
#if defined(__SSE__)
        _mm_setcsr(mode);
#endif
        attempt(part);
      });
    } catch (const std::system_error &) {  // the system has no more threads
      attempt(part);
    }
  attempt(0);
  for (auto &thread : threads) thread.join();
  for (auto &error : errors)
    if (error) std::rethrow_exception(error);
}
