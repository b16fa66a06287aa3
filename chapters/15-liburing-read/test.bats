#!/usr/bin/env bats
# 15 · The same with liburing: the facts of 13, from a shorter program.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    needs 15-liburing-read
    FILE=$(make_file $((4 << 20)))
}

# Lines of code, by another hand: without its comments, what is not blank.
lines_of_code() {
    perl -0pe 's{/\*.*?\*/}{}gs' "$ROOT/$1" | grep -c '[^[:space:]]'
}

# submitted: how many entries the kernel took, in all calls of the log.
submitted() {
    calls io_uring_enter |
        awk '{ split($0, a, ", "); if (a[2] > 0) n += $NF } END { print n }'
}

@test "the same bytes as 01, all eight in flight at once, one thread" {
    run -0 --separate-stderr "$BIN/15-liburing-read" "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_equal "$(fact 'most in flight')" 8
    assert_equal "$stderr" ''
}

@test "cold, submit returns with fewer than eight complete (see 13)" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/15-liburing-read" "$FILE"
        early=$(in_submit)
        if ((${early% of 8} < 8)) && [[ $(fact 'sleeps in submit') == 0 ]]; then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: liburing makes the calls that 13 makes by hand" {
    need_strace
    strace_calls io_uring_setup,io_uring_enter,pread64,read,readv \
        "$BIN/15-liburing-read" "$FILE"
    assert_success
    assert_equal "$(count_calls io_uring_setup)" 1
    run -0 calls io_uring_enter
    assert_line --index 1 --regexp 'io_uring]>, 8, 0, [^,]*, NULL, [0-9]+\) = 8$'
    # Before, the job has read the blocks once, for the sake of its memory.
    sed -i '0,/io_uring_enter.*, 8, /d' "$STRACE_LOG"
    for call in pread64 read readv; do
        assert_equal "$(count_calls $call "<$FILE>")" 0
    done
}

@test "more blocks than slots: right with a ring of 1, 2 and 4" {
    for entries in 1 2 4; do
        run -0 "$BIN/15-liburing-read" --entries $entries -n 20 "$FILE"
        assert_equal "$(fact checksum)" "$(checksum_of_01 -n 20)"
    done
}

# bats test_tags=deeper
@test "it never waits while it can hand over more" {
    need_cold
    hands_over_first 15-liburing-read
}

@test "short reads are finished, with slots to spare and without" {
    need_strace
    for entries in 1 2 8 16; do
        strace_short io_uring_enter "$BIN/15-liburing-read" --entries $entries \
            "$FILE"
        assert_success
        # Each block goes twice: all but its last page, then that.
        assert_equal "$(submitted)" 16
        assert_equal "$(fact checksum)" "$(checksum_of_01)"
    done
}

@test "an interrupted wait or submit is made again" {
    need_strace
    for when in 2 3; do # The first hands over nothing: chapter 13.
        run -0 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=io_uring_enter:error=EINTR:when=$when \
            "$BIN/15-liburing-read" "$FILE"
        assert_equal "$(fact checksum)" "$(checksum_of_01)"
    done
}

@test "EAGAIN with nothing in flight is an error, not a wait for ever" {
    need_strace
    run -1 --separate-stderr timeout 60 strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error=EAGAIN "$BIN/15-liburing-read" "$FILE"
    assert_equal "$stderr" "15-liburing-read: submitting reads: Resource\
 temporarily unavailable"
}

@test "the lines of code are counted, and liburing saves some" {
    run -0 "$BIN/15-liburing-read" "$FILE"
    here=$(lines_of_code chapters/15-liburing-read/liburing-read.c)
    there=$(lines_of_code chapters/13-uring-read/uring-read.c)
    ring=$(lines_of_code common/ring.c)
    assert_equal "$(fact 'lines of code')" "$here in liburing-read.c,\
 $there in uring-read.c, $ring in ring.c"
    assert [ "$here" -lt $((there + ring)) ]
}
