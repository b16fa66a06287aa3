#!/usr/bin/env bats
# 05 · A thread pool: four reads at once, and the loop goes on ticking. What is
# asked of our own pool is asked of libuv's as well, where that is built.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
    POOLS=(05-thread-pool)
    if [[ -x $BIN/05-libuv ]]; then
        POOLS+=(05-libuv)
    fi
}

need_libuv() {
    [[ -x $BIN/05-libuv ]] ||
        skip 'libuv was not there when this was built (libuv1-dev)'
}

# threads_are N: the main thread and N in the pool. ThreadSanitizer has one of
# its own.
threads_are() {
    local extra=0
    ! built_with thread || extra=1
    assert_equal "$(fact threads)" $(($1 + 1 + extra))
}

# slowly PROGRAM [ARGUMENTS]: run it, and let each of its reads of $FILE take 30 ms more.
# So what is in flight meanwhile does not depend on the disk, and hardly on how busy the
# machine is: beside 16 other processes, on two processors, 13 of 16 runs had as many in
# flight as can be. Without it none of 20 had, once.
slowly() {
    run -0 --separate-stderr strace -f -o /dev/null -P "$FILE" -e signal=none \
        -e trace=pread64 -e inject=pread64:delay_exit=30000 "$BIN/$1" "${@:2}"
}

# main_thread: the first one that strace saw.
main_thread() { sed -n '1s/ .*//p' "$STRACE_LOG"; }

# by_main NAME [TEXT]...: how many of those calls the main thread made.
by_main() { calls "$@" | grep -c "^$(main_thread) " || :; }

