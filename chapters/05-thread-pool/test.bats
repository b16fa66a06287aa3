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

# threads_are MAIN POOL: how many there are in the two passes. ThreadSanitizer has one of
# its own, from the first thread on at the latest.
threads_are() {
    local is
    is="$(fact threads 1) $(fact threads 2)"
    ! built_with thread || [[ $is != @("$1"|"$(($1 + 1))")" $(($2 + 1))" ]] || return 0
    assert_equal "$is" "$1 $2"
}

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
    threads_are 1 5
    assert_equal "$(fact 'most in flight' 1)" 1
    assert [ "$(fact 'most in flight' 2)" -le 4 ]
    # It looks once after each block.
    assert [ "$(fact 'ticks handled' 1)" -le 8 ]
    assert_equal "$(in_submit 1)" '8 of 8'
    assert_equal "$(fact 'completed in the order' 1)" '0 1 2 3 4 5 6 7'
    assert_equal "$(sorted "$(fact 'completed in the order' 2)")" '0 1 2 3 4 5 6 7'
}

# bats test_tags=deep
@test "--threads: as many in flight at most, with fewer and more than blocks" {
    for n in 1 2 3 64; do
        pool --threads $n -n 16 -s "$PAGE"
        checksums -n 16 -s "$PAGE"
        threads_are 1 $((n + 1))
        assert [ "$(fact 'most in flight' 2)" -le $n ]
    done
    assert_equal "$(sorted "$(fact 'completed in the order' 2)")" "$(seq -s ' ' 0 15)"
    pool --threads 1
    assert_equal "$(fact 'completed in the order' 2)" '0 1 2 3 4 5 6 7'
}

# No read ends before the loop has gone round thirty times, and before as many threads as
# there are in the pool are in a read. So this needs no quiet machine and no disk, and
# there is nothing to try again.
@test "submit waits for no read, four are in flight at once, and the loop ticks meanwhile" {
    for n in 4 1 2 8; do
        held HELD_TURNS=30 HELD_READS=$n "$BIN/05-thread-pool" --threads $n "$FILE"
        assert_equal "$stderr" ''
        assert_success
        checksums
        assert_equal "$(fact 'most in flight' 2)" $n
        assert_equal "$(in_submit 2)" '0 of 8'
        # The reads took thirty turns, and more. So these ticks came during reads.
        assert [ "$(fact 'ticks handled' 2)" -ge 25 ]
    done
}

