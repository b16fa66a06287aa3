#!/usr/bin/env bats
# 20 · The race: that it is fair, and what it counts.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    needs 20-race
    FILE=$(make_file $((4 << 20))) # 1024 blocks
    ENGINES=(read advise threads posix-aio io-submit uring liburing
        liburing-fixed liburing-sqpoll)
    # Those that read with threads.
    THREADS=(threads posix-aio)
    # It crashes in the threads that glibc starts, and the engine knows that.
    ! built_with thread || THREADS=(threads)
    # Each row of CSV is a heat.
    FIELDS=(mode size depth engine round reads seconds reads_per_s p50_us p99_us
        p999_us calls_per_read cpu_us_per_read in_flight fio_reads_per_s)
}

# race [OPTION]...: cold, so that a heat ends with the last block.
race() {
    run -0 --separate-stderr "$BIN/20-race" --seconds 60 "$@" "$FILE"
}

# cell ENGINE FIELD [ROUND]: from the CSV in $output.
cell() {
    local i=1 field
    for field in "${FIELDS[@]}"; do
        [[ $field != "$2" ]] || break
        ((++i))
    done
    awk -F , -v e="$1" -v r="${3:-1}" -v i=$i \
        '$4 == e && $5 == r { print $i }' <<<"$output"
}