# reads_at_once: the most pread64() of $FILE that had begun and not returned, by
# strace's own account: a call that another one interrupts is "unfinished", and
# "resumed" later.
reads_at_once() {
    FILE=$FILE perl -ne '
        BEGIN { $most = 0; }
        my ($by) = /^(\d+)/;
        delete $in{$by} if /<\.\.\. pread64 resumed>/;
        next if !/ pread64\(\d+<\Q$ENV{FILE}\E>/;
        $in{$by} = 1;
        $most = keys %in if keys %in > $most;
        delete $in{$by} if !/<unfinished \.\.\.>/;
        END { print "$most\n"; }' "$STRACE_LOG"
}

# wake_ups: how many waits of the main thread returned with the eventfd. The
# program stored its number with it. strace writes that as {u32=6, u64=6}, or as
# 0x7ffd00000006 where only the lower half has been set: the number is in that.
wake_ups() {
    MAIN=$(main_thread) perl -ne '
        next if !s/^$ENV{MAIN} +//;
        $eventfd = $1 if /^eventfd2\(.* = (\d+)/;
        next if !/^(?:<\.\.\. )?epoll_p?wait\b/;
        for (/ data=(?:\{u32=)?(\w+)/g) {
            $n++ if ((/^0x/ ? hex : $_) & 0xffffffff) == $eventfd;
        }
        END { print $n + 0, "\n"; }' "$STRACE_LOG"
}

# --- What both pools do ---------------------------------------------------------

@test "the same bytes as 01, by four threads beside the main one" {
    for program in "${POOLS[@]}"; do
        run -0 --separate-stderr "$BIN/$program" "$FILE"
        assert_equal "$(fact checksum)" "$(checksum_of_01)"
        threads_are 4
        assert [ "$(fact 'most in flight')" -le 4 ]
        order=$(fact 'completed in the order' | tr ' ' '\n' | sort -n | paste -sd ' ')
        assert_equal "$order" '0 1 2 3 4 5 6 7'
        assert_equal "$stderr" ''
    done
}

# A busy machine may keep a thread from its processor, or the loop. So: never
# more than four, and once in twenty runs is enough for all the rest.
@test "cold, four are in flight, submit does not wait for them, and ticks go on" {
    need_strace
    need_cold
    for program in "${POOLS[@]}"; do
        for _ in {1..20}; do
            slowly "$program" "$FILE"
            assert_line --index 0 --partial ', cold: 0 of '
            assert [ "$(fact 'most in flight')" -le 4 ]
            early=$(in_submit)
            if [[ $(fact 'most in flight') == 4 ]] && ((${early% of 8} < 8)) &&
                (($(fact 'ticks during the reads') > 0)); then
                continue 2
            fi
        done
        fail "$output"
    done
}

@test "strace: the pool reads, the main thread does not; four at once" {
    need_strace
    need_cold
    for program in "${POOLS[@]}"; do
        for _ in {1..20}; do
            strace_calls execve,pread64,preadv,read "$BIN/$program" "$FILE"
            assert_success
            # Eight cold and eight warm ones.
            assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 16
            assert_equal "$(by_main pread64 "<$FILE>")" 0
            assert_equal "$(count_calls read "<$FILE>")" 0
            assert_equal "$(count_calls preadv "<$FILE>")" 0
            assert [ "$(reads_at_once)" -le 4 ]
            if (($(reads_at_once) == 4)); then continue 2; fi
        done
        fail "$(cat "$STRACE_LOG")"
    done
}

@test "a result comes with a wake-up through the eventfd" {
    need_strace
    for program in "${POOLS[@]}"; do
        strace_calls execve,eventfd2,read,write,epoll_ctl,?epoll_wait,epoll_pwait \
            "$BIN/$program" "$FILE"
        assert_success
        assert_equal "$(by_main eventfd2 EFD_NONBLOCK)" 1
        # (A newer libuv hands this to io_uring.)
        [[ $program == *-libuv ]] ||
            assert_equal "$(by_main epoll_ctl EPOLL_CTL_ADD '[eventfd]')" 1
        # The threads write to it, and the main thread's wait returns with it;
        # one return can be for several writes. (libuv writes only when nobody
        # else has just done so.)
        writes=$(count_calls write '[eventfd]>')
        assert [ "$writes" -gt 0 ]
        assert_equal "$(by_main write '[eventfd]>')" 0
        assert [ "$(wake_ups)" -gt 0 ]
        assert [ "$(wake_ups)" -le "$writes" ]
        # Ours then reads it. So does libuv before 1.53, which has since asked
        # epoll for edges: it is told of each write once, and need not read.
        [[ $program == *-libuv ]] ||
            assert_equal "$(by_main read '[eventfd]>')" "$(wake_ups)"
    done
}

@test "the pool's threads end before the program does" {
    need_strace
    ! built_with thread || skip 'ThreadSanitizer has a thread of its own'
    for program in "${POOLS[@]}"; do
        strace_calls execve,exit,exit_group "$BIN/$program" "$FILE"
        assert_success
        run -0 awk '$2 ~ /^exit\(0/ { n++ }
            $2 ~ /^exit_group\(0/ { print n; exit }' "$STRACE_LOG"
        # libuv does it in a destructor, when main() has returned.
        assert_output 4
    done
}

@test "an error comes back with the result: which read, and why" {
    need_strace
    for program in "${POOLS[@]}"; do
        strace_calls pread64 -P "$FILE" -e inject=pread64:error=EIO:when=1 \
            "$BIN/$program" "$FILE"
        assert_failure 1
        assert_regex "$stderr" \
            "^$program: reading $FILE at byte [0-9]+: Input/output error\$"
    done
}

@test "a read that a signal interrupts is made again" {
    need_strace
    for program in "${POOLS[@]}"; do
        strace_calls pread64 -P "$FILE" -e inject=pread64:error=EINTR:when=1 \
            "$BIN/$program" "$FILE"
        assert_success
        assert [ "$(grep -c ' EINTR ' "$STRACE_LOG")" -gt 0 ]
        assert_equal "$(fact checksum)" "$(checksum_of_01)"
    done
}

@test "a short read is finished, not taken for the whole" {
    need_strace
    for program in "${POOLS[@]}"; do
        strace_short pread64 "$BIN/$program" "$FILE"
        assert_success
        assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 32
        assert_equal "$(fact checksum)" "$(checksum_of_01)"
    done
}

# A busy machine may have the read done before the loop is at its wait, or push
# in switches of its own: hence the twenty runs, and no upper bound.
@test "a read through the pool costs two context switches, a plain one none" {
    need_cold
    for program in "${POOLS[@]}"; do
        for _ in {1..20}; do
            run -0 "$BIN/$program" "$FILE"
            switches=$(fact 'context switches')
            run -0 "$BIN/01-blocking-read" "$FILE"
            if ((${switches%% *} >= 16)) && [[ $(fact 'sleeps in submit' 2) == 0 ]]
            then
                continue 2
            fi
        done
        fail "$program: $switches"
    done
}

# --- Our own --------------------------------------------------------------------

@test "--threads: as many in flight at most, with fewer and more than blocks" {
    for n in 1 2 3 8 64; do
        run -0 "$BIN/05-thread-pool" --threads $n -n 20 "$FILE"
        assert_equal "$(fact checksum)" "$(checksum_of_01 -n 20)"
        assert [ "$(fact 'most in flight')" -le $n ]
        threads_are $n
    done
    need_strace
    for _ in {1..20}; do
        slowly 05-thread-pool --threads 8 "$FILE"
        if [[ $(fact 'most in flight') == 8 ]]; then return 0; fi
    done
    fail "$output"
}

@test "--threads 1: one at a time, in order, and still the loop ticks" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/05-thread-pool" --threads 1 "$FILE"
        assert_equal "$(fact 'most in flight')" 1
        assert_equal "$(fact 'completed in the order')" '0 1 2 3 4 5 6 7'
        if (($(fact 'ticks during the reads') > 0)); then return 0; fi
    done
    fail "$output"
}

@test "each thread has the stack that ulimit says, and touches little of it" {
    for kib in 1024 4096; do
        run -0 bash -c 'ulimit -s $1 && "$2" "$3"' - $kib \
            "$BIN/05-thread-pool" "$FILE"
        assert_regex "$(fact 'stack of a thread')" \
            "^$kib KiB reserved, [0-9]+ KiB touched$"
        touched=$(fact 'stack of a thread' | sed 's/.*, \([0-9]*\) .*/\1/')
        assert [ "$touched" -gt 0 ]
        assert [ "$touched" -lt $kib ]
    done
}

# All four fail at the same time, and only one may tell and exit.
@test "threads that can't wake the loop say so, once" {
    need_strace
    for _ in {1..5}; do
        run -1 --separate-stderr timeout 60 strace -f -o /dev/null \
            -e signal=none -e inject=write:error=EAGAIN:when=1 \
            "$BIN/05-thread-pool" "$FILE"
        assert_regex "$stderr" '05-thread-pool: waking the event loop'
        assert_equal "$(grep -o waking <<<"$stderr" | wc -l)" 1
    done
}

# with_tsan SOURCE: build it with ThreadSanitizer, to $BATS_TEST_TMPDIR/tsan.
with_tsan() {
    cd "$ROOT" || return
    local flags=(-g -O1 -fsanitize=thread -Icommon)
    echo 'int main(void) { return 0; }' >"$BATS_TEST_TMPDIR/empty.c"
    if ! "${CC:-cc}" "${flags[@]}" "$BATS_TEST_TMPDIR/empty.c" \
        -o "$BATS_TEST_TMPDIR/empty" || ! "$BATS_TEST_TMPDIR/empty"; then
        skip 'ThreadSanitizer does not work here'
    fi
    "${CC:-cc}" "${flags[@]}" "$1" common/*.c -pthread -lz \
        -o "$BATS_TEST_TMPDIR/tsan"
}

# bats test_tags=deep
@test "ThreadSanitizer finds no race; without the mutex it does" {
    source=chapters/05-thread-pool/thread-pool.c
    with_tsan "$source"
    for n in 1 4 16; do
        run -0 --separate-stderr "$BATS_TEST_TMPDIR/tsan" --threads $n -n 64 "$FILE"
        assert_equal "$stderr" ''
        assert_equal "$(fact checksum)" "$(checksum_of_01 -n 64)"
    done

    # The results are put into their queue unguarded.
    broken=$BATS_TEST_TMPDIR/broken.c
    perl -0pe 's/lock\(pool\);\n( *append\(&pool->done, request\);)\n *unlock\(pool\);/$1/
        or die "nothing to break\n"' "$source" >"$broken"
    with_tsan "$broken"
    for _ in {1..20}; do
        # At once: a result that got lost would be waited for without an end.
        TSAN_OPTIONS=halt_on_error=1 run --separate-stderr \
            timeout 60 "$BATS_TEST_TMPDIR/tsan" -n 64 "$FILE"
        [[ $stderr != *'data race'* ]] || return 0
    done
    fail "no race found: $stderr"
}

# --- libuv's --------------------------------------------------------------------

@test "UV_THREADPOOL_SIZE sets how many libuv has, and so how many in flight" {
    need_libuv
    need_strace
    for n in 1 2 8; do
        export UV_THREADPOOL_SIZE=$n
        for _ in {1..20}; do
            slowly 05-libuv "$FILE"
            assert_equal "$(fact checksum)" "$(checksum_of_01)"
            threads_are $n
            assert [ "$(fact 'most in flight')" -le $n ]
            if (($(fact 'most in flight') == n)); then continue 2; fi
        done
        fail "$output"
    done
}

@test "where libuv calls abort(), the program says so and exits 1" {
    need_libuv
    need_strace
    run -1 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=epoll_wait,epoll_pwait:error=EPERM "$BIN/05-libuv" "$FILE"
    # A newer libuv prints the assertion that failed in front of it.
    assert_regex "$stderr" '05-libuv: libuv has given up: '
}
