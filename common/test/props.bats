#!/usr/bin/env bats
# What is in common: the chapters rely on it and none of them tests it.

setup() {
    load helpers
    FILE=$(make_file $((4 << 20)))
}

# on_terminal COLUMNS COMMAND: run it on a terminal of that width.
on_terminal() {
    run -0 script -qec "stty cols $1; $2" /dev/null </dev/null
    output=${output//$'\r'/}
}

@test "the timeline is never wider than 80 columns, nor than the terminal" {
    for columns in 40 60 200; do
        on_terminal $columns "${BIN@Q}/01-blocking-read ${FILE@Q}"
        widest=$(grep -E '^(main  |block [0-9]|cold |warm )' <<<"$output" | wc -L)
        assert [ "$widest" -le 80 ]
        assert [ "$widest" -le $columns ]
        assert [ "$widest" -ge $((columns < 80 ? columns - 1 : 79)) ]
    done
}

@test "colors on a terminal only, and not with NO_COLOR" {
    unset NO_COLOR
    export TERM=xterm
    on_terminal 80 "${BIN@Q}/01-blocking-read ${FILE@Q}"
    assert_output --partial $'\e['
    NO_COLOR=1 on_terminal 80 "${BIN@Q}/01-blocking-read ${FILE@Q}"
    refute_output --partial $'\e['
    TERM=dumb on_terminal 80 "${BIN@Q}/01-blocking-read ${FILE@Q}"
    refute_output --partial $'\e['
    run -0 "$BIN/01-blocking-read" "$FILE"
    refute_output --partial $'\e['
}

@test "block characters in UTF-8, ASCII in any other locale" {
    run -0 "$BIN/01-blocking-read" "$FILE"
    assert_line --regexp '^block 0 +━'
    LC_ALL=C run -0 "$BIN/01-blocking-read" "$FILE"
    assert_line --regexp '^block 0 +='
    assert_equal "$(LC_ALL=C tr -d '\n\40-\176' <<<"$output")" ''
}

@test "blocks that meet in time do not overlap in the drawing" {
    LC_ALL=C run -0 "$BIN/01-blocking-read" "$FILE" # awk counts bytes.
    # Where one bar ends, the next begins: no column is filled in two lanes of
    # a pass, but for bars too short to be seen, which get one column each.
    columns=$(sed -n '/^cold/,/^main:/{/^block/p}' <<<"$output" | cut -c 11- |
        awk '{ for (i = 1; i <= length($0); i++) n[i] += substr($0, i, 1) != " " }
             END { for (i in n) if (n[i] > 1) d++; print d + 0 }')
    assert [ "$columns" -le 8 ]
}

@test "--trace writes a bar for each block and names the lanes" {
    run -0 "$BIN/13-uring-read" --check || skip 'no io_uring'
    trace=$BATS_TEST_TMPDIR/trace.json
    run -0 "$BIN/13-uring-read" --trace "$trace" "$FILE"
    # Two passes.
    assert_equal "$(grep -c '"ph":"X","name":"block [0-7]"' "$trace")" 16
    assert_equal "$(grep -c '"name":"thread_name"' "$trace")" 18
    # Perfetto wants times in microseconds: all within the longer total.
    total=$(printf '%s\n' "$(fact total)" "$(fact total 2)" | sort -n | tail -n 1)
    run -0 perl -ne 'BEGIN { $t = shift; $t =~ s/ ms// }
        next unless /"ts":([\d.]+),"dur":([\d.]+)/;
        die "$_" if $1 + $2 > 1000 * ($t + 0.01)' "$total" "$trace"
}

# Many blocks make a trace of several writes. strace can fail just one of them: the
# bytes are lost, and the next write goes well. How many writes there are before, of
# the output, depends on the picture: the log tells which one it was. The output is
# written first: where stdout does not take it, there is no new trace either.
# bats test_tags=deep
@test "a trace that can't be written whole leaves the old one as it was" {
    need_strace
    trace=$BATS_TEST_TMPDIR/folder/trace log=$BATS_TEST_TMPDIR/log
    mkdir "${trace%/*}"
    early=0
    for ((when = 1; ; when++)); do
        echo old >"$trace"
        run --separate-stderr strace -o "$log" -y -e trace=write \
            -e inject=write:error=EIO:when=$when \
            "$BIN/01-blocking-read" -n 64 -s "$PAGE" --trace "$trace" "$FILE"
        grep -q INJECTED "$log" || break
        assert_equal "$status" 1
        assert_equal "$(cat "$trace")" old
        assert_equal "$(ls -A "${trace%/*}")" trace
        grep -q 'in-circles.*INJECTED' "$log" || continue
        ! sed '1,/INJECTED/d' "$log" | grep -q in-circles || early=$((early + 1))
    done
    assert [ "$early" -gt 1 ]
}

# bats test_tags=deep
@test "a trace through a link replaces the file and not the link; its mode stays" {
    echo old >"$BATS_TEST_TMPDIR/real"
    chmod 600 "$BATS_TEST_TMPDIR/real"
    ln -s real "$BATS_TEST_TMPDIR/link"
    run -0 "$BIN/01-blocking-read" --trace "$BATS_TEST_TMPDIR/link" "$FILE"
    assert [ -L "$BATS_TEST_TMPDIR/link" ]
    run -0 grep -c traceEvents "$BATS_TEST_TMPDIR/real"
    assert_equal "$(stat -c %a "$BATS_TEST_TMPDIR/real")" 600
}

# bats test_tags=deep
@test "a trace into the file that takes the output is refused" {
    for name in /dev/stdout /dev/fd/1 "$BATS_TEST_TMPDIR/out"; do
        run -1 --separate-stderr bash -c \
            '"$0" --trace "$1" "$2" >"$3"' "$BIN/01-blocking-read" "$name" \
            "$FILE" "$BATS_TEST_TMPDIR/out"
        assert_equal "$stderr" \
            "01-blocking-read: writing $name: that is where the output goes"
        run -0 grep -c '^checksum: ' "$BATS_TEST_TMPDIR/out"
    done
}

# bats test_tags=deep
@test "a trace into a FIFO that nobody reads is an error, not a wait for ever" {
    mkfifo "$BATS_TEST_TMPDIR/fifo"
    run -1 --separate-stderr timeout 60 \
        "$BIN/01-blocking-read" --trace "$BATS_TEST_TMPDIR/fifo" "$FILE"
    assert_regex "$stderr" 'opening .*/fifo: No such device or address$'
}

@test "a clock too coarse to tell begin from end draws and counts all the same" {
    for program in 01-blocking-read 15-liburing-read; do
        "$BIN/$program" --check || continue
        lanes=()
        [[ $program == 01-* ]] || lanes=(--lanes)
        run -0 env LD_PRELOAD=libcoarse.so LD_LIBRARY_PATH="$BUILD" \
            ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" \
            "$BIN/$program" ${lanes[@]+"${lanes[@]}"} "$FILE"
        assert [ "$(fact 'most in flight')" -ge 1 ]
        assert [ "$(fact 'most in flight')" -le 8 ]
        assert_equal "$(grep -cE '^block [0-7] +[^ ]' <<<"${output%%warm*}")" 8
    done
}

# The pages are on their way to the disk when they should be dropped. A quick
# disk may be done by then: once in twenty is enough.
@test "a file that is dirty stays cached, and the first line says so" {
    need_cold
    for _ in {1..20}; do
        dd if=/dev/urandom of="$FILE" bs=64K count=64 conv=notrunc status=none
        run -0 "$BIN/01-blocking-read" "$FILE"
        if [[ ${lines[0]} == *', '@(warm|partly cached)': '*' pages stay cached' ]]; then
            assert_line --index 1 --partial 'dirty or mapped'
            return 0
        fi
    done
    fail "$output"
}

# The code of a running program is mapped.
@test "a file that somebody has mapped stays cached, and the first line says so" {
    need_cold
    cp "$(command -v cat)" "$BATS_TEST_TMPDIR/cat"
    sync "$BATS_TEST_TMPDIR/cat"
    coproc CAT { exec "$BATS_TEST_TMPDIR/cat" 3>&-; }
    pid=$CAT_PID to=${CAT[1]}
    echo 'it runs' >&"$to"
    read -r answer <&"${CAT[0]}"
    run -0 "$BIN/01-blocking-read" "$BATS_TEST_TMPDIR/cat"
    exec {to}>&- # End of file: cat ends.
    wait "$pid"
    assert_equal "$answer" 'it runs'
    assert_line --index 0 --regexp ', (warm|partly cached): '
    assert_equal "$(fact checksum)" "$(crc32_of "$BATS_TEST_TMPDIR/cat")"
}

@test "on tmpfs all pages stay: warm, and still the right bytes" {
    [[ $(stat -f -c %T /dev/shm) == tmpfs ]] || skip '/dev/shm is no tmpfs'
    copy=$(mktemp /dev/shm/in-circles.XXXXXX)
    cp "$FILE" "$copy"
    run -0 "$BIN/01-blocking-read" "$copy"
    rm "$copy"
    pages=$((8 * 65536 / PAGE))
    assert_line --index 0 --partial ", warm: $pages of $pages pages stay cached"
    assert_line --regexp '^first +0 ' # That pass is not called cold.
    expected=$(fact checksum)
    run -0 "$BIN/01-blocking-read" "$FILE"
    assert_equal "$(fact checksum)" "$expected"
}

# bats test_tags=deep
@test "the sample file is the same on every machine, and not compressible" {
    again=$BATS_TEST_TMPDIR/again
    run -0 "$BUILD/make-sample" "$again"
    assert_equal "$(stat -c %s "$again")" $((64 << 20))
    cmp "$again" "$BUILD/sample.data"
    # What POSIX says of jrand48(): X' = 0x5DEECE66D * X + 0xB, the high 32 bits.
    assert_equal "$(head -c 4 "$again" | od -An -tu4 | tr -d ' ')" \
        $(((((17 << 32 | 9 << 16 | 1991) * 0x5DEECE66D + 0xB) >> 16) & 0xFFFFFFFF))
    assert [ "$(head -c 1M "$again" | gzip -c | wc -c)" -gt 1000000 ]
}

# bats test_tags=deep
@test "a sample file that can't be written whole is not written at all" {
    need_strace
    target=$BATS_TEST_TMPDIR/folder/sample
    mkdir "${target%/*}"
    echo old >"$target"
    for fault in write:error=ENOSPC:when=9 fsync:error=EIO \
        rename:error=EACCES fchmod:error=EPERM write:signal=SIGTERM:when=9; do
        run strace -o /dev/null -e inject="$fault" "$BUILD/make-sample" "$target"
        assert_failure
        assert_equal "$(cat "$target")" old
        assert_equal "$(ls -A "${target%/*}")" sample
    done
}

# One thread works until it has had 5 ms of a processor by its own clock, then
# waits, so that it is still there to be asked. Then it ends, and still counts.
# bats test_tags=deep
@test "the processor time of the process has that of every thread in it" {
    cc -I"$ROOT/common" -x c -o "$BATS_TEST_TMPDIR/cost" - \
        "$ROOT"/common/*.c -pthread -lz <<'END'
#define _GNU_SOURCE
#include "cost.h"
#include <pthread.h>
#include <stdio.h>
#include <time.h>

static pthread_barrier_t worked, asked;

static void *work(void *unused)
{
    struct timespec t;
    do
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    while (t.tv_sec == 0 && t.tv_nsec < 5000000);
    pthread_barrier_wait(&worked);
    pthread_barrier_wait(&asked);
    return unused;
}

int main(void)
{
    pthread_t thread;
    static struct cost before, between, after;
    pthread_barrier_init(&worked, NULL, 2);
    pthread_barrier_init(&asked, NULL, 2);
    cost_look(&before);
    pthread_create(&thread, NULL, work, NULL);
    pthread_barrier_wait(&worked);
    cost_look(&between);
    pthread_barrier_wait(&asked);
    pthread_join(thread, NULL);
    cost_look(&after);
    return printf("%u %u %u, %s, %s\n", before.threads, between.threads,
                  after.threads,
                  cost_between(&before, &between) >= 0.005 ? "all" : "less",
                  cost_between(&before, &after) >= 0.005 ? "all" : "less") < 0;
}
END
    run -0 "$BATS_TEST_TMPDIR/cost"
    assert_output '1 2 1, all, all'
}

# A ring of our own making: its counter goes up where we say.
@test "completions count by what the thread did when they came, short ones aside" {
    cc -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" -x c -o "$BATS_TEST_TMPDIR/came" - \
        "$ROOT"/common/*.c -lz <<'END'
#include "timeline.h"

static _Atomic unsigned tail = 4294967294; /* It wraps. */
static _Atomic unsigned taken, reaped;     /* Five are taken, one is reaped. */

/* During this call, or this work, so many completions come. */
static void mark(struct timeline *t, enum call call, unsigned come)
{
    timeline_call(t, call);
    tail += come;
    timeline_return(t);
}

/* Without a look into a ring, as chapters 01 and 07 do it. */
static void by_calls(void)
{
    struct timeline *t = timeline_new("calls", 4);

    timeline_start(t);
    timeline_submitted(t, 0);
    mark(t, CALL_SUBMIT, 0); /* A short read, */
    mark(t, CALL_SUBMIT, 0); /* and the rest. */
    timeline_completed(t, 0);
    for (unsigned i = 1; i < 4; i++) {
        timeline_submitted(t, i);
        mark(t, CALL_SUBMIT, 0);
    }
    mark(t, CALL_LOOK, 0);
    timeline_completed(t, 1); /* Others were submitted since. */
    timeline_completed(t, 3);
    mark(t, CALL_WAIT, 0);
    timeline_completed(t, 2);
    timeline_stop(t);
    timeline_facts(t, 0);
    timeline_free(t);
}

int main(void)
{
    struct timeline *t = timeline_new("came", 7);

    timeline_start(t);
    timeline_watch(t, (struct ring_counters){&taken, &reaped, &tail});
    for (unsigned i = 0; i < 7; i++)
        timeline_submitted(t, i);
    taken = 5;
    reaped = 1;
    mark(t, CALL_SUBMIT, 1);
    reaped = 5;
    timeline_worked(t);
    mark(t, OWN_WORK, 3);
    timeline_completed(t, 0); /* In submit. */
    timeline_partly(t);       /* At work, and short. */
    timeline_completed(t, 1); /* At work. */
    tail++;
    mark(t, CALL_WAIT, 2);
    timeline_completed(t, 2); /* At work. */
    timeline_completed(t, 3); /* Between. */
    timeline_completed(t, 4); /* Asleep. */
    timeline_completed(t, 5); /* Asleep. */
    tail++;
    timeline_completed(t, 6); /* After the last mark. */
    timeline_worked(t);       /* Nothing is in flight. */
    timeline_stop(t);
    t->facts |= FACT_WORK | FACT_CALLS;
    timeline_facts(t, 0);
    timeline_free(t);
    by_calls();
    return 0;
}
END
    run -0 "$BATS_TEST_TMPDIR/came"
    assert_equal "$(fact completed)" '1 in submit, 2 in wait, 2 at work, 2 between'
    assert_equal "$(fact 'most in flight')" 4
    assert_equal "$(fact work)" '2 pieces, 1 with blocks in flight'
    assert_equal "$(fact calls)" '1 to submit, 1 to wait'
    assert_equal "$(fact completed 2)" '2 in submit, 1 in wait, 0 at work, 1 between'
}
