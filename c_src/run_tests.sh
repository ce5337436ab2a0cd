#!/bin/sh
# Runs C test programs beside each other, as those that take long mostly wait; one
# that fails is shown in full.
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

# A sanitizer may report and leave the exit status as it is, as in a process of a test's.
is_silent() { # LOG
    ! grep -E -q '(WARNING|ERROR|FATAL): [A-Za-z]*Sanitizer|runtime error: ' "$1"
}

run() { # PROGRAM
    log=$1.log
    start=$(date +%s)
    if $runner "$1" >"$log" 2>&1 </dev/null && is_silent "$log"; then
        passed=$(grep -c '\[       OK \]' "$log") || passed=0
        echo "  TEST  ${1##*/}: $passed passed ($(($(date +%s) - start)) s)"
    else
        status=$?
        cat "$log" >&2
        echo "  TEST  ${1##*/} failed with exit status $status" >&2
        return 1
    fi
}

pids=
for program; do
    run "$program" &
    pids="$pids $!"
done
failed=0
for pid in $pids; do
    wait "$pid" || failed=1
done
exit "$failed"
