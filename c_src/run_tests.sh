#!/bin/sh
# Runs C test programs one after the other; the first that fails is shown in
# full and ends the run.
#
#   run_tests.sh VARIANT PROGRAM...
set -eu

variant=$1
shift

ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1}
UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:exitcode=66}
[ ! -f test/tsan.supp ] || TSAN_OPTIONS="suppressions=$PWD/test/tsan.supp:$TSAN_OPTIONS"
export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS

# ThreadSanitizer of gcc 12 cannot map its shadow where a kernel randomises
# addresses with many bits.
runner=
if [ "$variant" = tsan ] && setarch "$(uname -m)" -R true 2>/dev/null; then
    runner="setarch $(uname -m) -R"
fi

for program; do
    log=$program.log
    start=$(date +%s)
    if $runner "$program" >"$log" 2>&1 </dev/null; then
        passed=$(grep -c '\[       OK \]' "$log") || passed=0
        echo "  TEST  ${program##*/}: $passed passed ($(($(date +%s) - start)) s)"
    else
        status=$?
        cat "$log" >&2
        echo "  TEST  ${program##*/} failed with exit status $status" >&2
        exit 1
    fi
done
