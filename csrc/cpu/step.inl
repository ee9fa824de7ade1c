// step: one update of a list of tensors; the formulas are formulas/optimizers.h's.
//
// Computes   w, m, v from w, g, m, v, element by element.
// Arithmetic bound by memory: sgd moves 12 bytes an element (float32), momentum 20, Adam 28. From 65536 elements in the
//            list on, threads share blocks of 16384 elements of a tensor.
// Measured   ns an element of 16000 float32, AVX-512 on an AMD EPYC, one thread, `python bench/elementwise.py --slots`:
//            sgd 0.21, momentum 0.28, nesterov 0.30, adam 0.43, adamw 0.40.
// Refs       formulas/optimizers.h.

template <class V, int Slots> StepConstants<V> step_constants(const StepArgs& args) {
  const double t = static_cast<double>(args.step);
  StepConstants<V> c;
  c.lr = lanes<V>(args.lr);
  c.momentum = lanes<V>(args.momentum);
  c.decay = lanes<V>(args.weight_decay);
  c.beta1 = lanes<V>(args.beta1);
  c.rest1 = lanes<V>(1.0 - args.beta1);
  c.beta2 = lanes<V>(args.beta2);
  c.rest2 = lanes<V>(1.0 - args.beta2);
  c.eps = lanes<V>(args.eps);
  constexpr bool moments = Slots > 1;  // two powers cost as much as a small layer's whole update
  c.corrected_lr = lanes<V>(moments ? args.lr / (1.0 - __builtin_pow(args.beta1, t)) : args.lr);
  c.root_correction = lanes<V>(moments ? 1.0 / __builtin_sqrt(1.0 - __builtin_pow(args.beta2, t)) : 1.0);
  c.keep = lanes<V>(1.0 - args.lr * args.weight_decay);
  return c;
}

// No V by value here: GCC leaves out vzeroupper at the end of functions that take one, and the SSE code that follows
// then costs 140 ns a call on an Intel Xeon.
template <class V, class Rule>
void step_loop(const StepArgs& args, const StepTensor& tensor, const StepConstants<V>& given, int64_t begin,
               int64_t end) {
  using T = typename V::scalar;
  T* const w = static_cast<T*>(tensor.w);
  const T* const g = static_cast<const T*>(tensor.g);
  T* const m = static_cast<T*>(tensor.m);
  T* const v = static_cast<T*>(tensor.v);
  const V scale = lanes<V>(args.grad_scale);
  const StepConstants<V> c = tensor.decays ? given : without_decay(given);
  int64_t i = begin;
  V lanes_m = V::zero(), lanes_v = V::zero();
  for (; i + V::N <= end; i += V::N) {
    V lanes_w = V::load(w + i);
    if constexpr (Rule::slots > 0) lanes_m = V::load(m + i);
    if constexpr (Rule::slots > 1) lanes_v = V::load(v + i);
    Rule::update(lanes_w, V::load(g + i) * scale, lanes_m, lanes_v, c);
    lanes_w.store(w + i);
    if constexpr (Rule::slots > 0) lanes_m.store(m + i);
    if constexpr (Rule::slots > 1) lanes_v.store(v + i);
  }
  const int rest = static_cast<int>(end - i);
  if (rest == 0) return;
  V lanes_w = V::load_n(w + i, rest);
  if constexpr (Rule::slots > 0) lanes_m = V::load_n(m + i, rest);
  if constexpr (Rule::slots > 1) lanes_v = V::load_n(v + i, rest);
  Rule::update(lanes_w, V::load_n(g + i, rest) * scale, lanes_m, lanes_v, c);
  lanes_w.store_n(w + i, rest);
  if constexpr (Rule::slots > 0) lanes_m.store_n(m + i, rest);
  if constexpr (Rule::slots > 1) lanes_v.store_n(v + i, rest);
}

template <class V, class Rule> void step_list(const StepArgs& args) {
  const StepConstants<V> c = step_constants<V, Rule::slots>(args);
  int64_t elements = 0;
  for (int64_t i = 0; i < args.count && elements < kCheapParallel; ++i) elements += args.tensors[i].n;
  if (elements < kCheapParallel) {
    for (int64_t i = 0; i < args.count; ++i) step_loop<V, Rule>(args, args.tensors[i], c, 0, args.tensors[i].n);
    return;
  }
  int64_t blocks = 0;
  for (int64_t i = 0; i < args.count; ++i) blocks += blocks_of(args.tensors[i].n, kBlock);
  for_tasks(blocks, true, [&](int64_t block) {
    const StepTensor* tensor = args.tensors;
    for (; block >= blocks_of(tensor->n, kBlock); ++tensor) block -= blocks_of(tensor->n, kBlock);
    step_loop<V, Rule>(args, *tensor, c, block * kBlock, least(tensor->n, (block + 1) * kBlock));
  });
}

void step(const StepArgs& args) noexcept {
  with_lanes(args.dtype, [&](auto v) {
    using V = decltype(v);
    with_optimizer(args.optimizer, [&](auto rule) { step_list<V, decltype(rule)>(args); });
  });
}
