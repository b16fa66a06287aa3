#!/usr/bin/env bats
# 05 · A thread pool: other threads read and sleep, the loop goes on meanwhile, and what
# that costs; and libuv's pool, in which a read can wait.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
}

# size_of_file BYTES: a $FILE of that size.
size_of_file() { FILE=$(make_file "$1" other); }

# pool [OPTION]...: run the lesson on $FILE. It must succeed, and say nothing on stderr.
pool() {
    run --separate-stderr in_time "$BIN/05-thread-pool" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# held VARIABLE=VALUE... PROGRAM [ARGUMENTS]: the same for a program of which
# common/test/held.c holds threads back: until the main thread has gone on with its loop,
# and until so many of them read at once. One that does not, or never so many, hangs.
held() {
    run --separate-stderr in_time env LD_PRELOAD=libheld.so LD_LIBRARY_PATH="$BUILD" \
        ASAN_OPTIONS="${ASAN_OPTIONS-}:verify_asan_link_order=0" "$@"
}

# checksums [OPTION]...: is that of each pass 01's?
checksums() {
    local right
    right=$(checksum_of_01 "$@")
    assert_equal "$(fact checksum 1) $(fact checksum 2)" "$right $right"
}

# sorted LIST
sorted() { tr ' ' '\n' <<<"$1" | sort -n | paste -sd ' '; }

# main_thread: the first one that strace saw.
main_thread() { sed -n '1s/ .*//p' "$STRACE_LOG"; }

# by_main NAME [TEXT]...: how many of those calls the main thread made.
by_main() { calls "$@" | grep -c "^$(main_thread) " || :; }

# wake_ups: how many waits of the main thread returned with the eventfd. The program
# stored its number with it. strace writes that as {u32=6, u64=6}, or as 0x7ffd00000006
# where only the lower half has been set: the number is in that.
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

# --- Two passes ---------------------------------------------------------------------

@test "both passes read what 01 reads: the loop alone, then at most four threads at once" {
    pool
    checksums
    assert_equal "$(fact 'most in flight' 1)" 1
    assert [ "$(fact 'most in flight' 2)" -le 4 ]
    # It looks once after each block.
    assert [ "$(fact 'ticks handled' 1)" -le 8 ]
    assert_equal "$(fact 'ticks during the reads' 1)" 0
    assert_equal "$(fact 'completed in the order' 1)" '0 1 2 3 4 5 6 7'
    assert_equal "$(sorted "$(fact 'completed in the order' 2)")" '0 1 2 3 4 5 6 7'
}

# bats test_tags=deep
@test "--threads: as many in flight at most, with fewer and more than blocks" {
    for n in 1 2 3 64; do
        pool --threads $n -n 16 -s "$PAGE"
        checksums -n 16 -s "$PAGE"
        assert [ "$(fact 'most in flight' 2)" -le $n ]
    done
    assert_equal "$(sorted "$(fact 'completed in the order' 2)")" "$(seq -s ' ' 0 15)"
    pool --threads 1
    assert_equal "$(fact 'completed in the order' 2)" '0 1 2 3 4 5 6 7'
}

# No read ends before the loop has gone round thirty times, and before as many threads as
# there are in the pool are in a read. So this needs no quiet machine and no disk, and
# there is nothing to try again.
# bats test_tags=deeper
@test "submit waits for no read, four are in flight at once, and the loop ticks meanwhile" {
    for n in 4 ${DEEP:+1 2 8}; do
        held HELD_TURNS=30 HELD_READS="$n" "$BIN/05-thread-pool" --threads "$n" "$FILE"
        assert_equal "$stderr" ''
        assert_success
        checksums
        assert_equal "$(fact 'most in flight' 2)" "$n"
        # The reads took thirty turns, and more.
        assert_equal "$(fact 'ticks during the reads' 1)" 0
        assert [ "$(fact 'ticks during the reads' 2)" -ge 25 ]
    done
}

# It was so in 50 of 50 runs, and in 50 of 50 beside four other programs on two
# processors. One that sleeps in its submit does so in each run.
@test "cold: the loop sleeps in its reads; with a pool, the threads do, and no submit" {
    need_cold
    good=0
    for _ in {1..5}; do
        pool
        assert_line --index 0 --partial ', cold: 0 of '
        (($(fact 'sleeps in submit' 1) < 7 || $(fact 'sleeps in submit' 2) > 0 ||
            $(fact 'sleeps of the workers') < 7)) || good=$((good + 1))
        ((good < 3)) || break
    done
    assert [ $good -ge 3 ]
}

# Nobody has to sleep for a page that is there. But a thread can lose its processor there.
# bats test_tags=deep
@test "warm: in one of five runs nobody sleeps in a read" {
    for _ in {1..5}; do
        pool --warm 8
        if [[ $(fact 'sleeps in submit' 1) == 0 && $(fact 'sleeps of the workers') == 0 ]]
        then
            return 0
        fi
    done
    fail "$output"
}

# It was another order in 29 of 30 runs, and in 30 of 30 beside four other programs.
@test "cold: the threads do not keep the order, the loop does" {
    need_cold
    for _ in {1..3}; do
        pool -n 16 -s "$PAGE"
        assert_equal "$(fact 'completed in the order' 1)" "$(seq -s ' ' 0 15)"
        [[ $(fact 'completed in the order' 2) == "$(seq -s ' ' 0 15)" ]] || return 0
    done
    fail "$output"
}

# Somebody else has both processors, and more. No submit slept in 110 runs.
# bats test_tags=deep
@test "on busy processors submit sleeps in two of ten runs at most, and all is read" {
    busy=()
    for _ in {1..4}; do
        perl -e 'alarm 60; 1 while 1' 3>&- &
        busy+=($!)
    done
    good=0
    for _ in {1..10}; do
        run -0 "$BIN/05-thread-pool" "$FILE"
        [[ $(fact 'sleeps in submit' 2) != 0 ]] || good=$((good + 1))
    done
    kill "${busy[@]}"
    checksums
    assert [ $good -ge 8 ]
}

# ticks_read: of each pass, how often the loop has read its timer.
ticks_read() {
    perl -ne '
        $pass++ if /timerfd_settime\(/;
        $reads[$pass]++ if /\bread\(\d+<anon_inode:\[timerfd\]>/;
        END { print +($reads[$_] // 0), "\n" for 1 .. $pass }' "$STRACE_LOG"
}

# Each read takes 30 ms more. The loop that reads is as late as that. The other one only
# waits, unless somebody else has the processors.
@test "late, at most: as long as a read in the loop, and less with a pool" {
    need_strace
    for _ in {1..5}; do
        run --separate-stderr in_time strace -f -o /dev/null -P "$FILE" -e signal=none \
            -e trace=pread64 -e inject=pread64:delay_exit=30000 \
            "$BIN/05-thread-pool" "$FILE"
        assert_equal "$stderr" ''
        assert_success
        loop=$(fact 'late, at most' 1) pool=$(fact 'late, at most' 2)
        assert [ "${loop%.*}" -ge 29 ]
        ((${pool%.*} >= 29)) || return 0
    done
    fail "late: loop $loop, pool $pool"
}

# --- Who does what ------------------------------------------------------------------

# Everything that one run under strace shows.
@test "strace: who reads, who wakes the loop, and how often it reads its timer" {
    need_strace
    strace_calls execve,pread64,preadv,eventfd2,read,write,epoll_ctl,epoll_wait,timerfd_settime \
        "$BIN/05-thread-pool" "$FILE"
    assert_success
    # The job reads all blocks once before. Then the main thread reads the first pass, and
    # other threads the second.
    assert_equal "$(by_main pread64 "<$FILE>")" 16
    assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 24
    assert_equal "$(grep -cE " (read|preadv)\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 0

    # A thread writes to the eventfd for each block, and the loop takes each wake-up. One
    # return of the wait can be for several writes.
    assert_equal "$(by_main epoll_ctl EPOLL_CTL_ADD '[eventfd]')" 1
    assert_equal "$(count_calls write '[eventfd]>')" 8
    assert_equal "$(by_main write '[eventfd]>')" 0
    wake_ups=$(wake_ups)
    assert_equal "$(by_main read '[eventfd]>')" "$wake_ups"
    assert [ "$wake_ups" -gt 0 ]
    assert [ "$wake_ups" -le 8 ]

    # The timer ticks every 50 us. Ticks handled are the reads of it.
    assert_equal "$(grep -c 'timerfd_settime(.*it_interval={tv_sec=0, tv_nsec=50000}' \
        "$STRACE_LOG")" 2
    assert_equal "$(fact 'ticks handled' 1) $(fact 'ticks handled' 2)" \
        "$(ticks_read | paste -sd ' ')"
}

# The loop looks only when there were four writes. So one wake-up stands for four blocks at
# least.
@test "the loop takes all blocks that are there, not one for each wake-up" {
    held HELD_NEWS=4 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# After it has woken the loop, a thread stands still until the loop has gone round.
@test "a loop that wakes up finds what it was woken for" {
    held HELD_WOKEN=3 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# Before the loop reads the counter, it stands still until all threads have written.
@test "what comes before the counter is read is not left in the queue" {
    held HELD_DRAIN=8 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# A thread stands between its look at `stop` and its sleep until the broadcast is over, or
# until somebody wants the mutex. ThreadSanitizer has its own pthread functions.
# bats test_tags=deeper
@test "the pool's threads end before the program does, and none misses the news of it" {
    ! built_with thread || skip 'ThreadSanitizer has a thread of its own'
    held HELD_LOOK=1 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
    [[ ${DEEP-} ]] || return 0
    need_strace
    strace_calls execve,exit,exit_group timeout 60 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    run -0 awk '$2 ~ /^exit\(0/ { n++ }
        $2 ~ /^exit_group\(0/ && n { print n; exit }' "$STRACE_LOG"
    assert_output 4
}

# bats test_tags=deep
@test "a thread does not miss the news of blocks, either" {
    ! built_with thread || skip 'ThreadSanitizer has its own pthread functions'
    held HELD_LOOK=1 "$BIN/05-thread-pool" --threads 1 "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# Other right programs could do without the mutex here, with atomics. So no bug is asked.
# bats test_tags=source,deep
@test "what is done is noted with the mutex, and looked at with it" {
    # The loop goes round after each block.
    held HELD_GUARD=1 HELD_WOKEN=2 "$BIN/05-thread-pool" --threads 1 "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

@test "an error comes back with the result: which read, and why" {
    held HELD_ERROR=5 "$BIN/05-thread-pool" --threads 1 "$FILE"
    assert_equal "$stderr" "05-thread-pool: reading $FILE at byte 0: Input/output error"
    assert_equal "$status" 1
}

# bats test_tags=deep
@test "a short read is finished, and one that a signal interrupts is made again" {
    held HELD_ERROR=4 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
    need_strace
    strace_short pread64 "$BIN/05-thread-pool" "$FILE"
    assert_success
    assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 48
    checksums
}

# bats test_tags=deep
@test "a thread that can't wake the loop says so, and the program ends" {
    need_strace
    run -1 --separate-stderr in_time strace -f -o /dev/null \
        -e signal=none -e inject=write:error=EAGAIN:when=1 \
        "$BIN/05-thread-pool" "$FILE"
    assert_regex "$stderr" '05-thread-pool: waking the event loop'
}

# with_tsan SOURCE...: build it with ThreadSanitizer, to $BATS_TEST_TMPDIR/tsan.
with_tsan() {
    cd "$ROOT" || return
    local flags=(-g -O1 -fsanitize=thread -Icommon)
    echo 'int main(void) { return 0; }' >"$BATS_TEST_TMPDIR/empty.c"
    if ! "${CC:-cc}" "${flags[@]}" "$BATS_TEST_TMPDIR/empty.c" \
        -o "$BATS_TEST_TMPDIR/empty" || ! "$BATS_TEST_TMPDIR/empty"; then
        skip 'ThreadSanitizer does not work here'
    fi
    "${CC:-cc}" "${flags[@]}" "$@" common/*.c -pthread -lz \
        -o "$BATS_TEST_TMPDIR/tsan"
}

# shellcheck disable=SC2030 # its $output is its own
# bats test_tags=deep
@test "ThreadSanitizer finds no race; without the mutex it does" {
    loop=chapters/05-thread-pool/thread-pool.c pool=chapters/05-thread-pool/pool.c
    with_tsan "$loop" "$pool"
    for n in 1 4 16; do
        run -0 --separate-stderr "$BATS_TEST_TMPDIR/tsan" --threads $n -n 64 "$FILE"
        assert_equal "$stderr" ''
        checksums -n 64
    done

    # What is done is noted unguarded.
    broken=$BATS_TEST_TMPDIR/broken.c
    perl -0pe 's/pthread_mutex_lock\(&pool->mutex\);\n( *pool->order\[pool->done\+\+\] = i;)\n *pthread_mutex_unlock\(&pool->mutex\);/$1/
        or die "nothing to break\n"' "$pool" >"$broken"
    with_tsan -Ichapters/05-thread-pool "$loop" "$broken"
    for _ in {1..20}; do
        # At once: a block that got lost would be waited for without an end.
        TSAN_OPTIONS=halt_on_error=1 run --separate-stderr \
            timeout 60 "$BATS_TEST_TMPDIR/tsan" -n 64 "$FILE"
        [[ $stderr != *'data race'* ]] || return 0
    done
    fail "no race found: $stderr"
}

# --- 05-cost -------------------------------------------------------------------------

# cost [OPTION]...: run it on $FILE. Sets $loop and $thread to the switches of one read, in
# tenths.
cost() {
    run --separate-stderr in_time "$BIN/05-cost" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    # shellcheck disable=SC2031 # `run` has just set it
    read -rd '' loop thread < <(
        perl -ne 'print 10 * $1, "\n" if /^(?:the loop|a thread) reads .* us +([\d.]+)$/' \
            <<<"$output"
    ) || :
}

# Once for the cache, and then in each way.
# bats test_tags=deeper
@test "05-cost, strace: the loop reads all pages, then the thread; on one processor" {
    need_strace
    strace_calls execve,pread64,fadvise64,sched_setaffinity "$BIN/05-cost" --rounds 1 "$FILE"
    assert_success
    assert_equal "$(by_main pread64 "<$FILE>")" 128
    assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 192
    assert_equal "$(count_calls fadvise64 DONTNEED)" 0
    assert_equal "$(grep -cE 'sched_setaffinity\(0, [0-9]+, \[[0-9]+\]\)' "$STRACE_LOG")" 1
    [[ ${DEEP-} ]] || return 0
    strace_calls execve,pread64,fadvise64 "$BIN/05-cost" --rounds 1 --cold "$FILE"
    assert_success
    assert_equal "$(by_main pread64 "<$FILE>")" 64
    # Once for the first line, and before each way.
    assert_equal "$(by_main fadvise64 "<$FILE>" DONTNEED)" 3
}

# strace says when each call was made. The program counts its switches before it takes the
# time of a way, and after it. Times are printed with one decimal, so 64 reads may be off by
# 3.2 us.
# bats test_tags=deep
@test "05-cost, strace: the time of a read is that of its way, divided by 64" {
    need_strace
    strace_calls execve,pread64,getrusage -ttt "$BIN/05-cost" --rounds 1 "$FILE"
    assert_success
    # shellcheck disable=SC2031
    run -0 perl -e '
        my ($file, $log, @lines) = @ARGV;
        my (@reads, @counts);
        open(my $in, "<", $log) or die;
        while (<$in>) {
            push @reads, $1 * 1e6 if /^\d+ +(\d+\.\d+) pread64\(\d+<\Q$file\E>/;
            push @counts, $1 * 1e6 if /^\d+ +(\d+\.\d+) getrusage\(RUSAGE_SELF/;
        }
        my @us = map { /([\d.]+) us/ ? $1 * 64 : () } @lines;
        die @reads . " reads, " . @counts . " counts, " . @us . " times\n"
            if @reads != 192 || @counts != 4 || @us != 2;
        for my $way (1, 2) {
            my $us = $us[$way - 1];
            die "way $way took $us us, and its reads longer\n"
                if $us < $reads[64 * $way + 63] - $reads[64 * $way] - 5;
            die "way $way took $us us, and there was not as much\n"
                if $us > $counts[2 * $way - 1] - $counts[2 * $way - 2] + 5;
        }' "$FILE" "$STRACE_LOG" "${lines[@]}"
}

# So it was in 40 of 40 runs, half of them beside four other programs.
# bats test_tags=deep
@test "05-cost: no switch for a warm read, two through a thread, a third one cold" {
    need_cold
    for _ in {1..5}; do
        cost
        ((loop <= 1 && thread >= 19 && thread <= 25)) || continue
        warm=$thread
        cost --cold
        ((loop >= 9 && loop <= 12)) || continue
        ((thread >= warm + 8 && thread <= warm + 15)) || continue
        return 0
    done
    fail "$output"
}

# If somebody else wants that processor, too, both say 2.0.
# bats test_tags=deep
@test "05-cost: twice as many switches where each wakes the other with the mutex held" {
    for _ in {1..20}; do
        cost
        free=$thread
        cost --held
        ((free <= 25 && thread >= 35)) && return 0
        sleep 1
    done
    fail "$output"
}

# mutex_waits READS: of each READS reads of $FILE in the log, how often the main thread has
# waited for a mutex, and how often another one when it had just been woken. (To wait for a
# mutex is FUTEX_WAIT, and for a condition FUTEX_WAIT_BITSET.)
mutex_waits() {
    MAIN=$(main_thread) FILE=$FILE READS=$1 perl -ne '
        next if !/^(\d+) +(pread64|futex)\((?:.*(FUTEX_WAIT_BITSET|FUTEX_WAIT))?/;
        my ($by, $what) = ($1, $3 // $2);
        next if $what eq "futex" || $what eq "pread64" && index($_, "<$ENV{FILE}>") < 0;
        $part = int($reads++ / $ENV{READS}) if $what eq "pread64";
        if ($what eq "FUTEX_WAIT") {
            $main[$part // 0]++ if $by == $ENV{MAIN};
            $other[$part // 0]++ if $by != $ENV{MAIN} && $last{$by} eq "FUTEX_WAIT_BITSET";
        }
        $last{$by} = $what;
        END { printf("%d %d\n", $main[$_] // 0, $other[$_] // 0) for 0 .. $part // 0 }' \
        "$STRACE_LOG"
}

# strace_held PROGRAM [ARGUMENTS]: under strace. A thread that has woken another one while it
# had a mutex gives that back when all others sleep. So whoever is woken too early finds it
# taken. And the loop goes on when the thread sleeps, so that this one has to be woken.
strace_held() {
    ASAN_OPTIONS="${ASAN_OPTIONS-}:verify_asan_link_order=0" \
        strace_calls execve,futex,pread64 -E HELD_MUTEX=1 -E LD_PRELOAD=libheld.so \
        -E LD_LIBRARY_PATH="$BUILD" "$@"
}

# bats test_tags=deeper
@test "05-cost: whom another one wakes with the mutex held, that one waits a second time" {
    need_strace
    ! built_with thread || skip 'ThreadSanitizer waits in futex, too'
    # First the reads for the cache, then those of the loop, then those of the thread.
    # Right is 0 or 64 in these.
    strace_held "$BIN/05-cost" --rounds 1 --held "$FILE"
    assert_success
    run -0 mutex_waits 64
    read -r main woken <<<"${lines[2]}"
    assert [ "$main" -ge 48 ]
    assert [ "$woken" -ge 48 ]
    [[ ${DEEP-} ]] || return 0
    strace_held "$BIN/05-cost" --rounds 1 "$FILE"
    assert_success
    run -0 mutex_waits 64
    read -r main woken <<<"${lines[2]}"
    assert [ "$main" -le 32 ]
    assert [ "$woken" -le 32 ]
}

# --- 05-libuv ------------------------------------------------------------------------

need_libuv() {
    ! built_with thread || skip 'ThreadSanitizer does not know what libuv does'
    [[ -x $BIN/05-libuv ]] ||
        skip 'libuv was not there when this was built (libuv1-dev)'
}

# fates BYTES: what becomes of the reads.
fates() {
    printf '%-14s%-30s%s\n' 'busy threads' meanwhile 'the read' \
        '3 of 4' nothing "$1 bytes of the file" \
        '4 of 4' 'uv_cancel()' 'operation canceled' \
        '4 of 4' 'close()' 'bad file descriptor' \
        '4 of 4' 'close(), open another file' "$1 bytes of another file" \
        '4 of 4' 'close() in the callback' "$1 bytes of the file"
}

# libuv [VARIABLE=VALUE]...: run it on $FILE. What is printed is `fates` of so many bytes.
libuv() {
    run --separate-stderr in_time env "$@" "$BIN/05-libuv" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_line --index 0 --regexp '^libuv 1\.[0-9.]+, threads in its pool: 4$'
}

@test "05-libuv: a read waits for a thread, and what the loop does meanwhile is done to it" {
    need_libuv
    libuv
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 65536)"
}

# bats test_tags=deep
@test "05-libuv: from a small file, and whatever size the pool was to have" {
    need_libuv
    libuv UV_THREADPOOL_SIZE=2
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 65536)"
    size_of_file 1000
    libuv
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 1000)"
}

# bats test_tags=deep
@test "05-libuv, strace: a thread of the pool reads, not the main one" {
    need_libuv
    need_strace
    strace_calls execve,pread64 "$BIN/05-libuv" "$FILE"
    assert_success
    # Its own, to compare. Then two that succeed. (The other file has another name.)
    assert_equal "$(by_main pread64 "<$FILE>")" 1
    assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 3
}

# bats test_tags=deep
@test "05-libuv: short and interrupted reads are finished" {
    need_libuv
    need_strace
    strace_short pread64 "$BIN/05-libuv" "$FILE"
    assert_success
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 65536)"
    held HELD_ERROR=4 "$BIN/05-libuv" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 65536)"
}

# bats test_tags=deep
@test "05-libuv: it wakes with the mutex held, in both directions" {
    need_libuv
    need_strace
    ! built_with thread || skip 'ThreadSanitizer waits in futex, too'
    strace_held "$BIN/05-libuv" "$FILE"
    assert_success
    run -0 mutex_waits 1000
    # We saw 19 to 28, and 40 to 44. A program that wakes without the mutex has none of the
    # second kind.
    assert [ "${output% *}" -ge 10 ]
    assert [ "${output#* }" -ge 24 ]
}

# bats test_tags=deep
@test "05-libuv: where libuv calls abort(), the program says so and exits 1" {
    need_libuv
    need_strace
    run -1 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=epoll_wait,epoll_pwait:error=EPERM "$BIN/05-libuv" "$FILE"
    # A newer libuv prints the assertion that failed in front of it.
    assert_regex "$stderr" '05-libuv: libuv has given up: '
}

# A request to open it, one for its size, eight for half a MiB each, and one to close it.
# bats test_tags=deep
@test "Node: fs.readFile hands over each call to a thread of the pool, a read in pieces" {
    command -v node >/dev/null || skip 'Node is not installed (nodejs)'
    need_strace
    # shellcheck disable=SC2016 # node's
    strace_calls execve,openat,fstat,statx,read,pread64,close node -e \
        'require("fs").readFile(process.argv[1], (e, d) => console.log(d.length))' "$FILE"
    assert_success
    assert_output $((4 << 20))
    run -0 perl -ne 'BEGIN { ($file, $main) = splice @ARGV, 0, 2 }
        next if index($_, $file) < 0 || !/^(\d+) +(openat|fstat|statx|read|pread64|close)\(/;
        print "by the main thread: $_" if $1 == $main;
        push @calls, $2 =~ s/fstat/statx/r;
        END { print "@calls\n" }' \
        "$FILE" "$(main_thread)" "$STRACE_LOG"
    assert_output 'openat statx read read read read read read read read close'
}