# need_engine NAME: skip where it does not run.
need_engine() {
    local why status=0
    why=$("$BIN/20-race" --engines "$1" --rounds 1 --seconds 0.01 "$FILE" 2>&1 \
        >/dev/null) || status=$?
    ((status != 77)) || skip "$(one_line "${why#20-race: }")"
}

# wait_for_line FILE TEXT PID: until it is there; PID ends without it: false.
wait_for_line() {
    until grep -q "$2" "$1"; do
        kill -0 "$3" 2>/dev/null || return 1
    done
}

@test "all engines, in the order of the book, and three tables" {
    race --rounds 2
    assert_equal "$stderr" ''
    ran=$(printf '%s\n' "${ENGINES[@]}")
    for title in reads/s 'p50 us' 'relative to read'; do
        names=$(awk -v t="$title" 'index($0, t) && !n++ { on = 1; next }
            /^$/ { on = 0 }
            on { print $1 }' <<<"$output")
        assert_equal "$names" "$ran"
        # Only the first table has those that could not run.
        ran=$(grep -vxFf <(sed -n 's/ *did not run: .*//p' <<<"$output") <<<"$ran")
    done
    assert_line --regexp '^read +1.00 +1.00 +1.00 +1.00 +1.00 +1.00$'
}

# bats test_tags=deep
@test "cold: each engine reads each block once, with as many in flight as said" {
    race --csv --rounds 2
    assert_line --index 0 "$(IFS=,; echo "${FIELDS[*]}")"
    assert_equal "${#lines[@]}" $((1 + 2 * ${#ENGINES[@]}))
    for engine in "${ENGINES[@]}"; do
        for round in 1 2; do
            assert_equal "$(cell "$engine" reads $round)" 1024
            case $engine in
                read) depth=1 ;;
                threads) continue ;; # See below.
                *) depth=32 ;;
            esac
            assert_equal "$engine: $(cell "$engine" in_flight $round)" \
                "$engine: $depth"
        done
    done
    race --csv --rounds 1 --depth 7 --engines uring,advise
    assert_equal "$(cell advise in_flight) $(cell uring in_flight)" '7 7'

    # A thread may come so late that nothing is left for it.
    for _ in {1..20}; do
        race --csv --rounds 1 --engines threads
        [[ $(cell threads in_flight) != 32 ]] || return 0
    done
    fail "$output"
}

@test "cold heats find no page in the cache, warm ones all" {
    need_cold
    race --rounds 1 --engines read
    assert_line 'cached when a heat begins: 0 of 64 pages looked at'
    race --rounds 1 --engines read --warm --seconds 0.01
    assert_line 'cached when a heat begins: 64 of 64 pages looked at'
}

# The same reads for all: each block once, and in the order of their numbers.
# bats test_tags=deep
@test "strace: the same offsets in the same order, whoever reads" {
    need_strace
    for engine in read "${THREADS[@]}"; do
        strace_calls pread64 "$BIN/20-race" --seconds 60 --engines "$engine" --depth 1 \
            --rounds 1 "$FILE"
        assert_success
        # The first 16 of the course are read to know what is right.
        calls pread64 "$FILE" | sed -E 's/.*, ([0-9]+)\) = .*/\1/' |
            tail -n +17 >"$BATS_TEST_TMPDIR/$engine"
        assert_equal "$(sort -un "$BATS_TEST_TMPDIR/$engine" | wc -l)" 1024
    done
    for engine in "${THREADS[@]}"; do
        run -0 cmp "$BATS_TEST_TMPDIR/read" "$BATS_TEST_TMPDIR/$engine"
    done
    assert [ "$(sort -n "$BATS_TEST_TMPDIR/read" | md5sum)" != \
        "$(md5sum <"$BATS_TEST_TMPDIR/read")" ]

    need_engine io-submit
    strace_calls io_submit "$BIN/20-race" --seconds 60 --engines io-submit --rounds 1 "$FILE"
    grep -oE 'aio_offset=[0-9]+' "$STRACE_LOG" | cut -d = -f 2 \
        >"$BATS_TEST_TMPDIR/io-submit"
    run -0 cmp "$BATS_TEST_TMPDIR/read" "$BATS_TEST_TMPDIR/io-submit"
}

# The calls are counted where they are made. strace counts them by itself. Those that
# hand over nothing came before the heat: may the call be made at all?
# bats test_tags=deep
@test "strace: the calls of a heat are those that are printed" {
    need_strace
    for engine in "${ENGINES[@]}"; do
        strace_calls pread64,fadvise64,io_submit,io_getevents,io_uring_enter \
            "$BIN/20-race" --seconds 60 --csv --rounds 1 --engines "$engine" "$FILE"
        assert_success
        reads=$(cell "$engine" reads)
        [[ $reads ]] || continue # It does not run here.
        made=$(($(count_calls pread64 "$FILE") - 16 +
            $(count_calls fadvise64 WILLNEED) + $(count_calls io_submit) +
            $(count_calls io_getevents) + $(count_calls io_uring_enter) -
            $(count_calls io_submit ', 0, NULL)') -
            $(count_calls io_uring_enter ', 0, 0, 0, NULL')))
        printed=$(cell "$engine" calls_per_read)
        assert_equal "$engine: $(awk "BEGIN { printf \"%.0f\", $printed * $reads }")" \
            "$engine: $made"
    done
}

# Not only the most: at each wait, as many as can be, until no more are begun.
@test "strace: whenever io-submit waits, 32 are in flight" {
    need_strace
    need_engine io-submit
    strace_calls io_submit,io_getevents "$BIN/20-race" --seconds 60 \
        --rounds 1 --engines io-submit "$FILE"
    run -0 perl -ne '
        $begun += $1, $flight += $1 if / io_submit\(.* = (\d+)$/;
        if (/ io_getevents\(.* = (\d+)$/) {
            print "$flight in flight after $begun\n"
                if $flight != 32 && $begun < 1024;
            $waits++;
            $flight -= $1;
        }
        END { print "$begun begun, $flight left, ",
            $waits > 30 ? "many" : "few", " waits\n" }' "$STRACE_LOG"
    assert_output '1024 begun, 0 left, many waits'
}

@test "calls: one for each read, two with advice, half of one with a ring" {
    race --csv --rounds 1
    for engine in read "${THREADS[@]}"; do
        assert_equal "$engine: $(cell "$engine" calls_per_read)" "$engine: 1.0000"
    done
    assert_equal "$(cell advise calls_per_read)" 2.0000
    for engine in uring liburing liburing-fixed; do
        [[ $(cell $engine reads) ]] || continue
        # Two are taken at a time, where two have come.
        assert [ "$(awk "BEGIN { print ($(cell $engine calls_per_read) >= 0.5) }")" = 1 ]
    done
}

# bats test_tags=deep
@test "bytes that are not those of before the race are found, in each engine" {
    for engine in "${ENGINES[@]}"; do
        make_file $((4 << 20)) changed >/dev/null
        file=$BATS_TEST_TMPDIR/changed
        rm -f "$BATS_TEST_TMPDIR/out" # That of the last one says as much.
        : >"$BATS_TEST_TMPDIR/out"
        timeout 60 "$BIN/20-race" --engines "$engine" --warm --seconds 10 "$file" \
            >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
        pid=$!
        if wait_for_line "$BATS_TEST_TMPDIR/out" '^medians' $pid; then
            # The second byte of each word, in place: same size, other bytes.
            tr 0123456789 1234567890 <"$file" |
                dd of="$file" conv=notrunc status=none
        fi
        status=0
        wait $pid || status=$?
        if grep -q "^$engine *did not run" "$BATS_TEST_TMPDIR/out"; then continue; fi
        assert_equal "$engine: $status" "$engine: 1"
        run -0 cat "$BATS_TEST_TMPDIR/err"
        assert_regex "$output" \
            "^20-race: $engine: at byte [0-9]+ of .*: other bytes than before the race$"
    done
}

# bats test_tags=deep
@test "short reads are finished, by whoever" {
    need_strace
    strace_short none "$BIN/20-race" --seconds 60 --csv --rounds 1 --size 8192 "$FILE"
    assert_success
    for engine in "${ENGINES[@]}"; do
        assert_equal "$engine: $(cell "$engine" reads)" "$engine: 512"
    done
    # For each of the 512 reads two calls.
    assert_equal "$(cell read calls_per_read)" 2.0000
}

# bats test_tags=deep
@test "interrupted calls are made again" {
    need_strace
    for call in pread64 io_getevents io_uring_enter; do
        run -0 --separate-stderr strace -f -o /dev/null -e signal=none \
            -e inject=$call:error=EINTR:when=20+7 \
            "$BIN/20-race" --seconds 60 --csv --rounds 1 "$FILE"
        for engine in "${ENGINES[@]}"; do
            assert_equal "$call: $(cell "$engine" reads)" "$call: 1024"
        done
    done
}

# bats test_tags=deep
@test "when all threads fail at once, one says so" {
    cc -D_FILE_OFFSET_BITS=64 -shared -fPIC -x c \
        -o "$BATS_TEST_TMPDIR/libfails.so" - -ldl <<'END_OF_C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int failed;

/* Fails in all threads but the first. */
ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    ssize_t (*real)(int, void *, size_t, off_t) =
        dlsym(RTLD_NEXT, "pread64");
    if (gettid() == getpid())
        return real(fd, data, bytes, offset);
    failed++;
    errno = EIO;
    return -1;
}

/* Who exits gives the others all the time they want. */
__attribute__((destructor)) static void exits(void)
{
    while (failed > 0 && failed < 8)
        sched_yield();
    for (int i = 0; failed && i < 10000; i++)
        sched_yield();
}
END_OF_C
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0
    run -1 --separate-stderr timeout 60 \
        env LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" LD_PRELOAD=libfails.so \
        "$BIN/20-race" --rounds 1 --depth 8 --engines threads "$FILE"
    assert_equal "$stderr" "20-race: threads: reading $FILE: Input/output error"
}

# bats test_tags=deep
@test "short of room in the kernel, it waits for what is in flight" {
    need_strace
    need_engine io-submit
    run -0 --separate-stderr strace -f -o /dev/null \
        -e inject=io_submit:error=EAGAIN:when=5+5 \
        "$BIN/20-race" --seconds 60 --csv --rounds 1 --engines io-submit "$FILE"
    assert_equal "$(cell io-submit reads)" 1024
    for engine in uring liburing liburing-fixed; do
        need_engine $engine
        for error in EAGAIN EBUSY; do
            run -0 --separate-stderr strace -f -o /dev/null \
                -e inject=io_uring_enter:error=$error:when=5+5 \
                "$BIN/20-race" --seconds 60 --csv --rounds 1 --engines $engine "$FILE"
            assert_equal "$(cell $engine reads)" 1024
        done
        # Three submits of twenty are refused. Each waits before the next.
        with_rings RINGS_REFUSE='11 5 3 20' "$BIN/20-race" --seconds 60 --csv \
            --rounds 1 --depth 4 --batch 1 --engines $engine "$FILE"
        assert_success
        assert_equal "$(cell $engine reads)" 1024
        assert_regex "$(spins)" '^none of [1-9]'
        # With nothing in flight nothing would ever come.
        run -1 --separate-stderr strace -f -o /dev/null \
            -e inject=io_uring_enter:error=EAGAIN:when=2 \
            "$BIN/20-race" --seconds 60 --rounds 1 --engines $engine "$FILE"
        assert_equal "$stderr" \
            "20-race: $engine: submitting reads: Resource temporarily unavailable"
    done
}

# bats test_tags=deep
@test "an engine that can't run says why; the others do" {
    need_strace
    run -0 --separate-stderr strace -f -o /dev/null \
        -e inject=io_uring_setup:error=EPERM -e inject=io_setup:error=EAGAIN \
        "$BIN/20-race" --rounds 1 "$FILE"
    for engine in uring liburing liburing-fixed liburing-sqpoll; do
        assert_line --regexp "^$engine +did not run: setting up a ring: Operation not permitted; "
    done
    assert_line --regexp '^io-submit +did not run: setting up Linux AIO: Resource temporarily unavailable; '
    for engine in read advise "${THREADS[@]}"; do
        assert_line --regexp "^$engine +[0-9]"
    done

    run -0 --separate-stderr strace -f -o /dev/null \
        -e inject=io_uring_register:error=ENOMEM \
        "$BIN/20-race" --rounds 1 --engines liburing-fixed,liburing "$FILE"
    assert_line --regexp '^liburing +[0-9]'
    assert_line --regexp '^liburing-fixed +did not run: registering the file: Cannot allocate memory$'
    assert_line --regexp '^relative to liburing'

    # The pool is half made when the next thread fails.
    run -0 --separate-stderr strace -f -o /dev/null \
        -e inject=clone3,clone:error=EAGAIN:when=5+ \
        "$BIN/20-race" --rounds 1 --engines read,threads "$FILE"
    assert_line --regexp '^threads +did not run: starting a thread: Resource temporarily unavailable; '
}

# bats test_tags=deep
@test "--direct: the disk's own, and no advice" {
    run --separate-stderr "$BIN/20-race" --direct --rounds 1 --seconds 0.05 "$FILE"
    [[ $status != 77 ]] || skip "$(one_line "$stderr")"
    assert_success
    assert_line --regexp '^advise +did not run: O_DIRECT passes by the page cache$'
    need_strace
    strace_calls openat "$BIN/20-race" --direct --rounds 1 --seconds 0.01 \
        --engines read "$FILE"
    # Once to see whether that passes the cache by, and once for the race.
    assert_equal "$(count_calls openat "$FILE" O_DIRECT)" 2
    # Btrfs has no such rule: what is not aligned is read through the cache.
    ! dd if="$FILE" of=/dev/null bs=1000 count=1 iflag=direct 2>/dev/null || return 0
    run --separate-stderr "$BIN/20-race" --direct --size 1000 "$FILE"
    assert_equal "$status" 1
    assert_regex "$stderr" 'O_DIRECT wants a --size that is a multiple'
}

# bats test_tags=deep
@test "a file system without O_DIRECT: skipped, and says so" {
    [[ -r /sys/kernel/btf/vmlinux ]] || skip 'no file here that refuses O_DIRECT'
    run --separate-stderr "$BIN/20-race" --direct /sys/kernel/btf/vmlinux
    assert_equal "$status" 77
    assert_regex "$stderr" '^20-race: O_DIRECT: the file system of .* has none\.'
}

# bats test_tags=deep
@test "nothing that runs: skipped, with the reason, and no picture" {
    run -77 --separate-stderr "$BIN/20-race" --direct --engines advise \
        --plot "$BATS_TEST_TMPDIR/plot.svg" "$FILE"
    assert_regex "$stderr" '^20-race: advise: O_DIRECT passes by the page cache$'
    assert [ ! -e "$BATS_TEST_TMPDIR/plot.svg" ]
}

# bats test_tags=deep
@test "pages that can't be dropped: it says so, and what to do" {
    dirty=$(mktemp /dev/shm/20-race.XXXXXX) || skip 'no tmpfs in /dev/shm'
    head -c 1M "$FILE" >"$dirty"
    run --separate-stderr "$BIN/20-race" --rounds 1 --engines read "$dirty"
    rm "$dirty"
    assert_success
    assert_line 'cached when a heat begins: 64 of 64 pages looked at'
    assert_line --partial 'on tmpfs all do'
}

# The seconds of all threads are on time(1)'s bill, those included that glibc
# has ended meanwhile.
# bats test_tags=deep
@test "the processor time of threads that have ended is counted" {
    need_engine posix-aio
    TIMEFORMAT='%U %S'
    spent=$({ time "$BIN/20-race" --csv --rounds 1 --direct --seconds 2 \
        --engines posix-aio "$FILE" >"$BATS_TEST_TMPDIR/csv" 2>/dev/null; } 2>&1)
    output=$(<"$BATS_TEST_TMPDIR/csv")
    [[ $(cell posix-aio reads) ]] || skip 'no O_DIRECT here'
    assert [ "$(awk -v spent="$spent" -v reads="$(cell posix-aio reads)" \
        -v us="$(cell posix-aio cpu_us_per_read)" 'BEGIN {
            split(spent, s); print (reads * us / 1e6 > 0.5 * (s[1] + s[2])) }')" = 1 ]
}

# bats test_tags=deep
@test "wrong files and options: a message each" {
    head -c 100000 "$FILE" >"$BATS_TEST_TMPDIR/small"
    run -1 --separate-stderr "$BIN/20-race" "$BATS_TEST_TMPDIR/small"
    assert_regex "$stderr" 'small is too small: 32 reads of 4096 bytes in flight, and it has room for 24$'
    run -1 --separate-stderr "$BIN/20-race" --sweep depth "$BATS_TEST_TMPDIR/small"
    assert_regex "$stderr" 'too small: 128 reads'
    race --depth 24 --rounds 1 --engines uring --csv
    : >"$BATS_TEST_TMPDIR/empty"
    run -1 --separate-stderr "$BIN/20-race" "$BATS_TEST_TMPDIR/empty"
    assert_regex "$stderr" 'its size is 0'

    run -2 --separate-stderr "$BIN/20-race" --depth 0
    assert_regex "$stderr" '^20-race: --depth: 0 is out of range, 1 to 256'
    run -2 --separate-stderr "$BIN/20-race" --seconds 0
    assert_regex "$stderr" '^20-race: --seconds: 0 is out of range, 0.01 to 600'
    run -2 --separate-stderr "$BIN/20-race" --seconds 1s
    assert_regex "$stderr" "^20-race: --seconds: '1s' is not a number"
    for list in nobody 'read,' ',read' read,read read,,uring '' Read readx; do
        run -2 --separate-stderr "$BIN/20-race" --engines "$list" "$FILE"
        assert_regex "$stderr" "^20-race: --engines: '$list': each may be named once, of these: ${ENGINES[*]}"
    done
    run -2 --separate-stderr "$BIN/20-race" --size 5000 "$FILE"
    assert_regex "$stderr" '^20-race: --size: 5000 bytes are no whole pages'
    run -0 "$BIN/20-race" --size 5000 --warm --rounds 1 --seconds 0.01 "$FILE"
    run -2 --separate-stderr "$BIN/20-race" --direct --warm
    assert_regex "$stderr" '^20-race: --direct: not with --warm'
    run -2 --separate-stderr "$BIN/20-race" --buffered --direct
    assert_regex "$stderr" '^20-race: --direct: not with --buffered'
}

# bats test_tags=deep
@test "the processor time is that of the poller too" {
    need_engine liburing-sqpoll
    (($(nproc) > 1)) || skip 'it takes two processors'
    for _ in {1..20}; do
        race --csv --rounds 1 --warm --seconds 0.1 --engines liburing-sqpoll
        # One thread can't have more than a second of processor in a second.
        if awk -v reads="$(cell liburing-sqpoll reads_per_s)" \
            -v us="$(cell liburing-sqpoll cpu_us_per_read)" \
            'BEGIN { exit !(reads * us > 1.1e6) }'; then
            return 0
        fi
    done
    skip 'the other processors are busy with something else'
}

# bats test_tags=deep
@test "memory does not grow with the file" {
    need_strace
    ! built_with address || skip 'the sanitizer has an allocator of its own'
    for size in 4 400; do # GiB: more blocks than are kept, of holes.
        truncate -s ${size}G "$BATS_TEST_TMPDIR/$size"
        strace_calls mmap,brk,mremap "$BIN/20-race" --seconds 0.01 --rounds 1 \
            --engines read,uring "$BATS_TEST_TMPDIR/$size"
        assert_success
        # Not the maps of the file, whose pages are counted, and given back.
        grep -v "<$BATS_TEST_TMPDIR" "$STRACE_LOG" |
            sed -E 's/^[0-9]+ +//; s/0x[0-9a-f]+/X/g' \
                >"$BATS_TEST_TMPDIR/$size.log"
    done
    run -0 diff "$BATS_TEST_TMPDIR/4.log" "$BATS_TEST_TMPDIR/400.log"
}

# bats test_tags=deep
@test "latencies: off by less than one percent, however large" {
    cc -I"$ROOT/chapters/20-race" -x c -o "$BATS_TEST_TMPDIR/check" - \
        "$ROOT/chapters/20-race/histogram.c" <<'END'
#include "histogram.h"
#include <stdio.h>
#include <string.h>

static struct histogram h, other;

int main(void)
{
    /* Each value alone, from 1 ns to half an hour. */
    for (double value = 1; value < 2e12; value *= 1.003) {
        int64_t ns = (int64_t)value;
        memset(&h, 0, sizeof(h));
        histogram_add(&h, ns);
        double off = histogram_at(&h, 0.5) / (double)ns - 1;
        if (off > 0.008 || off < -0.008)
            return printf("%jd ns come back as %f\n", (intmax_t)ns,
                          histogram_at(&h, 0.5)), 1;
    }
    /* 1 to 100 in two parts: the 50th, the 99th, the first and the last. */
    memset(&h, 0, sizeof(h));
    for (int i = 1; i <= 100; i++)
        histogram_add(i % 2 ? &h : &other, i);
    histogram_merge(&h, &other);
    return printf("%g %g %g %g %ju\n", histogram_at(&h, 0.5),
                  histogram_at(&h, 0.99), histogram_at(&h, 0),
                  histogram_at(&h, 1), (uintmax_t)h.total) < 0;
}
END
    run -0 "$BATS_TEST_TMPDIR/check"
    assert_output '50 99 1 100 100'
}

# bats test_tags=deep
@test "--sweep depth: a column for each depth" {
    race --sweep depth --seconds 0.02 --rounds 1 --engines read,uring
    assert_line --regexp '^reads/s, depth +1 +2 +4 +8 +16 +32 +64 +128$'
    assert_line --regexp '^p99 us, depth +1 +2 +4 +8 +16 +32 +64 +128$'
    for engine in read uring; do
        assert_equal "$(grep -cE "^$engine( +[0-9]+){8}\$" <<<"$output")" 2
    done
    race --sweep depth --seconds 0.02 --rounds 1 --engines uring --csv
    assert_equal "$(cut -d , -f 3,14 <<<"$output" | tail -n +2 | tr '\n' ' ')" \
        '1,1 2,2 4,4 8,8 16,16 32,32 64,64 128,128 '
}

# --- Others that help ----------------------------------------------------------

# bats test_tags=deep
@test "--against-fio: each beside fio's, and the ratio" {
    command -v fio >/dev/null || skip 'fio is not installed'
    race --against-fio --rounds 1 --seconds 0.05 --warm
    names=$(sed -n '/^beside fio/,$p' <<<"$output" | sed 1d | awk '{ print $1, $2 }')
    assert_equal "$names" 'read psync
posix-aio posixaio
io-submit libaio
uring io_uring
liburing io_uring
liburing-fixed fixedbufs
liburing-sqpoll sqthread_poll'
    race --against-fio --rounds 3 --seconds 0.05 --warm --engines uring --csv
    ours=$(cell uring reads_per_s 2)
    fio=$(cell uring fio_reads_per_s 2)
    assert [ "${fio%.*}" -gt 0 ]
    assert [ "${ours%.*}" -gt 0 ]
}

# bats test_tags=deep
@test "fio reads the same file, whatever its name" {
    command -v fio >/dev/null || skip 'fio is not installed'
    odd=$BATS_TEST_TMPDIR/'a:b;c#d\e '
    cp "$FILE" "$odd"
    run -0 "$BIN/20-race" --against-fio --rounds 1 --seconds 0.05 \
        --engines read,uring "$odd"
    assert_line --regexp '^uring +io_uring +[0-9]+ +[1-9][0-9]* '
}

# What fio is asked for is what the heat is: file, size, depth, mode.
# bats test_tags=deep
@test "fio is asked for the same heat" {
    mkdir "$BATS_TEST_TMPDIR/bin"
    cat >"$BATS_TEST_TMPDIR/bin/fio" <<'END'
#!/bin/sh
printf '%s\n' "$@" "on $(readlink /dev/fd/0)" >>"$0.log"
echo '3;fio-3.33;race;0;0;4096;400;1000;1;more'
END
    chmod +x "$BATS_TEST_TMPDIR/bin/fio"
    cp "$FILE" "$BATS_TEST_TMPDIR/a:b"
    with_path=(env "PATH=$BATS_TEST_TMPDIR/bin:$PATH")
    run -0 "${with_path[@]}" "$BIN/20-race" --against-fio --rounds 1 --seconds 0.02 --size 8K \
        --depth 5 --engines uring "$BATS_TEST_TMPDIR/a:b"
    assert_line --regexp '^uring +io_uring +[0-9]+ +1000 +[0-9.]+ +0 %$'
    run -0 cat "$BATS_TEST_TMPDIR/bin/fio.log"
    for option in --readonly --rw=randread --bs=8192 --iodepth=5 --runtime=20ms \
        --ioengine=io_uring --size=4194304 --iodepth_batch_submit=2 \
        --iodepth_batch_complete_max=2; do
        assert_line "$option"
    done
    assert_line "on $BATS_TEST_TMPDIR/a:b"
    refute_line --regexp 'direct|invalidate|time_based'
    rm "$BATS_TEST_TMPDIR/bin/fio.log"
    run -0 "${with_path[@]}" "$BIN/20-race" --against-fio --rounds 1 \
        --seconds 0.02 --warm --engines uring "$FILE"
    run -0 cat "$BATS_TEST_TMPDIR/bin/fio.log"
    for option in --invalidate=0 --time_based --norandommap; do
        assert_line "$option"
    done
}

# bats test_tags=deep
@test "a fio or gnuplot that is not there, or fails: told, nothing is replaced" {
    mkdir "$BATS_TEST_TMPDIR/bin"
    for option in --against-fio --plot; do
        arguments=("$option")
        tool=fio
        if [[ $option == --plot ]]; then
            arguments+=("$BATS_TEST_TMPDIR/plot.svg")
            tool=gnuplot
        fi
        run -77 --separate-stderr env "PATH=$BATS_TEST_TMPDIR/bin" \
            "$BIN/20-race" "${arguments[@]}" "$FILE"
        assert_regex "$stderr" "^20-race: $option needs $tool; "

        echo precious >"$BATS_TEST_TMPDIR/plot.svg"
        for does in 'exit 3' 'echo nonsense' 'kill -9 $$'; do
            printf '#!/bin/sh\ncat >/dev/null\n%s\n' "$does" >"$BATS_TEST_TMPDIR/bin/$tool"
            chmod +x "$BATS_TEST_TMPDIR/bin/$tool"
            run -1 --separate-stderr env "PATH=$BATS_TEST_TMPDIR/bin:$PATH" \
                "$BIN/20-race" --rounds 1 --engines read "${arguments[@]}" "$FILE"
            assert_regex "$stderr" "^20-race: (running )?$tool"
            assert_equal "$(<"$BATS_TEST_TMPDIR/plot.svg")" precious
        done
    done
}

# bats test_tags=deep
@test "--plot: a picture with all engines, for light and dark" {
    command -v gnuplot >/dev/null || skip 'gnuplot is not installed'
    svg=$BATS_TEST_TMPDIR/plot.svg
    for sweep in none depth; do
        race --plot "$svg" --rounds 1 --seconds 0.02 --sweep $sweep
        for engine in "${ENGINES[@]}"; do
            assert grep -q ">$engine<" "$svg"
        done
        assert grep -q 'prefers-color-scheme: dark' "$svg"
        assert_equal "$(head -c 5 "$svg")$(tail -n 2 "$svg")" '<?xml</svg>'
    done
    # Not over what is read.
    run -1 --separate-stderr "$BIN/20-race" --plot "$FILE" "$FILE"
    assert_regex "$stderr" 'that is the file to be read$'
    assert_equal "$(head -c 8 "$FILE")" 10000000
}

# bats test_tags=deep
@test "on a terminal it says how far it is; else it does not" {
    run -0 script -qec "${BIN@Q}/20-race --rounds 1 --engines read,uring --csv ${FILE@Q}" \
        /dev/null </dev/null
    assert_output --partial $'\e[Kuring: round 1 of 1, 32 in flight\r'
    race --rounds 1 --engines read,uring
    assert_equal "$stderr" ''
}
