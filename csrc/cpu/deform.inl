// deform: random affine and elastic deformations of grey images.
//
// Computes   kernels.h has the formula. An image at a time: noise, smoothed along columns, then, row by row, smoothed
//            along rows, added to the affine map, and the image looked up there.
// Layout     of a thread's workspace, S = width rounded up to 16, margins of zeros where the taps reach outside:
//              noise   [2][radius + height + radius][S]
//              smooth  [2][height][margin + S + margin]
//              source  [1 + height + 2][1 + width + 2], the image in a ring of background: coordinates are held to
//                      [-1, height] x [-1, width], and need no further tests
// Arithmetic a pair of taps is two loads and three operations, of each field and pass: they bound it. No fma, for the
//            scalar table has none.
// Measured   us an image of 29 x 29, 21 taps, elastic + affine / affine alone, one thread of an Intel Xeon (Sapphire
//            Rapids) that others used at the same time, by CPU time: AVX-512 4.7 / 1.5, AVX2 6.0 / 1.4, scalar 21
//            / 4.3. `python bench/deform.py` compares with SciPy.
// Refs       formulas/deform.h.

inline int64_t to_sixteen(int64_t n) { return (n + 15) / 16 * 16; }

// Offsets in floats.
struct DeformSpace {
  int64_t radius, stride, margin, span, ring, drawn;  // drawn: words of a row
  int64_t noise_field, smooth_field;                  // from the field of x to that of y
  int64_t smooth, source, column, words, total;       // noise is at 0

  explicit DeformSpace(const DeformArgs& args)
      : radius(most(0, args.radius)),
        stride(to_sixteen(args.width)),
        margin(to_sixteen(radius)),
        span(stride + 2 * margin),
        ring(args.width + 3),
        drawn(4 * noise_counters(args.width)),
        noise_field((args.height + 2 * radius) * stride),
        smooth_field(args.height * span),
        smooth(2 * noise_field),
        source(smooth + 2 * smooth_field),
        column(source + to_sixteen((args.height + 3) * ring)),
        words(column + stride),
        total(words + args.height * drawn + kPhiloxWords) {}
};

// What stays as it is from image to image.
inline void prepare_space(const DeformArgs& args, const DeformSpace& at, float* space) {
  for (int64_t i = 0; i < at.source; ++i) space[i] = 0.0f;
  for (int64_t i = at.source; i < at.column; ++i) space[i] = args.background;
  const float centre = 0.5f * static_cast<float>(args.width - 1);
  for (int64_t j = 0; j < at.stride; ++j) space[at.column + j] = static_cast<float>(j) - centre;
}

// The compiler vectorises the inner loops: nothing in them is rounded.
inline void draw_noise(const DeformArgs& args, const DeformSpace& at, uint64_t counter, float* space) {
  uint32_t* const words = reinterpret_cast<uint32_t*>(space + at.words);
  for (int64_t i = 0; i < args.height * at.drawn; i += kPhiloxWords)
    philox_words(args.seed, args.stream, counter + static_cast<uint64_t>(i / 4), words + i);
  for (int64_t i = 0; i < args.height; ++i) {
    const uint32_t* const word = words + i * at.drawn;
    float* const x = space + (at.radius + i) * at.stride;
    float* const y = x + at.noise_field;
    for (int64_t j = 0; j < at.drawn; ++j) {
      x[j] = noise_x(word[j]);
      y[j] = noise_y(word[j]);
    }
    for (int64_t j = args.width; j < at.drawn; ++j) x[j] = y[j] = 0.0f;
  }
}

// a, b = the taps' sums at `from` and at `from + field`, neighbours `step` apart.
inline void smooth_at(const DeformArgs& args, const float* from, int64_t field, int64_t step, F32& a, F32& b) {
  const F32 middle = F32::set(args.taps[0]);
  a = middle * F32::load(from);
  b = middle * F32::load(from + field);
  const float* before = from;
  const float* after = from;
  for (int k = 1; k <= args.radius; ++k) {
    before -= step;
    after += step;
    const F32 tap = F32::set(args.taps[k]);
    a = a + tap * (F32::load(before) + F32::load(after));
    b = b + tap * (F32::load(before + field) + F32::load(after + field));
  }
}

inline void smooth_columns(const DeformArgs& args, const DeformSpace& at, float* space) {
  for (int64_t i = 0; i < args.height; ++i) {
    const float* const from = space + (at.radius + i) * at.stride;
    float* const to = space + at.smooth + i * at.span + at.margin;
    for (int64_t j = 0; j < at.stride; j += F32::N) {
      F32 a, b;
      smooth_at(args, from + j, at.noise_field, at.stride, a, b);
      a.store(to + j);
      b.store(to + at.smooth_field + j);
    }
  }
}

