// What the cases of all operations share: guarded arrays, data, comparisons and the record of what ran.
//
// Every case runs in rounds: each kernel set, with each thread count. The first round of a set compares its results
// with those of the reference loops, which are computed once, later ones with the bits of the first. Arrays lie against
// pages that nobody may touch, outputs and scratch memory hold other garbage in every round.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <any>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "geometry/shape.hpp"
#include "hooks.hpp"
#include "runtime/isa.hpp"

namespace driver {

using convpool::Layout;
using convpool::Shape;

// Elements between two pages that kill the process when they are touched; flush with the second or with the first.
template <class T>
class Guarded {
 public:
  Guarded(std::int64_t count, bool is_at_end) : count_(static_cast<std::size_t>(count)) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), bytes = count_ * sizeof(T);
    const std::size_t inside = (bytes + page - 1) / page * page;
    size_ = inside + 2 * page;
    void* memory = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    memory_ = static_cast<unsigned char*>(memory);
    if (inside > 0 && mprotect(memory_ + page, inside, PROT_READ | PROT_WRITE) != 0) std::abort();
    if (inside > 0) std::memset(memory_ + page, filling(), inside);
    data_ = reinterpret_cast<T*>(memory_ + page + (is_at_end ? inside - bytes : 0));
  }
  Guarded(const std::vector<T>& values, bool is_at_end) : Guarded(static_cast<std::int64_t>(values.size()), is_at_end) {
    if (!values.empty()) std::memcpy(static_cast<void*>(data_), values.data(), count_ * sizeof(T));
  }
  ~Guarded() { munmap(memory_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  std::vector<T> copy() const {
    std::vector<T> values(count_);
    if (count_ > 0) std::memcpy(static_cast<void*>(values.data()), data_, count_ * sizeof(T));
    return values;
  }

 private:
  std::size_t count_, size_;
  unsigned char* memory_;
  T* data_;
};

// Numbers that follow from a seed alone.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::int64_t below(std::int64_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::int64_t>(state_ >> 33) % bound;
  }
  std::int64_t between(std::int64_t least, std::int64_t most) { return least + below(most - least + 1); }

 private:
  std::uint64_t state_;
};

// Small whole numbers: their sums are exact, so every order of summation has the same bits.
template <class T>
std::vector<T> integers(std::int64_t count, std::uint64_t seed, std::int64_t most = 4) {
  Random random(seed);
  std::vector<T> values(static_cast<std::size_t>(count));
  const std::int64_t least = T(-1) < T(0) ? -most : 0;
  for (T& value : values) value = T(static_cast<float>(random.between(least, most)));
  return values;
}

struct Options {
  std::vector<std::string> isas;
  std::vector<int> threads;
  std::string only;  // cases whose name holds it
  bool is_race = false, is_quick = false;

  std::int64_t tail_step() const { return is_quick ? 6 : 1; }
};

struct Round {
  std::string isa;
  int threads = 1;
  bool is_first = true;  // of its kernel set
};

constexpr std::int64_t kLongestTail = 2 * 16 + 1;  // two vectors of the widest set, and one element more

class Report {
 public:
  explicit Report(const Options& options) : options_(options) {}
  const Options& options() const { return options_; }
  const Round& round() const { return round_; }

  // All rounds of a case, if it is wanted.
  template <class Body>
  void run(const std::string& name, Body&& body) {
    if (name.find(options_.only) == std::string::npos) return;
    case_ = name;
    expected_.clear();
    for (const std::string& isa : options_.isas)
      for (std::size_t i = 0; i < options_.threads.size(); ++i) {
        begin({isa, options_.threads[i], i == 0}, i);
        body();
      }
  }
  static const char* running() { return running_; }  // what a signal handler may read
  void count(const std::string& run) { runs_[{round_.isa, run}] += 1; }
  void fail(const std::string& what) {
    failures_ += 1;
    std::printf("FAILED %s, %s, %d threads: %s\n", case_.c_str(), round_.isa.c_str(), round_.threads, what.c_str());
  }

  // Compares a result with what `expected` computes, once for all that have the name `what` in this case, or with the
  // bits of the first round. `error` is relative to the largest expected magnitude; 0 asks for the same bits.
  template <class T, class Expected>
  void check(const std::string& what, const std::vector<T>& actual, double error, Expected&& expected) {
    checks_ += 1;
    const std::uint64_t hash = hash_of(actual);
    if (round_.is_first) {
      hashes_.push_back(hash);
      std::any& known = expected_[what];
      if (!known.has_value()) known = std::vector<T>(expected());
      compare(what, actual, std::any_cast<const std::vector<T>&>(known), error);
    } else if (next_ >= hashes_.size() || hashes_[next_] != hash) {
      fail(what + " has other bits than on one thread");
    }
    next_ += 1;
  }

  int finish(bool is_whole) const;  // fails where something that is required never ran, if all was asked for

 private:
  void begin(const Round& round, std::size_t number) {
    constexpr unsigned char kFillings[] = {0xff, 0xa5, 0x7f, 0x00};  // NaN, something tiny, something huge, zero
    set_filling(kFillings[number % 4]);
    convpool::select_isa(round.isa);
    round_ = round;
    next_ = 0;
    if (round.is_first) hashes_.clear();
    std::snprintf(running_, sizeof running_, "in %s, %s, %d threads\n", case_.c_str(), round.isa.c_str(),
                  round.threads);
  }

  template <class T>
  static std::uint64_t hash_of(const std::vector<T>& values) {
    std::uint64_t hash = 14695981039346656037u;
    const unsigned char* bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (std::size_t i = 0; i < values.size() * sizeof(T); ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
  }

  template <class T>
  void compare(const std::string& what, const std::vector<T>& actual, const std::vector<T>& expected, double error) {
    if (actual.size() != expected.size()) return fail(what + " has another size than expected");
    double largest = 1;
    for (std::size_t i = 0; error > 0 && i < expected.size(); ++i)
      largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double value = static_cast<double>(actual[i]), wanted = static_cast<double>(expected[i]);
      const bool is_same = std::memcmp(&actual[i], &expected[i], sizeof(T)) == 0 || value == wanted ||
                           (std::isnan(value) && std::isnan(wanted));
      if (is_same || std::fabs(value - wanted) <= error * largest) continue;
      return fail(what + "[" + std::to_string(i) + "] is " + std::to_string(value) + ", expected " +
                  std::to_string(wanted));
    }
  }

  inline static char running_[160] = "before the first case\n";
  const Options options_;
  Round round_;
  std::string case_;
  std::map<std::string, std::any> expected_;  // of the case
  std::vector<std::uint64_t> hashes_;         // of its first round
  std::size_t next_ = 0;
  std::int64_t checks_ = 0, failures_ = 0;
  std::map<std::pair<std::string, std::string>, std::int64_t> runs_;
};

// Runs `body` with the reference loops in the place of the kernels.
template <class Body>
void with_reference(Body&& body) {
  const std::string before = convpool::selected_isa();
  convpool::select_isa("reference");
  body();
  convpool::select_isa(before);
}

inline Shape in_layout(const Shape& channels_first, Layout layout) {
  if (layout == Layout::channels_first) return channels_first;
  Shape shape{channels_first[0]};
  shape.append(channels_first.begin() + 2, channels_first.end());
  shape.push_back(channels_first[1]);
  return shape;
}

void run_conv_cases(Report& report);
void run_pool_cases(Report& report);

}  // namespace driver
