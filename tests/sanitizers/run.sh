#!/usr/bin/env bash
# Builds the kernels with a sanitizer of gcc into build/sanitize/<name>, beside whatever is installed, and runs the tests
# of the operations there:   tests/sanitizers/run.sh address|thread [pytest's arguments]
#
# Only our own code is instrumented. That is enough for bounds and undefined behaviour; ThreadSanitizer has to be told of
# torch's threads, which run_tasks in csrc/common/tensors.h does, and to take no notice of what other libraries do.
set -euo pipefail
name=${1:?address or thread}
shift
cd "$(dirname "$0")/../.."
case $name in
    address) library=libasan.so symbol=__asan_report_load ;;
    thread) library=libtsan.so symbol=__tsan_read ;;
    *) echo "unknown sanitizer $name: address or thread" >&2 && exit 2 ;;
esac
target=$PWD/build/sanitize/$name
compiler=${CXX:-g++}
export GMCN_SANITIZE=$name
echo "Building with the $name sanitizer into $target ..."
mkdir -p "$target"
rm -rf "$target/tests" "$target"/report.*
python setup.py --quiet build --build-lib "$target" --build-temp "$target.tmp" >"$target.log" 2>&1 ||
    { cat "$target.log" >&2 && exit 1; }
cp -r tests pyproject.toml "$target"
for built in "$target"/gmcn/_kernels*.so; do
    nm -D "$built" | grep -c "$symbol" >/dev/null || { echo "$built is not instrumented" >&2 && exit 1; }
done

# The run-time library comes before all others; libstdc++ with it, else exceptions are not seen.
LD_PRELOAD="$($compiler -print-file-name=$library) $($compiler -print-file-name=libstdc++.so.6)"
export LD_PRELOAD PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1
# Python and torch keep memory until the end of the process: leaks of theirs are not our business.
export ASAN_OPTIONS=detect_leaks=0:exitcode=66:log_path=$target/report
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=exitcode=66:ignore_noninstrumented_modules=1:log_path=$target/report
export GMCN_TEST_THREADS=3 OMP_NUM_THREADS=3 PYTHONPATH=$target
cd "$target"
status=0
# Not the tests that start processes of their own for the instruction sets: the loop below is for these. What C code
# prints has to come through: undefined behaviour is told on the standard error and ends the process.
tests() {
    python -X faulthandler -m pytest -q -p no:cacheprovider --capture=sys -m "not slow" \
        --ignore tests/ops/test_cpu_paths.py "$@"
}
tests tests/ops tests/fitting/test_shares.py "$@" || status=$?
python tests/sanitizers/exercise.py cpu || status=$?
for path in avx2 baseline; do
    GMCN_CPU_PATH=$path python -c "from gmcn import _inspect; _inspect.cpu_path()" 2>/dev/null || continue
    GMCN_CPU_PATH=$path tests tests/ops/test_evaluate.py tests/ops/test_relu_fit.py tests/ops/test_tree_log_prob.py \
        -k "compiled or not reference" "$@" || status=$?
done
unset LD_PRELOAD
# The other reports are files, so that none is lost in another's lines.
if compgen -G "$target/report.*" >/dev/null; then
    cat "$target"/report.* >&2
    echo "The $name sanitizer has reported the above ($target/report.*)." >&2
    exit 66
fi
exit "$status"
