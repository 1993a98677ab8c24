// Scratch memory of one call: one aligned block for all workers, allocated before the parallel region, freed on every
// path. Nothing is cached between calls, so memory does not grow with the number of shapes seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace convpool {

constexpr std::size_t kAlignment = 64;  // one cache line, and the widest vector

constexpr std::size_t aligned_bytes(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// While one lives, this thread's calls are measured and not run: scratch memory is taken as ever, but parallel loops do
// nothing. So a plan tells what a call allocates from the very code that allocates it.
class ScratchMeter {
 public:
  ScratchMeter();
  ~ScratchMeter();
  ScratchMeter(const ScratchMeter&) = delete;
  ScratchMeter& operator=(const ScratchMeter&) = delete;

  // While one lives, loops run and nothing is measured.
  class Pause {
   public:
    Pause();
    ~Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    ScratchMeter* paused_;
  };

  static ScratchMeter* current();  // null where calls run
  void add(std::ptrdiff_t bytes);
  std::size_t most_bytes() const { return static_cast<std::size_t>(most_bytes_); }  // at any one time

 private:
  ScratchMeter* outer_;
  std::ptrdiff_t bytes_ = 0, most_bytes_ = 0;
};

class Workspace {
 public:
  Workspace(int workers, std::size_t bytes_per_worker);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  std::byte* of(int worker) const noexcept { return memory_.get() + worker_bytes_ * static_cast<std::size_t>(worker); }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, std::align_val_t{kAlignment}); }
  };
  std::size_t worker_bytes_, bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

// Hands out consecutive aligned arrays of one worker's scratch; on a null base it only measures.
class Carver {
 public:
  explicit Carver(std::byte* base = nullptr) noexcept : base_(base) {}

  template <class T>
  T* take(std::int64_t count) noexcept {
    T* result = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += aligned_bytes(static_cast<std::size_t>(count) * sizeof(T));
    return result;
  }
  std::size_t used() const noexcept { return used_; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

}  // namespace convpool
