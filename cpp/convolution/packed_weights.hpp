// Weights as an algorithm packs them before it multiplies, and the prepared weight that keeps them between calls.
//
// Most calls pack into scratch memory. A call with a prepared weight finds there what an equal problem with equal
// kernels packed before; where nothing equal is kept it packs as ever. A weight is prepared by the call itself under a
// ScratchMeter: of all its loops only the packing runs, and what it makes is kept. So each algorithm says once what it
// packs, and a new one is served as it is written.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

#include "convolution/correlation.hpp"
#include "runtime/workspace.hpp"

namespace convpool {

// One for each algorithm that packs weights ahead.
enum class PackedForm : Index {
  packed_tiles,
  row_tiles,
  pixel_tiles,
  output_lanes,
  lanes,
  winograd_f2,
  winograd_f4,
  bf16x3,
  bf16x6
};

// All that packed weights depend on, the array apart: form, kernels (those of one instruction set and element type) and
// the taps, channels and strides of the parts.
using PackingKey = std::vector<Index>;

PackingKey make_packing_key(PackedForm form, const void* kernels, const Correlation* parts, std::size_t count);

// What was packed of one weight array. It does not change once it is made, so threads may share it.
class PreparedWeight {
 public:
  explicit PreparedWeight(const void* array) : array_(array) {}

  const void* array() const noexcept { return array_; }
  std::size_t packed_bytes() const noexcept { return packed_bytes_; }

  // Packed weights; without memory where the array cannot be packed in this form.
  using Packed = std::unique_ptr<const Workspace>;
  const Packed* find(const PackingKey& key) const;  // null: nothing equal is kept
  const Packed& keep(PackingKey&& key, Packed&& packed, std::size_t bytes);

 private:
  const void* array_;
  std::map<PackingKey, Packed> packed_;
  std::size_t packed_bytes_ = 0;
};

// While one lives, this thread's convolutions with the array of `prepared` take their packed weights from it, or keep
// them in it where it is being made. As a ScratchMeter reaches what allocates, it reaches what packs.
class PreparedScope {
 public:
  explicit PreparedScope(const PreparedWeight* prepared) noexcept;  // may be null
  explicit PreparedScope(PreparedWeight& being_made) noexcept;
  ~PreparedScope();
  PreparedScope(const PreparedScope&) = delete;
  PreparedScope& operator=(const PreparedScope&) = delete;

  static const PreparedWeight* prepared(const void* array) noexcept;  // null where calls pack for themselves
  static PreparedWeight* being_made(const void* array) noexcept;

 private:
  const PreparedScope* outer_;
  const PreparedWeight* prepared_;
  PreparedWeight* being_made_ = nullptr;
};

// The packed weights of one part or of several. `cut`: what else their order depends on.
template <class T>
class PackedWeights {
 public:
  PackedWeights(PackedForm form, const ConvKernels<T>& kernels, const Correlation* parts, std::size_t count,
                const T* weight, const PackingKey& cut = {})
      : being_made_(PreparedScope::being_made(weight)) {
    const PreparedWeight* prepared = PreparedScope::prepared(weight);
    if (prepared == nullptr) return;
    key_ = make_packing_key(form, &kernels, parts, count);
    key_.insert(key_.end(), cut.begin(), cut.end());
    kept_ = prepared->find(key_);
  }
  PackedWeights(PackedForm form, const ConvKernels<T>& kernels, const std::vector<Correlation>& parts, const T* weight,
                const PackingKey& cut = {})
      : PackedWeights(form, kernels, parts.data(), parts.size(), weight, cut) {}
  PackedWeights(PackedForm form, const ConvKernels<T>& kernels, const Correlation& part, const T* weight)
      : PackedWeights(form, kernels, &part, 1, weight) {}

  // Whether they outlive the call: then all of them are packed, ahead and at once.
  bool are_kept() const noexcept { return kept_ != nullptr || being_made_ != nullptr; }

  // Calls make(T* packed) for so many elements, unless they are kept already. False where make says that the weights
  // cannot be packed. Without are_kept(), each call overwrites what the one before packed.
  template <class Make>
  bool pack(Index elements, Make&& make) {
    const std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(T);
    if (kept_ == nullptr && being_made_ != nullptr) keep(bytes, make);
    if (kept_ != nullptr) {
      data_ = *kept_ == nullptr ? nullptr : reinterpret_cast<const T*>((*kept_)->of(0));
      return data_ != nullptr;
    }
    if (!scratch_) scratch_.emplace(1, bytes);
    T* packed = reinterpret_cast<T*>(scratch_->of(0));
    data_ = packed;
    return call(make, packed);
  }

  const T* data() const noexcept { return data_; }

 private:
  template <class Make>
  static bool call(Make& make, T* packed) {
    if constexpr (std::is_void_v<decltype(make(packed))>) return make(packed), true;
    else return make(packed);
  }

  template <class Make>
  void keep(std::size_t bytes, Make& make) {
    const ScratchMeter::Pause while_packing;
    auto memory = std::make_unique<const Workspace>(1, bytes);
    if (!call(make, reinterpret_cast<T*>(memory->of(0)))) memory.reset();
    kept_ = &being_made_->keep(std::move(key_), std::move(memory), bytes);
  }

  PreparedWeight* being_made_;
  PackingKey key_;
  const PreparedWeight::Packed* kept_ = nullptr;
  std::optional<Workspace> scratch_;
  const T* data_ = nullptr;
};

}  // namespace convpool