# ticks_read: of each pass, how often the loop has read its timer, and how many more ticks
# than that these reads stood for.
ticks_read() {
    perl -ne '
        $pass++ if /timerfd_settime\(/;
        next if !/\bread\(\d+<anon_inode:\[timerfd\]>, "((?:\\x\w\w){8})"/;
        my $due = unpack("Q<", pack("H*", $1 =~ s/\\x//gr));
        $reads[$pass]++;
        $more[$pass] += $due - 1;
        END { print map { ($reads[$_] // 0) . " " . ($more[$_] // 0) . "\n" } 1 .. $pass }' \
        "$STRACE_LOG"
}

@test "strace: the timer ticks every 50 us; handled and missed are what its reads said" {
    need_strace
    strace_calls execve,timerfd_settime,read -x "$BIN/05-thread-pool" "$FILE"
    assert_success
    assert_equal "$(grep -c 'timerfd_settime(.*it_interval={tv_sec=0, tv_nsec=50000}' \
        "$STRACE_LOG")" 2
    for pass in 1 2; do
        assert_equal "$(fact 'ticks handled' $pass) $(fact 'ticks missed' $pass)" \
            "$(ticks_read | sed -n ${pass}p)"
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
    done
    assert [ $good -ge 3 ]
}

# Nobody has to sleep for a page that is there. But a thread can lose its processor there.
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

# --- Who does what ------------------------------------------------------------------

@test "strace: the main thread reads the first pass, other threads the second" {
    need_strace
    strace_calls execve,pread64,preadv,read "$BIN/05-thread-pool" "$FILE"
    assert_success
    # The job reads all blocks once before.
    assert_equal "$(by_main pread64 "<$FILE>")" 16
    assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 24
    assert_equal "$(count_calls read "<$FILE>")" 0
    assert_equal "$(count_calls preadv "<$FILE>")" 0
}

@test "strace: a thread writes to the eventfd for each block; the loop takes each wake-up" {
    need_strace
    strace_calls execve,eventfd2,read,write,epoll_ctl,epoll_wait \
        "$BIN/05-thread-pool" "$FILE"
    assert_success
    assert_equal "$(by_main epoll_ctl EPOLL_CTL_ADD '[eventfd]')" 1
    assert_equal "$(count_calls write '[eventfd]>')" 8
    assert_equal "$(by_main write '[eventfd]>')" 0
    # One return of the wait can be for several writes.
    assert_equal "$(by_main read '[eventfd]>')" "$(wake_ups)"
    assert [ "$(wake_ups)" -gt 0 ]
    assert [ "$(wake_ups)" -le 8 ]
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
@test "the pool's threads end before the program does, and none misses the news of it" {
    ! built_with thread || skip 'ThreadSanitizer has a thread of its own'
    held HELD_LOOK=1 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
    need_strace
    strace_calls execve,exit,exit_group timeout 60 "$BIN/05-thread-pool" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    run -0 awk '$2 ~ /^exit\(0/ { n++ }
        $2 ~ /^exit_group\(0/ && n { print n; exit }' "$STRACE_LOG"
    assert_output 4
}

@test "a thread does not miss the news of blocks, either" {
    ! built_with thread || skip 'ThreadSanitizer has its own pthread functions'
    held HELD_LOOK=1 "$BIN/05-thread-pool" --threads 1 "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# Other right programs could do without the mutex here, with atomics. So no bug is asked.
# bats test_tags=source
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

# All four fail at the same time, and only one may tell and exit.
# bats test_tags=deep
@test "threads that can't wake the loop say so, once" {
    need_strace
    for _ in {1..5}; do
        run -1 --separate-stderr in_time strace -f -o /dev/null \
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

# shellcheck disable=SC2030 # its $output is its own
# bats test_tags=deep
@test "ThreadSanitizer finds no race; without the mutex it does" {
    source=chapters/05-thread-pool/thread-pool.c
    with_tsan "$source"
    for n in 1 4 16; do
        run -0 --separate-stderr "$BATS_TEST_TMPDIR/tsan" --threads $n -n 64 "$FILE"
        assert_equal "$stderr" ''
        checksums -n 64
    done

    # What is done is noted unguarded.
    broken=$BATS_TEST_TMPDIR/broken.c
    perl -0pe 's/pthread_mutex_lock\(&pool->mutex\);\n( *pool->order\[pool->done\+\+\] = i;)\n *pthread_mutex_unlock\(&pool->mutex\);/$1/
        or die "nothing to break\n"' "$source" >"$broken"
    with_tsan "$broken"
    for _ in {1..20}; do
        # At once: a block that got lost would be waited for without an end.
        TSAN_OPTIONS=halt_on_error=1 run --separate-stderr \
            timeout 60 "$BATS_TEST_TMPDIR/tsan" -n 64 "$FILE"
        [[ $stderr != *'data race'* ]] || return 0
    done
    fail "no race found: $stderr"
}

# --- 05-cost -------------------------------------------------------------------------

# switches_of WAY: the count in that line, in tenths.
switches_of() {
    perl -ne 'BEGIN { $way = shift } print 10 * $1, "\n" if /^ *\Q$way\E .* us +([\d.]+)$/' "$1"
}

# cost [OPTION]...: run it on $FILE. Sets counts of switches, in tenths.
cost() {
    run --separate-stderr in_time "$BIN/05-cost" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    # shellcheck disable=SC2031 # `run` has just set it
    read -rd '' loop thread answers both < <(
        for way in 'the loop reads' 'a thread reads' 'answers with' 'both, as'; do
            switches_of "$way" <<<"$output"
        done
    ) || :
}

# Once for the cache, and then in each way.
@test "05-cost, strace: each way reads all pages, a thread in all but one; on one processor" {
    need_strace
    strace_calls execve,pread64,fadvise64,sched_setaffinity "$BIN/05-cost" --rounds 1 "$FILE"
    assert_success
    assert_equal "$(by_main pread64 "<$FILE>")" 128
    assert_equal "$(grep -cE "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG")" 384
    assert_equal "$(count_calls fadvise64 DONTNEED)" 0
    assert_equal "$(grep -cE 'sched_setaffinity\(0, [0-9]+, \[[0-9]+\]\)' "$STRACE_LOG")" 1
    strace_calls execve,pread64,fadvise64,sched_setaffinity \
        "$BIN/05-cost" --rounds 1 --cold --anywhere "$FILE"
    assert_success
    assert_equal "$(by_main pread64 "<$FILE>")" 64
    # Once for the first line, and before each way.
    assert_equal "$(by_main fadvise64 "<$FILE>" DONTNEED)" 6
    assert_equal "$(count_calls sched_setaffinity)" 0
}

# strace says when each read was called. The way began after the last read of the way
# before it, and ended before the first of the next one. Times are printed with one decimal,
# so 64 reads may be off by 3.2 us.
@test "05-cost, strace: the time of a read is that of its way, divided by 64" {
    need_strace
    strace_calls execve,pread64 -ttt "$BIN/05-cost" --rounds 1 "$FILE"
    assert_success
    # shellcheck disable=SC2031
    run -0 perl -e '
        my ($file, $log, @lines) = @ARGV;
        open(my $in, "<", $log) or die;
        my @at = map { /^\d+ +(\d+\.\d+) pread64\(\d+<\Q$file\E>/ ? $1 * 1e6 : () } <$in>;
        my @us = map { /([\d.]+) us/ ? $1 * 64 : () } @lines;
        die @at . " reads, " . @us . " times\n" if @at != 384 || @us != 5;
        for my $way (1 .. 5) {
            my ($first, $last) = @at[64 * $way, 64 * $way + 63];
            my ($before, $next) = ($at[64 * $way - 1], $at[64 * $way + 64]);
            my $us = $us[$way - 1];
            die "way $way took $us us, and its reads longer\n" if $us < $last - $first - 5;
            die "way $way took $us us, and there was not as much\n"
                if $next && $us > $next - $before + 5;
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

# If somebody else wants that processor, too, all say 2.0.
# bats test_tags=deep
@test "05-cost: a third switch where the thread answers with the mutex, a fourth with both" {
    for _ in {1..20}; do
        cost
        ((thread <= 25 && answers >= 26 && both >= 35)) && return 0
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

@test "05-cost: whom another one wakes with the mutex held, that one waits a second time" {
    need_strace
    ! built_with thread || skip 'ThreadSanitizer waits in futex, too'
    strace_held "$BIN/05-cost" --rounds 1 "$FILE"
    assert_success
    run -0 mutex_waits 64
    read -ra main < <(cut -d ' ' -f 1 <<<"$output" | xargs)
    read -ra woken < <(cut -d ' ' -f 2 <<<"$output" | xargs)
    # First the reads for the cache. Then: the loop reads; a thread does; asked, answers,
    # and both with the mutex held. Right is 0 or 64.
    for way in 1 2 3; do
        assert [ "${main[way]}" -le 32 ]
    done
    for way in 1 2 4; do
        assert [ "${woken[way]}" -le 32 ]
    done
    for way in 4 5; do
        assert [ "${main[way]}" -ge 48 ]
    done
    for way in 3 5; do
        assert [ "${woken[way]}" -ge 48 ]
    done
}

# --- 05-libuv ------------------------------------------------------------------------

need_libuv() {
    ! built_with thread || skip 'ThreadSanitizer does not know what libuv does'
    [[ -x $BIN/05-libuv ]] ||
        skip 'libuv was not there when this was built (libuv1-dev)'
}

# fates THREADS BYTES: what becomes of the reads.
fates() {
    local all="$1 of $1"
    printf '%-14s%-30s%s\n' 'busy threads' meanwhile 'the read' \
        "$(($1 - 1)) of $1" nothing "$2 bytes of the file" \
        "$all" 'uv_cancel()' 'operation canceled' \
        "$all" 'close()' 'bad file descriptor' \
        "$all" 'close(), open another file' "$2 bytes of another file" \
        "$all" 'close() in the callback' "$2 bytes of the file"
}

# libuv THREADS: run it on $FILE, with so many in the pool.
libuv() {
    run --separate-stderr in_time env UV_THREADPOOL_SIZE="$1" "$BIN/05-libuv" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_line --index 0 --regexp "^libuv 1\.[0-9.]+, threads in its pool: $1\$"
}

@test "05-libuv: a read waits for a thread, and what the loop does meanwhile is done to it" {
    need_libuv
    run -0 --separate-stderr in_time "$BIN/05-libuv" "$FILE"
    assert_line --index 0 --partial ', threads in its pool: 4'
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 4 65536)"
    libuv 2
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 2 65536)"
}

# 128 threads was the most that libuv made before 1.30.
# bats test_tags=deep
@test "05-libuv: with one thread and with many, and from a small file" {
    need_libuv
    for n in 1 8 128; do
        libuv $n
        assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates "$n" 65536)"
    done
    size_of_file 1000
    libuv 4
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 4 1000)"
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
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 4 65536)"
    held HELD_ERROR=4 "$BIN/05-libuv" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_equal "$(sed -n '3,8p' <<<"$output")" "$(fates 4 65536)"
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
