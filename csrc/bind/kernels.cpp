// _core.kernels.gemm and online: the slots of the table in use, raw, over 2-D NumPy views without copies. For tests and
// benches: only what would read or write outside an array is checked here; everything else is kernels.h's contract.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bind/stage.h"
#include "engine/names.h"

namespace py = pybind11;

namespace deltarule {
namespace {

using Maybe = std::optional<py::array>;

constexpr const char* kEpilogues[] = {"none", "bias_act", "backprop", "sgd"};  // order of enum Epilogue

DType dtype_of(const char* name, const py::array& c) {
  if (py::isinstance<py::array_t<float>>(c)) return DType::float32;
  check<TypeError>(py::isinstance<py::array_t<double>>(c), name, " is ", py::str(c.dtype()).cast<std::string>(),
                   "; float32 or float64 is wanted");
  return DType::float64;
}

// The leading dimension of a [rows, cols] view of c's dtype whose rows are contiguous.
int64_t ld_of(const char* name, const py::array& x, const py::array& c, int64_t rows, int64_t cols) {
  check<TypeError>(x.dtype().is(c.dtype()), "gemm: ", name, " has another dtype than c");
  check<ValueError>(x.ndim() == 2 && x.shape(0) == rows && x.shape(1) == cols, "gemm: ", name, " is not (", rows, ", ",
                    cols, ")");
  if (x.size() == 0) return cols;  // NumPy's strides of empty arrays mean nothing
  check<ValueError>(cols <= 1 || x.strides(1) == x.itemsize(), "gemm: ", name, " has rows that are not contiguous");
  const int64_t ld = x.strides(0) / x.itemsize();
  check<ValueError>(x.strides(0) % x.itemsize() == 0 && (rows <= 1 || ld >= cols), "gemm: ", name, " has rows ", ld,
                    " elements apart; at least ", cols, " are wanted");
  return ld;
}

// A contiguous [n] of c's dtype.
void check_vector(const char* name, const Maybe& x, const py::array& c, int64_t n) {
  if (!x) return;
  check<TypeError>(x->dtype().is(c.dtype()), "gemm: ", name, " has another dtype than c");
  check<ValueError>(x->ndim() == 1 && x->shape(0) == n && (n <= 1 || x->strides(0) == x->itemsize()), "gemm: ", name,
                    " is not a contiguous (", n, ",)");
}

void* out(Stage& stage, Maybe& x) { return x ? stage.out(*x) : nullptr; }
const void* in(Stage& stage, const Maybe& x) { return x ? stage.in(*x) : nullptr; }

void gemm(const py::array& a, const py::array& b, py::array c, bool trans_a, bool trans_b, double alpha, double beta,
          const std::string& epilogue, const std::string& activation, double slope, Maybe bias, Maybe z, Maybe y,
          Maybe db, double lr, double momentum, double weight_decay, Maybe velocity, bool nesterov,
          const std::string& precision) {
  Stage stage;
  GemmArgs args;
  args.dtype = dtype_of("gemm: c", c);
  args.precision = find_name<Precision>("gemm: precision", precision, kPrecisions);
  args.epilogue = find_name<Epilogue>("gemm: epilogue", epilogue, kEpilogues);
  args.activation = find_name<Activation>("gemm: activation", activation, kActivations);
  check<ValueError>(a.ndim() == 2 && c.ndim() == 2, "gemm: a and c need two dimensions");
  args.trans_a = trans_a;
  args.trans_b = trans_b;
  args.M = c.shape(0);
  args.N = c.shape(1);
  args.K = a.shape(trans_a ? 0 : 1);
  args.alpha = alpha;
  args.beta = beta;
  args.A = stage.in(a);
  args.lda = ld_of("a", a, c, trans_a ? args.K : args.M, trans_a ? args.M : args.K);
  args.B = stage.in(b);
  args.ldb = ld_of("b", b, c, trans_b ? args.N : args.K, trans_b ? args.K : args.N);
  args.ldc = ld_of("c", c, c, args.M, args.N);
  args.C = stage.out(c);
  args.slope = slope;
  check_vector("bias", bias, c, args.N);
  args.bias = in(stage, bias);
  if (z) args.ldz = ld_of("z", *z, c, args.M, args.N);
  args.z = out(stage, z);
  if (y) args.ldy = ld_of("y", *y, c, args.M, args.N);
  args.y = in(stage, y);
  if (args.epilogue == Epilogue::backprop) {
    check<ValueError>(y.has_value(), "gemm: backprop needs y");
    check<ValueError>(z.has_value() || !needs_input(args.activation), "gemm: backprop of ", activation, " needs z");
  }
  check_vector("db", db, c, args.N);
  args.db = out(stage, db);
  args.lr = lr;
  args.momentum = momentum;
  args.weight_decay = weight_decay;
  if (velocity)
    check<ValueError>(ld_of("velocity", *velocity, c, args.M, args.N) == args.ldc || args.M <= 1,
                      "gemm: velocity and c have different row strides");
  args.velocity = out(stage, velocity);
  args.nesterov = nesterov;
  stage.call(&Kernels::gemm, args);
}

// A contiguous array of x's dtype, as `name` must be.
template <int Rank>
void check_operand(const char* name, const py::array& given, const py::array& x, int64_t rows, int64_t cols) {
  const bool shape = Rank == 1 ? given.ndim() == 1 && given.shape(0) == cols
                               : given.ndim() == 2 && given.shape(0) == rows && given.shape(1) == cols;
  check<TypeError>(given.dtype().is(x.dtype()), "online: ", name, " has another dtype than x");
  check<ValueError>(shape && (given.flags() & py::array::c_style) != 0, "online: ", name,
                    " is not a contiguous array of ", rows * cols);
}

void online(const py::array& x, const py::array& dz, py::array w, double lr, double momentum, double weight_decay,
            Maybe velocity, bool nesterov, Maybe dx, const std::string& activation, double slope, Maybe z, Maybe y,
            Maybe db) {
  Stage stage;
  OnlineArgs args{};
  args.dtype = dtype_of("online: x", x);
  check<ValueError>(x.ndim() == 1 && dz.ndim() == 1, "online: x and dz need one dimension");
  args.inputs = x.shape(0);
  args.outputs = dz.shape(0);
  const auto vector = [&](const char* name, Maybe& given) -> void* {
    if (!given) return nullptr;
    check_operand<1>(name, *given, x, 1, args.inputs);
    return stage.out(*given);
  };
  check_operand<1>("x", x, x, 1, args.inputs);
  args.x = stage.in(x);
  check_operand<1>("dz", dz, x, 1, args.outputs);
  args.dz = stage.in(dz);
  check_operand<2>("w", w, x, args.inputs, args.outputs);
  args.w = stage.out(w);
  if (velocity) check_operand<2>("velocity", *velocity, x, args.inputs, args.outputs);
  args.velocity = out(stage, velocity);
  args.lr = lr, args.momentum = momentum, args.weight_decay = weight_decay, args.nesterov = nesterov;
  args.activation = find_name<Activation>("online: activation", activation, kActivations);
  args.slope = slope;
  args.dx = vector("dx", dx), args.z = vector("z", z), args.y = vector("y", y), args.db = vector("db", db);
  check<ValueError>(!y || z || !needs_input(args.activation), "online: ", activation, " needs z");
  stage.call(&Kernels::online, args);
}

}  // namespace

void bind_deform_kernel(py::module_& kernels);
void bind_elementwise_kernels(py::module_& kernels);
void bind_train_rows_kernel(py::module_& kernels);

void bind_kernels(py::module_& m) {
  using namespace pybind11::literals;
  py::module_ kernels = m.def_submodule("kernels", "The raw slots of the table in use (csrc/kernels.h).");
  const Maybe none;
  kernels.def("gemm", gemm, "a"_a, "b"_a, "c"_a, py::kw_only(), "trans_a"_a = false, "trans_b"_a = false,
              "alpha"_a = 1.0, "beta"_a = 0.0, "epilogue"_a = "none", "activation"_a = "linear", "slope"_a = 0.0,
              "bias"_a = none, "z"_a = none, "y"_a = none, "db"_a = none, "lr"_a = 0.0, "momentum"_a = 0.0,
              "weight_decay"_a = 0.0, "velocity"_a = none, "nesterov"_a = false, "precision"_a = "highest");
  kernels.def("online", online, "x"_a, "dz"_a, "w"_a, py::kw_only(), "lr"_a, "momentum"_a = 0.0, "weight_decay"_a = 0.0,
              "velocity"_a = none, "nesterov"_a = false, "dx"_a = none, "activation"_a = "linear", "slope"_a = 0.0,
              "z"_a = none, "y"_a = none, "db"_a = none);
  kernels.def("set_device", &Stage::choose, "name"_a);
  kernels.def("device", [] { return Stage::device().name; });
  kernels.def(
      "peak", [](int64_t rounds) { return Stage::device().kernels().peak(rounds); }, "rounds"_a,
      py::call_guard<py::gil_scoped_release>());
  bind_deform_kernel(kernels);
  bind_elementwise_kernels(kernels);
  bind_train_rows_kernel(kernels);
}

}  // namespace deltarule
