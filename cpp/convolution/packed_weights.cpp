#include "convolution/packed_weights.hpp"

namespace convpool {

namespace {

thread_local const PreparedScope* current_scope = nullptr;

constexpr std::size_t kPartNumbers = 10, kTapNumbers = 4;

}  // namespace

PackingKey make_packing_key(PackedForm form, const void* kernels, const Correlation* parts, std::size_t count) {
  std::size_t numbers = 2 + kPartNumbers * count;
  for (std::size_t i = 0; i < count; ++i) numbers += kTapNumbers * parts[i].taps.size();
  PackingKey key;
  key.reserve(numbers);
  key.push_back(static_cast<Index>(form));
  key.push_back(static_cast<Index>(reinterpret_cast<std::intptr_t>(kernels)));
  for (const Correlation* part = parts; part != parts + count; ++part) {
    key.insert(key.end(), {part->groups, part->channels, part->rows, part->weight_group_stride, part->weight_row_stride,
                           part->weight_channel_stride, static_cast<Index>(part->taps.size())});
    key.insert(key.end(), part->step, part->step + kAxes);
    for (const Tap& tap : part->taps) {
      key.insert(key.end(), tap.offset, tap.offset + kAxes);
      key.push_back(tap.weight_offset);
    }
  }
  return key;
}

const PreparedWeight::Packed* PreparedWeight::find(const PackingKey& key) const {
  const auto place = packed_.find(key);
  return place == packed_.end() ? nullptr : &place->second;
}

const PreparedWeight::Packed& PreparedWeight::keep(PackingKey&& key, Packed&& packed, std::size_t bytes) {
  if (packed != nullptr) packed_bytes_ += bytes;
  return packed_.emplace(std::move(key), std::move(packed)).first->second;
}

PreparedScope::PreparedScope(const PreparedWeight* prepared) noexcept : outer_(current_scope), prepared_(prepared) {
  current_scope = this;
}

PreparedScope::PreparedScope(PreparedWeight& being_made) noexcept : PreparedScope(&being_made) {
  being_made_ = &being_made;
}

PreparedScope::~PreparedScope() { current_scope = outer_; }

const PreparedWeight* PreparedScope::prepared(const void* array) noexcept {
  const PreparedWeight* prepared = current_scope == nullptr ? nullptr : current_scope->prepared_;
  return prepared != nullptr && prepared->array() == array ? prepared : nullptr;
}

PreparedWeight* PreparedScope::being_made(const void* array) noexcept {
  return prepared(array) == nullptr ? nullptr : current_scope->being_made_;
}

}  // namespace convpool
