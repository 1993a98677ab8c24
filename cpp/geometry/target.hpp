// What the library is compiled for. No includes: the preprocessor alone decides, whatever headers a target has.
#pragma once

#if __SIZEOF_POINTER__ != 8
#error "convpool needs a 64-bit target: its sizes and indices are 64-bit integers"
#endif

// Kernels look at the halves of a vector's lanes, and index arrays at their low words, as little-endian memory.
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "convpool needs a little-endian target: it is neither written nor tested for another byte order"
#endif
