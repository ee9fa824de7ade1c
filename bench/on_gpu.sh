#!/usr/bin/env bash
# Everything that wants a GPU, in one go.
#
#   bash bench/on_gpu.sh OUT [PART...]
#
# | part     | seconds | what                                                                                     |
# |----------|---------|------------------------------------------------------------------------------------------|
# | build    |     130 | pip install of this checkout with CUDA into build/on_gpu/site; registers and spills      |
# | test     |     110 | the tests marked gpu, a process for every file                                           |
# | sanitize |      75 | compute-sanitizer's tools on tests/cuda_sanitize.py, memcheck twice, at the same time    |
# | measure  |      25 | bench/cuda/limits.cu: barriers, L2, how tensor cores add up, nodes of graphs             |
# | bench    |     175 | every bench with --device cuda, and the report                                           |
# | smoke    |      15 | `deltarule train` on MNIST where ../shared/data/mnist is, else on the digits             |
#
# Together 530 seconds at most, made for 16 cores and an H100; a part that needs less leaves the rest to those after it,
# and parts that are named share the 530 seconds among them (TOTAL changes that). Parts but the first use what `build`
# has left in build/on_gpu, or the deltarule that is installed. A part that fails does not stop the others; the exit
# code is 1 then. No network is needed.
#
# OUT gets four files: summary.txt, log.txt (what all parts printed), bench.json and REPORT_CUDA.md. To keep figures:
# copy bench.json to bench/results/cuda/NAME.json and run `python bench/report.py --device cuda`.
#
# PYTHON names the interpreter. CUDA=EMULATE rehearses the script without a GPU: the build has one in software, benches
# are quick ones, and sanitize and measure are left out.
set -u -o pipefail

ORDER=(build test sanitize measure bench smoke)
declare -A BUDGET=([build]=130 [test]=110 [sanitize]=75 [measure]=25 [bench]=175 [smoke]=15)
TOTAL=${TOTAL:-530}
CUDA=${CUDA:-ON}

self=$(readlink -f "${BASH_SOURCE[0]}")
repository=$(dirname "$(dirname "$self")")
python=${PYTHON:-python3}
work=$repository/build/on_gpu
site=$work/site
jobs=$(nproc)
# The slow ones of the GPU compile its kernels by themselves, which 16 cores do in a minute.
tests=(-m gpu -q -p no:cacheprovider)
[[ $CUDA == ON ]] || tests[1]="gpu and not slow"
# Plugins of other packages warn, and a warning is an error in our tests; JAX would take most of the memory.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 XLA_PYTHON_CLIENT_PREALLOCATE=false MPLBACKEND=Agg

usage() {
  sed -n '2,25s/^# \{0,1\}//p' "$self"
  exit 2
}

# What `build` made comes first, and what the checkout does not hold is not looked for there.
use_build() {
  cd "$repository" || exit 1
  if [[ -d $site/deltarule ]]; then export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}; fi
  if ! "$python" - "$site" <<'PYTHON'; then
import pathlib, sys

import deltarule

found, built = pathlib.Path(deltarule.__file__), pathlib.Path(sys.argv[1])
if (built / "deltarule").exists() and found.parent != built / "deltarule":
    sys.exit(f"{found} is imported and not what was built: is there an editable install?")
from deltarule import cuda

if not cuda.is_available():
    sys.exit(cuda.missing())
PYTHON
    echo "RESULT no deltarule with a GPU: run the part build first"
    exit 1
  fi
}

architecture() {
  local found
  found=$(nvidia-smi -i 0 --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -d '. ')
  case ${found:-90} in
    90) echo 90a-real ;;
    *) echo "$found-real" ;;
  esac
}

# The parts; the last line that begins with RESULT goes into the summary.

