// What the other .inl files (and copy.cpp, random.cpp) share: the choice of lanes, tasks for the thread pool, and the
// walk over a strided grid. Included in an anonymous namespace.
//
// Everything that depends on an operation sits in a loop over contiguous memory, instantiated once per operation and
// dtype. Strides are the walk's business: what is not contiguous passes through a buffer of kChunk elements in L1, so
// that operations are not multiplied by stride combinations.

constexpr int64_t kChunk = 1024;              // elements of a gather buffer: 8 KB at most
constexpr int64_t kBlock = 16384;             // elements of a task
constexpr int64_t kCheapParallel = 1 << 16;   // elements from which threads pay: memory-bound loops
constexpr int64_t kCostlyParallel = 1 << 14;  // and those with an exponential

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

// One register, or the n lanes that are left of a row.
template <class V> inline V load_some(const typename V::scalar* p, int n) {
  return n >= V::N ? V::load(p) : V::load_n(p, n);
}

template <class V> inline void store_some(V x, typename V::scalar* p, int n) {
  if (n >= V::N) x.store(p);
  else x.store_n(p, n);
}

// visit(F32{}) or visit(F64{})
template <class Visitor> void with_lanes(DType dtype, const Visitor& visit) {
  if (dtype == DType::float32) {
    visit(F32{});
  } else {
    visit(F64{});
  }
}

// body(i) for each i in [0, tasks)
template <class Body> void for_tasks(int64_t tasks, bool parallel, const Body& body) {
  if (parallel && tasks > 1) {
    void* context = const_cast<void*>(static_cast<const void*>(&body));
    parallel_for(tasks, [](void* c, int64_t i) { (*static_cast<const Body*>(c))(i); }, context);
  } else {
    for (int64_t i = 0; i < tasks; ++i) body(i);
  }
}

// body(begin, end) over [0, n), cut at multiples of `block` if it goes to threads.
template <class Body> void for_blocks(int64_t n, int64_t block, bool parallel, const Body& body) {
  if (parallel && n > block) {
    for_tasks(blocks_of(n, block), true, [&](int64_t i) { body(i * block, least(n, (i + 1) * block)); });
  } else if (n > 0) {
    body(0, n);
  }
}

// A grid of elements with the strides of K operands, operand 0 the output.
template <int K> struct Grid {
  int rank = 0;
  int64_t total = 1;
  int64_t shape[8];
  int64_t stride[K][8];
};

// Axes of extent 1 dropped; innermost the axis along which the output lies closest.
template <int K> Grid<K> make_grid(int rank, const int64_t* shape, const int64_t* const (&strides)[K]) {
  Grid<K> grid;
  int inner = 0;
  for (int axis = 0; axis < rank; ++axis) {
    grid.total *= shape[axis];
    if (shape[axis] == 1) continue;
    const int at = grid.rank++;
    grid.shape[at] = shape[axis];
    for (int k = 0; k < K; ++k) grid.stride[k][at] = strides[k][axis];
    const int64_t here = grid.stride[0][at], best = grid.stride[0][inner];
    if ((here < 0 ? -here : here) <= (best < 0 ? -best : best)) inner = at;
  }
  if (grid.rank == 0) {
    grid.rank = 1;
    grid.shape[0] = 1;
    for (int k = 0; k < K; ++k) grid.stride[k][0] = 1;
  }
  for (int axis = inner; axis + 1 < grid.rank; ++axis) {
    const int64_t extent = grid.shape[axis];
    grid.shape[axis] = grid.shape[axis + 1];
    grid.shape[axis + 1] = extent;
    for (int k = 0; k < K; ++k) {
      const int64_t stride = grid.stride[k][axis];
      grid.stride[k][axis] = grid.stride[k][axis + 1];
      grid.stride[k][axis + 1] = stride;
    }
  }
  return grid;
}

// row(offsets, count) for the pieces of rows that make up the elements [begin, end) in the grid's order.
template <int K, class Row> void walk(const Grid<K>& grid, int64_t begin, int64_t end, const Row& row) {
  const int inner = grid.rank - 1;
  int64_t index[8], offset[K] = {};
  int64_t rest = begin;
  for (int axis = inner; axis >= 0; --axis) {
    index[axis] = rest % grid.shape[axis];
    rest /= grid.shape[axis];
    for (int k = 0; k < K; ++k) offset[k] += index[axis] * grid.stride[k][axis];
  }
  while (begin < end) {
    const int64_t count = least(grid.shape[inner] - index[inner], end - begin);
    row(offset, count);
    begin += count;
    index[inner] += count;
    for (int k = 0; k < K; ++k) offset[k] += count * grid.stride[k][inner];
    for (int axis = inner; axis > 0 && index[axis] == grid.shape[axis]; --axis) {
      index[axis] = 0;
      ++index[axis - 1];
      for (int k = 0; k < K; ++k) offset[k] += grid.stride[k][axis - 1] - grid.shape[axis] * grid.stride[k][axis];
    }
  }
}

template <class T> void gather(const T* x, int64_t stride, int64_t n, T* buffer) {
  for (int64_t i = 0; i < n; ++i) buffer[i] = x[i * stride];
}

template <class T> void scatter(const T* buffer, int64_t n, T* y, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) y[i * stride] = buffer[i];
}

// Where the elements [at, at + n) of a row can be read as contiguous memory: in place, or gathered into the buffer.
// With stride 0 the buffer stays as the row's first chunk, the longest, has filled it.
template <class T> const T* contiguous(const T* x, int64_t stride, int64_t at, int64_t n, T* buffer) {
  if (stride == 1) return x + at;
  if (stride != 0 || at == 0) gather(x + at * stride, stride, n, buffer);
  return buffer;
}
