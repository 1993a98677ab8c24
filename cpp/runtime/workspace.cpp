#include "runtime/workspace.hpp"

#include <algorithm>

namespace convpool {

namespace {

thread_local ScratchMeter* current_meter = nullptr;

}  // namespace

ScratchMeter::ScratchMeter() : outer_(current_meter) { current_meter = this; }

ScratchMeter::~ScratchMeter() { current_meter = outer_; }

ScratchMeter::Pause::Pause() : paused_(current_meter) { current_meter = nullptr; }

ScratchMeter::Pause::~Pause() { current_meter = paused_; }

ScratchMeter* ScratchMeter::current() { return current_meter; }

void ScratchMeter::add(std::ptrdiff_t bytes) {
  bytes_ += bytes;
  most_bytes_ = std::max(most_bytes_, bytes_);
}

Workspace::Workspace(int workers, std::size_t bytes_per_worker)
    : worker_bytes_(aligned_bytes(bytes_per_worker)),
      bytes_(aligned_bytes(worker_bytes_ * static_cast<std::size_t>(workers) + 1)),
      memory_(static_cast<std::byte*>(::operator new(bytes_, std::align_val_t{kAlignment}))) {
  if (current_meter != nullptr) current_meter->add(static_cast<std::ptrdiff_t>(bytes_));
}

Workspace::~Workspace() {
  if (current_meter != nullptr) current_meter->add(-static_cast<std::ptrdiff_t>(bytes_));
}

}  // namespace convpool