template <class From> void put_in_ring(const DeformArgs& args, const DeformSpace& at, const From* x, float* space) {
  for (int64_t i = 0; i < args.height; ++i) {
    float* const to = space + at.source + (i + 1) * at.ring + 1;
    for (int64_t j = 0; j < args.width; ++j) to[j] = static_cast<float>(x[i * args.width + j]);
  }
}

// The image in the ring at (u, v).
inline F32 interpolate(const DeformArgs& args, const DeformSpace& at, const float* source, F32 u, F32 v) {
  const F32 least = F32::set(-1.0f);
  u = min(max(u, least), F32::set(static_cast<float>(args.width)));
  v = min(max(v, least), F32::set(static_cast<float>(args.height)));
  const F32 left = floor(u), top = floor(v), right_share = u - left, lower_share = v - top;
  const F32 ring = F32::set(static_cast<float>(at.ring));
  const F32 place = (top * ring + left) + F32::set(static_cast<float>(at.ring + 1));  // exact below 2^24
  const F32 p00 = look_up(source, place), p01 = look_up(source + 1, place);
  const F32 p10 = look_up(source + at.ring, place), p11 = look_up(source + at.ring + 1, place);
  const F32 upper = p00 + right_share * (p01 - p00), lower = p10 + right_share * (p11 - p10);
  return upper + lower_share * (lower - upper);
}

// Row i of y, and of the fields.
inline void deform_row(const DeformArgs& args, const DeformSpace& at, const DeformMap& map, const float* space,
                       int64_t i, float* y, float* fields) {
  const float from_centre = static_cast<float>(i) - 0.5f * static_cast<float>(args.height - 1);
  const F32 u0 = F32::set(plus(times(map.xy, from_centre), 0.5f * static_cast<float>(args.width - 1)));
  const F32 v0 = F32::set(plus(times(map.yy, from_centre), 0.5f * static_cast<float>(args.height - 1)));
  const F32 xx = F32::set(map.xx), yx = F32::set(map.yx), alpha = F32::set(args.alpha);
  const float* const smooth = space + at.smooth + i * at.span + at.margin;
  for (int64_t j = 0; j < args.width; j += F32::N) {
    const int n = static_cast<int>(least(F32::N, args.width - j));
    const F32 column = F32::load(space + at.column + j);
    F32 u = xx * column + u0, v = yx * column + v0;
    if (args.radius >= 0) {
      F32 a, b;
      smooth_at(args, smooth + j, at.smooth_field, 1, a, b);
      a = alpha * a;
      b = alpha * b;
      u = u + a;
      v = v + b;
      if (fields != nullptr) {
        store_some(a, fields + i * args.width + j, n);
        store_some(b, fields + (args.height + i) * args.width + j, n);
      }
    }
    store_some(interpolate(args, at, space + at.source, u, v), y + j, n);
  }
}

template <class From> void deform_images(const DeformArgs& args, int64_t begin, int64_t end) {
  const DeformSpace at(args);
  const int64_t pixels = args.height * args.width;
  float* const space = static_cast<float*>(workspace(Workspace::panel_a, at.total * int64_t{sizeof(float)}));
  prepare_space(args, at, space);
  for (int64_t r = begin; r < end; ++r) {
    const int64_t from = args.index != nullptr ? args.index[r] : r;
    const uint64_t counter = first_counter(args.first + from, args.height, args.width);
    const DeformMap map =
        draw_map(args.rotation, args.shear, args.scale_x, args.scale_y,
                 args.factor != nullptr ? args.factor[from] : 1.0f, philox(args.seed, args.stream, counter));
    if (args.radius >= 0) {
      draw_noise(args, at, counter + 1, space);
      smooth_columns(args, at, space);
    }
    put_in_ring(args, at, static_cast<const From*>(args.x) + from * args.ldx, space);
    float* const fields = args.fields != nullptr ? args.fields + r * 2 * pixels : nullptr;
    for (int64_t i = 0; i < args.height; ++i)
      deform_row(args, at, map, space, i, args.y + r * pixels + i * args.width, fields);
  }
}

void deform(const DeformArgs& args) noexcept {
  const int64_t pixels = args.height * args.width;
  if (args.rows == 0 || pixels == 0) return;
  for_blocks(args.rows, most(1, kBlock / pixels), args.rows * pixels >= kCostlyParallel,
             [&](int64_t begin, int64_t end) {
               if (args.from == DType::uint8) deform_images<uint8_t>(args, begin, end);
               else deform_images<float>(args, begin, end);
             });
}
