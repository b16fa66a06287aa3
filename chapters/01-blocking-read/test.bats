#!/usr/bin/env bats
# 01 · Blocking read: one block at a time, asleep while the disk works; and the
# second time the page cache answers.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
}

# The eight blocks as dd sees them: evenly spread, 512 KiB apart in 4 MiB.
expected_checksum() {
    local i
    for i in {0..7}; do
        dd if="$FILE" bs=64K skip=$((i * 8)) count=1 status=none
    done >"$BATS_TEST_TMPDIR/blocks"
    crc32_of "$BATS_TEST_TMPDIR/blocks"
}

@test "both passes read the eight blocks, one at a time" {
    run -0 --separate-stderr "$BIN/01-blocking-read" "$FILE"
    for pass in 1 2; do
        assert_equal "$(fact checksum $pass)" "$(expected_checksum)"
        assert_equal "$(fact 'most in flight' $pass)" 1
        assert_equal "$(in_submit $pass)" '8 of 8'
        assert_equal "$(fact 'completed in the order' $pass)" '0 1 2 3 4 5 6 7'
        assert_equal "$(fact threads $pass)" 1
    done
    assert_equal "$stderr" ''
}

@test "the first pass is cold, and fetches just the pages of the blocks" {
    need_cold
    run -0 "$BIN/01-blocking-read" "$FILE"
    local pages=$((8 * 65536 / PAGE))
    assert_line --index 0 "8 blocks of 64 KiB from sample-4194304 (4 MiB),\
 cold: 0 of $pages pages cached"
    assert_equal "$(fact 'pages in the cache')" \
        "0 before, $pages between, $pages after"
}

@test "a cold read puts the thread to sleep, a warm one does not" {
    need_cold
    run -0 "$BIN/01-blocking-read" "$FILE"
    assert [ "$(fact 'sleeps in submit' 1)" -gt 0 ]
    assert_equal "$(fact 'sleeps in submit' 2)" 0
    assert_line --regexp '^block 7 .*█'
    assert_line --regexp '^main +█'
}

# A busy machine may take the processor away in the middle of any one pass, so
# this asks whether it can be seen at all: in one of twenty runs.
@test "cold, the main thread is blocked most of the time; warm is a fraction" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/01-blocking-read" "$FILE"
        blocked=$(fact 'main thread blocked' 1)
        cold=$(fact total 1) warm=$(fact total 2)
        if ((${blocked%%%*} > 80)) &&
            perl -e 'exit !($ARGV[1] < $ARGV[0] / 2)' "${cold% ms}" "${warm% ms}"
        then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: eight reads in order, twice, and nothing else reads the file" {
    need_strace
    strace_calls pread64,read,readv,preadv,preadv2,mmap,getrusage \
        "$BIN/01-blocking-read" "$FILE"
    assert_success
    assert_equal "$(count_calls pread64 "<$FILE>")" 16
    assert_equal "$(count_calls 'p?readv?2?' "<$FILE>")" 0
    offsets=$(calls pread64 "<$FILE>" | sed -E 's/.*, 65536, ([0-9]+)\) = 65536$/\1/')
    once=$(seq 0 524288 3670016)
    assert_equal "$offsets" "$once"$'\n'"$once"
}

@test "-n and -s choose other blocks" {
    need_strace
    strace_calls pread64 "$BIN/01-blocking-read" -n 3 -s 64K "$FILE"
    assert_success
    assert_equal "$(count_calls pread64 "<$FILE>")" 6
    # A third of the file, cut down to whole pages.
    third=$((4194304 / 3 / PAGE * PAGE))
    assert_equal "$(calls pread64 "<$FILE>" "65536, $third) ")" \
        "$(calls pread64 "<$FILE>" | sed -n '2p;5p')"
    assert_line --partial '3 blocks of 64 KiB'
}

@test "a short read is finished, not taken for the whole" {
    need_strace
    strace_short pread64 "$BIN/01-blocking-read" "$FILE"
    assert_success
    # A page at a time is missing: the second read of each fetches it.
    assert_equal "$(count_calls pread64 "<$FILE>")" 32
    assert_equal "$(fact checksum 1)" "$(expected_checksum)"
}

@test "a read that a signal interrupts is made again" {
    need_strace
    run -0 --separate-stderr strace -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EINTR:when=1..3 "$BIN/01-blocking-read" "$FILE"
    assert_equal "$(fact checksum 1)" "$(expected_checksum)"
}

@test "an error names the file and the place" {
    need_strace
    run -1 --separate-stderr strace -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EIO:when=2 "$BIN/01-blocking-read" "$FILE"
    assert_equal "$stderr" \
        "01-blocking-read: reading $FILE at byte 524288: Input/output error"
}
