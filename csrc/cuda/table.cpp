// The CUDA filling of the contract. One table for every GPU: kernels look at the selected GPU's capability themselves.
#include "cuda/slots.h"

namespace deltarule::cuda {

extern const Kernels table = {
    "cuda",
    "an NVIDIA GPU of compute capability 7.5 or above",
    gemm,
    online,
    unary,
    binary,
    copy,
    activate,
    activate_grad,
    reduce,
    softmax,
    loss,
    step,
    gather_rows,
    find,
    fill_random,
    dropout,
    deform,
    peak,
    advance,
    clip,
    train_rows,
    trains_rows,
    {"three bfloat16 planes on tensor cores, float32 where that is faster",
     "two bfloat16 planes on tensor cores, float32 where that is faster",
     "bfloat16 on tensor cores, float32 where that is faster"},
};

}  // namespace deltarule::cuda
