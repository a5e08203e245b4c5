// A softmax, its cross-entropy and the gradient of that, a row at a time, so that the row stays in the cache.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "boundary.h"
#include "cell.h"
#include "threads.h"

constexpr int64_t LANES = 32;  // partial sums of a loop, so that the compiler uses vectors
constexpr int64_t BLOCK = 1024, BLOCK_ROWS = 64;  // summed first: a long sum of small numbers loses digits

// The target distribution of a row: `weights` at its `targets`, and `uniform` divided evenly over all entries.
template <typename T> struct CrossEntropy {
  double uniform;
  int64_t rows, size, marks;
  T *logits;               // [rows, size], become the gradient of the loss
  const int64_t *targets;  // [rows, marks]
  const T *weights;        // [rows, marks]
  T *column_sums;          // [size], of the gradient: that of the bias
  double *total;           // the summed loss
  int64_t *correct;        // rows whose largest logit is that of their first target
  Status status() const { return within(targets, rows * marks, 0, size - 1) ? OK : OUT_OF_RANGE; }
};

// The largest number, and the sum of all.
template <typename T> T largest_of(const T *__restrict row, int64_t size, T &sum) {
  T largest[LANES], sums[LANES] = {};
  std::fill_n(largest, LANES, -std::numeric_limits<T>::infinity());
  int64_t j = 0;
  for (; j + LANES <= size; j += LANES)
    for (int64_t k = 0; k < LANES; k++) {
      largest[k] = largest[k] > row[j + k] ? largest[k] : row[j + k];
      sums[k] += row[j + k];
    }
  for (int64_t k = 0; j < size; j++, k++) {
    largest[k] = largest[k] > row[j] ? largest[k] : row[j];
    sums[k] += row[j];
  }
  sum = 0;
  for (int64_t k = 0; k < LANES; k++) sum += sums[k];
  return *std::max_element(largest, largest + LANES);
}

// Whether the first of the largest numbers is at this place.
template <typename T> bool is_first_largest(const T *__restrict row, int64_t place, T largest) {
  if (row[place] != largest) return false;
  int64_t before = 0;
  for (int64_t j = 0; j < place; j++) before += row[j] == largest;
  return before == 0;
}

// The row becomes exp(row - largest); gives the sum of that.
template <typename T> T exponentials(T *__restrict row, int64_t size, T largest) {
  T sums[LANES] = {};
  int64_t j = 0;
  for (; j + LANES <= size; j += LANES)
    for (int64_t k = 0; k < LANES; k++) {
      row[j + k] = fast_exp(row[j + k] - largest);
      sums[k] += row[j + k];
    }
  for (int64_t k = 0; j < size; j++, k++) {
    row[j] = fast_exp(row[j] - largest);
    sums[k] += row[j];
  }
  T sum = 0;
  for (int64_t k = 0; k < LANES; k++) sum += sums[k];
  return sum;
}

// One row: gives its loss, adds its gradient to `sums`, and 1 to `correct` if its first target is the largest.
template <typename T>
double cross_entropy_row(const CrossEntropy<T> &run, int64_t number, T *__restrict sums, int64_t &correct) {
  T *__restrict row = run.logits + number * run.size, sum;
  const int64_t *targets = run.targets + number * run.marks;
  const T *weights = run.weights + number * run.marks;
  T largest = largest_of(row, run.size, sum);
  correct += run.marks > 0 && is_first_largest(row, targets[0], largest);
  double mass = run.uniform, expected = run.uniform * sum / run.size;
  for (int64_t m = 0; m < run.marks; m++) mass += weights[m], expected += weights[m] * row[targets[m]];
  double normalizer = 0;
  for (int64_t j = 0; j < run.size; j += BLOCK) normalizer += exponentials(row + j, std::min(BLOCK, run.size - j), largest);
  T factor = static_cast<T>(mass / normalizer), share = static_cast<T>(run.uniform / run.size);
#pragma GCC ivdep
  for (int64_t j = 0; j < run.size; j++) {
    row[j] = row[j] * factor - share;
    sums[j] += row[j];
  }
  for (int64_t m = 0; m < run.marks; m++) row[targets[m]] -= weights[m], sums[targets[m]] -= weights[m];
  return mass * (static_cast<double>(largest) + std::log(normalizer)) - expected;
}

template <typename T>
double cross_entropy_rows(const CrossEntropy<T> &run, int64_t first, int64_t last, T *sums, int64_t &correct) {
  double total = 0;
  std::vector<T> block_sums(run.size, T(0));
  for (int64_t r = first; r < last; r++) {
    total += cross_entropy_row(run, r, block_sums.data(), correct);
    if ((r - first) % BLOCK_ROWS == BLOCK_ROWS - 1 || r == last - 1)
      for (int64_t j = 0; j < run.size; j++) sums[j] += block_sums[j], block_sums[j] = 0;
  }
  return total;
}

template <typename T> void cross_entropy(const CrossEntropy<T> &run, int64_t threads) {
  int64_t worth = run.rows * run.size / (1 << 16);  // a thread costs some 20 microseconds
  int64_t parts = std::max<int64_t>(1, std::min({threads, worth, run.rows}));
  std::vector<double> totals(parts, 0);
  std::vector<int64_t> corrects(parts, 0);
  std::vector<T> sums(parts * run.size, T(0));
  in_threads(parts, [&](int64_t part) {
    int64_t first = run.rows * part / parts, last = run.rows * (part + 1) / parts;
    totals[part] = cross_entropy_rows(run, first, last, sums.data() + part * run.size, corrects[part]);
  });
  std::fill_n(run.column_sums, run.size, T(0));
  *run.total = 0, *run.correct = 0;
  for (int64_t part = 0; part < parts; part++) {
    *run.total += totals[part], *run.correct += corrects[part];
    for (int64_t j = 0; j < run.size; j++) run.column_sums[j] += sums[part * run.size + j];
  }
}