part_build() {
  rm -rf "$site"
  local log=$work/build.log
  local settings=(-C "build-dir=$work/cmake" -C "cmake.define.DELTARULE_CUDA=$CUDA")
  if [[ $CUDA == ON ]]; then
    settings+=(-C "cmake.define.DELTARULE_CUDA_ARCHITECTURES=$(architecture)" -C "cmake.define.CMAKE_CUDA_FLAGS=-Xptxas=-v")
  fi
  CMAKE_BUILD_PARALLEL_LEVEL=$jobs "$python" -m pip install -v --no-build-isolation --no-deps --disable-pip-version-check \
    --root-user-action=ignore --target "$site" "${settings[@]}" "$repository" >"$log" 2>&1
  local code=$?
  # Per kernel: only those that are not as they should be.
  awk '/Compiling entry function/ { kernels++ }
       /Function properties for/ { name = $NF }
       /bytes spill stores/ && !/ 0 bytes spill stores, 0 bytes spill loads/ { spills++; print name ": " $0 }
       /wgmma.*serialized/ { print }
       END { printf "%d kernels compiled, %d with spills\n", kernels, spills }' "$log" | { c++filt 2>/dev/null || cat; }
  grep -E '(warning|error)( #|:)' "$log" | head -40
  if ((code != 0)); then
    tail -60 "$log"
    echo "RESULT pip install failed"
    return 1
  fi
  use_build
  "$python" - <<'PYTHON' || return 1
import deltarule as dr

print(dr.__file__, dr.info()["cuda"])
x = dr.ones((64, 64), "float32", device="cuda")
assert float((x @ x).sum()) == 64**3, "a product on the GPU is wrong"
PYTHON
  echo "RESULT $("$python" -c 'from deltarule import cuda; print(cuda.properties().name)'), $(
    awk '/Compiling entry function/ { k++ } /bytes spill stores/ && !/ 0 bytes spill stores, 0 bytes spill loads/ { s++ }
         END { printf "%d kernels, %d with spills", k, s }' "$log")"
}

# One file of tests. A kernel's fault ends the GPU for its whole process, and so for one file only.
test_file() {
  local log
  log=$work/tests/$(basename "$1").log
  timeout -k 5 "$2" "$python" -m pytest "${tests[@]}" --tb=short --maxfail=15 "$1" >"$log" 2>&1
  local code=$?
  ((code == 124)) && echo "0 passed, 1 failed: no time left" >>"$log"
  ((code > 1)) && echo "0 passed, 1 failed: exit code $code" >>"$log"
  echo "$(basename "$1"): $(tail -1 "$log")"
}

