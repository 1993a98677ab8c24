#include "convolution/output_lane_cut.hpp"

namespace convpool {

Correlation OutputLaneCut::as_rows(const Correlation& part) {
  Correlation rows = part;
  rows.groups = 1;
  rows.step[2] = 1;
  if (part.source.channel_stride != 1) return rows;
  const Index pixel = part.source.axis_stride[2];
  rows.channels = 1;
  rows.source.extent[2] *= pixel;
  rows.source.axis_stride[2] = 1;
  rows.taps.clear();
  for (const Tap& tap : part.taps)
    for (Index channel = 0; channel < part.channels; ++channel)
      rows.taps.push_back({{tap.offset[0], tap.offset[1], tap.offset[2] * pixel + channel},
                           tap.weight_offset + channel * part.weight_channel_stride});
  return rows;
}

Index OutputLaneCut::tile_columns() const noexcept {
  return (box_columns - 1) * step + 1 + group_offset(part.groups - 1);
}

// A tile in a part of the second-level cache.
Index OutputLaneCut::wanted_rows(Index image_boxes, std::size_t element_bytes) const {
  constexpr Index kWantedBytes = 64 << 10;
  Index count = std::max<Index>(ceil_divide(part.target.extent[1], image_boxes), 1);
  const auto bytes = [&] {
    return rows.channels * PaddedRows(rows, count, tile_columns()).channel_pitch() * static_cast<Index>(element_bytes);
  };
  while (count > 1 && bytes() > kWantedBytes) count = ceil_divide(count, 2);
  return count;
}

OutputLaneCut::OutputLaneCut(const Correlation& correlation, Index lanes, Index most_vectors, Index image_boxes,
                             std::size_t element_bytes)
    : part(correlation), rows(as_rows(correlation)),
      step(shares_tile() ? part.step[2] * part.source.axis_stride[2] : part.step[2]), box_rows(0), y_boxes(0),
      box_columns(std::min<Index>(part.target.extent[2], 512)),
      x_boxes(ceil_divide(part.target.extent[2], std::max<Index>(box_columns, 1))), tile(rows, 1, 1) {
  box_rows = wanted_rows(image_boxes, element_bytes);
  y_boxes = ceil_divide(part.target.extent[1], box_rows);
  tile = PaddedRows(rows, box_rows, tile_columns());
  for (const Tap& tap : rows.taps)
    for (Index channel = 0; channel < rows.channels; ++channel) {
      offsets.push_back(tile.tap_offset(tap) + channel * tile.channel_pitch());
      weight_offsets.push_back(tap.weight_offset + channel * part.weight_channel_stride);
    }
  const Index all = ceil_divide(part.rows, lanes);
  blocks = ceil_divide(all, most_vectors);
  vectors = ceil_divide(all, blocks);
  blocks = ceil_divide(all, vectors);
  width = vectors * lanes;
  is_direct = part.target.channel_stride == 1 && part.rows % width == 0;
}

TargetBox OutputLaneCut::box(Index index) const noexcept {
  return target_box(part.target, box_rows, y_boxes, box_columns, x_boxes, index);
}

template <class T>
void OutputLaneCut::pack(const ConvKernels<T>& kernels, const T* source, Index group, const TargetBox& box,
                         T* packed) const noexcept {
  const TargetBox columns{box.batch, box.z, box.y, box.x * step, box.rows, box.columns};
  tile.pack(rows, kernels, source, shares_tile() ? 0 : group * part.channels, rows.channels, columns, packed);
}

template void OutputLaneCut::pack(const ConvKernels<float>&, const float*, Index, const TargetBox&,
                                  float*) const noexcept;
template void OutputLaneCut::pack(const ConvKernels<double>&, const double*, Index, const TargetBox&,
                                  double*) const noexcept;

}  // namespace convpool
