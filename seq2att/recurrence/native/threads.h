// Rows divided over threads: rows never wait for each other, so each thread runs its whole loop alone.
#pragma once
#include <cstdint>
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

// Call work(part) for every part, the first one here, the others in threads that treat denormals as this one does.
template <typename Work> void in_threads(int64_t parts, const Work &work) {
  std::vector<std::thread> threads;
#if defined(__SSE__)
  unsigned int mode = _mm_getcsr();
#endif
  for (int64_t part = 1; part < parts; part++)
    threads.emplace_back([&work, part
#if defined(__SSE__)
                          , mode
#endif
    ] {
#if defined(__SSE__)
      _mm_setcsr(mode);
#endif
      work(part);
    });
  work(0);
  for (auto &thread : threads) thread.join();
}