part_test() {
  use_build
  rm -rf "$work/tests"
  mkdir -p "$work/tests"
  local files found=$work/tests/collected
  if ! "$python" -m pytest "${tests[@]}" --collect-only >"$found" 2>&1; then
    tail -30 "$found"
    echo "0 passed, 1 failed: not every file can be read" >"$work/tests/collect.log"
  fi
  # Those that compile kernels of their own begin.
  mapfile -t files < <(sed -n 's/^\(tests\/[A-Za-z0-9_]*\.py\)::.*/\1/p' "$found" | sort -u |
    awk '/cuda_gemm/ { print; next } { rest = rest $0 "\n" } END { printf "%s", rest }')
  local at_once=$((jobs > 12 ? 6 : (jobs + 1) / 2)) file
  for file in "${files[@]}"; do
    while (($(jobs -rp | wc -l) >= at_once)); do wait -n; done
    test_file "$file" $((LIMIT - SECONDS - 8 > 5 ? LIMIT - SECONDS - 8 : 5)) &
  done
  wait
  for file in "${files[@]}"; do
    printf '\n--- %s\n' "$file"
    cat "$work/tests/$(basename "$file").log"
  done
  local passed failed
  passed=$(grep -hoE '[0-9]+ passed' "$work"/tests/*.log | awk '{ n += $1 } END { print n + 0 }')
  failed=$(grep -hoE '[0-9]+ (failed|errors?)' "$work"/tests/*.log | awk '{ n += $1 } END { print n + 0 }')
  echo "RESULT $passed passed, $failed failed in ${#files[@]} files"
  ((failed == 0 && passed > 0))
}

# NAME TOOL [CALLS]: a tool on some calls or all of them.
sanitize_with() {
  local log=$work/$1.log code word
  timeout -k 5 $((LIMIT - 5)) compute-sanitizer --tool "$2" --error-exitcode 9 --print-limit 20 \
    "$python" tests/cuda_sanitize.py "${@:3}" >"$log" 2>&1
  code=$?
  case $code in
    0) word=clean ;;
    124 | 137) word="no time after $(grep -cE '^(ok|WRONG) ' "$log") calls" ;;
    *) word="errors" ;;
  esac
  echo "$1: $word" >"$work/$1.result"
  return "$code"
}

part_sanitize() {
  use_build
  if ! command -v compute-sanitizer >/dev/null; then
    echo "RESULT there is no compute-sanitizer"
    return 1
  fi
  local tool code=0 running=()
  for tool in memcheck racecheck initcheck synccheck; do
    sanitize_with "$tool" "$tool" &
    running+=($!)
  done
  # The raw slots' operands lie between canaries; of nets and arrays the tool sees the ends if each has its own memory.
  DELTARULE_CUDA_CACHE=0 sanitize_with ends memcheck fit: train_rows: arrays &
  running+=($!)
  for tool in "${running[@]}"; do wait "$tool" || code=1; done
  for tool in memcheck racecheck initcheck synccheck ends; do
    printf '\n--- %s\n' "$tool"
    grep -v '^ok ' "$work/$tool.log" | head -c 300000
  done
  echo "RESULT $(cat "$work"/{memcheck,racecheck,initcheck,synccheck,ends}.result | paste -sd, | sed 's/,/, /g')"
  return "$code"
}

part_measure() {
  cd "$repository" || return 1
  local real
  real=$(architecture)
  real=${real%-real}
  if ! nvcc -std=c++17 -O3 "-gencode=arch=compute_$real,code=sm_$real" bench/cuda/limits.cu -o "$work/limits"; then
    echo "RESULT limits.cu does not compile"
    return 1
  fi
  # A process each: one that hangs or fails leaves the others.
  local what code=0
  for what in graphs accumulation caches barriers; do
    timeout -k 2 12 "$work/limits" "$what" || { echo "$what failed: exit code $?"; code=1; }
  done
  echo "RESULT see log.txt"
  return "$code"
}

part_bench() {
  use_build
  rm -rf "$work/results"
  local options=(--all --device cuda --seconds $((LIMIT > 30 ? LIMIT - 12 : 18)) --results "$work/results")
  [[ $CUDA == ON ]] || options+=(--quick)
  "$python" -u bench/report.py "${options[@]}" --readme "$work/none.md"
  local code=$?
  echo "RESULT $("$python" - "$work/results/cuda" <<'PYTHON'
import json, pathlib, sys

benches = [json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.json")]
counts = [sum(len(bench[key]) for bench in benches) for key in ("rows", "failed", "left_out")]
print("{} rows, {} failed, no time for {}".format(*counts))
PYTHON
  )"
  return "$code"
}

part_smoke() {
  use_build
  local data=(--data digits --epochs 30) folder
  for folder in "$repository/../shared/data/mnist" "$repository/shared/data/mnist"; do
    if [[ -d $folder ]]; then data=(--data mnist --data-dir "$folder" --hidden 300-100 --epochs 5) && break; fi
  done
  [[ $CUDA == ON ]] || data=(--data digits --hidden 20 --epochs 1)
  "$python" -m deltarule train --device cuda "${data[@]}" --out "$work/smoke" --overwrite --json "$work/smoke.json" || return 1
  "$python" - "$work/smoke.json" "$CUDA" <<'PYTHON'
import json, sys

result = json.load(open(sys.argv[1]))
error = result["test_error"]
print(f"RESULT {result.get('data', '')} test error {error:.2%}")
sys.exit(sys.argv[2] == "ON" and error > 0.03)
PYTHON
}

# What of a part goes to OUT even if it was cut short.
collect() {
  local results=$work/results
  [[ $1 == bench ]] && compgen -G "$results/cuda/*.json" >/dev/null || return 0
  "$python" - "$results/cuda" "$out/bench.json" <<'PYTHON'
import json, pathlib, sys

files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"))
pathlib.Path(sys.argv[2]).write_text(json.dumps({path.stem: json.loads(path.read_text()) for path in files}, indent=1) + "\n")
PYTHON
  if [[ ! -f $results/REPORT_CUDA.md ]]; then
    "$python" bench/report.py --device cuda --results "$results" --readme "$work/none.md" >/dev/null
  fi
  [[ -f $results/REPORT_CUDA.md ]] && cp "$results/REPORT_CUDA.md" "$out/"
}

# The script as its own child, under a time limit of LIMIT seconds.
LIMIT=${LIMIT:-0}
case ${ON_GPU_PART:-} in
  build) part_build; exit ;;
  test) part_test; exit ;;
  sanitize) part_sanitize; exit ;;
  measure) part_measure; exit ;;
  bench) part_bench; exit ;;
  smoke) part_smoke; exit ;;
esac

(($# > 0)) || usage
[[ $1 != -* ]] || usage
mkdir -p "$1" "$work" || exit 1
out=$(readlink -f "$1")
shift
for part in "$@"; do
  [[ ${BUDGET[$part]:-} ]] || usage
done
[[ $CUDA == ON ]] || ORDER=(build test bench smoke)
if (($# > 0)); then wanted=("$@"); else wanted=("${ORDER[@]}"); fi

cd "$repository" || exit 1
share=0
for part in "${ORDER[@]}"; do
  [[ " ${wanted[*]} " == *" $part "* ]] && share=$((share + BUDGET[$part]))
done
: >"$out/log.txt"
{
  date -u
  uname -a
  nvidia-smi 2>&1 || echo "no nvidia-smi"
} >>"$out/log.txt"

summary=() failed=0 planned=0
for part in "${ORDER[@]}"; do
  [[ " ${wanted[*]} " == *" $part "* ]] || continue
  planned=$((planned + BUDGET[$part] * TOTAL / share))
  limit=$((planned - SECONDS > 10 ? planned - SECONDS : 10))
  printf '\n=== %s (at most %d s)\n' "$part" "$limit" | tee -a "$out/log.txt"
  before=$SECONDS
  log=$work/part-$part.log
  ON_GPU_PART=$part LIMIT=$limit CUDA=$CUDA PYTHONUNBUFFERED=1 timeout -k 5 "$limit" bash "$self" 2>&1 |
    tee "$log" >>"$out/log.txt"
  code=${PIPESTATUS[0]}
  result=$(sed -n 's/^RESULT //p' "$log" | tail -1)
  case $code in
    0) verdict=passed ;;
    124 | 137) verdict="cut short" failed=1 ;;
    *) verdict=FAILED failed=1 ;;
  esac
  if ((code != 0)); then tail -25 "$log"; fi
  collect "$part"
  summary+=("$(printf '%-9s %-9s %4d s  %s' "$part" "$verdict" $((SECONDS - before)) "$result")")
  printf '%s\n' "${summary[@]}" >"$out/summary.txt"
done

echo
if [[ -f $out/REPORT_CUDA.md ]]; then sed -n '/^| target/,/^$/p' "$out/REPORT_CUDA.md" | tee -a "$out/summary.txt"; fi
printf '%s\n' "${summary[@]}"
echo "$SECONDS s; files in $out: $(cd "$out" && echo *)"
exit $failed
