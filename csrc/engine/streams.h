// Which Philox stream of a network's seed serves what, so that no two uses draw the same numbers.
//
//   stream                   use
//   0 .. 2^56 - 1            free: whatever a caller of fill_uniform, fill_normal or permutation names
//   1<<56 | i                initial values of parameter i (its index in parameters())
//   2<<56 | e                shuffle of epoch e
//   3<<56 | l<<40 | t        dropout of layer l at step t           l < 2^16, t < 2^40
//   4<<56 | e                deformations of epoch e
// Pre-training of layer l, l < 2^8:
//   16<<56 | l<<48 | k<<40 | t   Gibbs step k of step t             k < 2^8, t < 2^40
//   17<<56 | l<<48 | t           corruption at step t
//   18<<56 | l<<48 | e           shuffle of epoch e
//   19<<56 | l<<48               initial values of the decoder's weights
#pragma once

#include <cstdint>

namespace deltarule {

constexpr uint64_t init_stream(uint64_t parameter) { return uint64_t{1} << 56 | parameter; }
constexpr uint64_t shuffle_stream(uint64_t epoch) { return uint64_t{2} << 56 | epoch; }
constexpr uint64_t dropout_stream(uint64_t layer, uint64_t step) { return uint64_t{3} << 56 | layer << 40 | step; }
constexpr uint64_t deform_stream(uint64_t epoch) { return uint64_t{4} << 56 | epoch; }

constexpr int64_t kCodecs = 256, kGibbsSteps = 256;
constexpr uint64_t gibbs_stream(uint64_t layer, uint64_t gibbs_step, uint64_t step) {
  return uint64_t{16} << 56 | layer << 48 | gibbs_step << 40 | step;
}
constexpr uint64_t corruption_stream(uint64_t layer, uint64_t step) { return uint64_t{17} << 56 | layer << 48 | step; }
constexpr uint64_t pretrain_shuffle_stream(uint64_t layer, uint64_t epoch) {
  return uint64_t{18} << 56 | layer << 48 | epoch;
}
constexpr uint64_t decoder_init_stream(uint64_t layer) { return uint64_t{19} << 56 | layer << 48; }

}  // namespace deltarule
