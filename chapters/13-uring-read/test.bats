#!/usr/bin/env bats
# 13 · Reading through a ring: submit hands over and returns.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    needs 13-uring-read
    FILE=$(make_file $((4 << 20)))
}

# The first io_uring_enter() of a run hands over nothing: it only finds out whether
# the call may be made.

# submitted: how many entries the kernel took, in all calls of the log.
submitted() {
    calls io_uring_enter |
        awk '{ split($0, a, ", "); if (a[2] > 0) n += $NF } END { print n }'
}

@test "the same bytes as 01, all eight in flight at once, one thread" {
    run -0 --separate-stderr "$BIN/13-uring-read" "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_equal "$(fact 'most in flight')" 8
    order=$(fact 'completed in the order' | tr ' ' '\n' | sort -n | paste -sd ' ')
    assert_equal "$order" '0 1 2 3 4 5 6 7'
    assert_equal "$stderr" ''
}

# The climax. A busy machine may stop the thread in the middle of its submit,
# for so long that the disk is done before it goes on. So: never eight of eight
# for 08, and once in twenty runs is enough for 13.
@test "cold, submit returns with fewer than eight complete, where 08 has eight" {
    need_cold
    need_aio
    for _ in {1..20}; do
        run -0 "$BIN/08-io-submit" "$FILE"
        assert_equal "$(in_submit)" '8 of 8'
        run -0 "$BIN/13-uring-read" "$FILE"
        assert_line --index 0 --partial ', cold: 0 of '
        early=$(in_submit)
        if ((${early% of 8} < 8)) && [[ $(fact 'sleeps in submit') == 0 ]]; then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: one enter submits all eight; nobody else reads the file" {
    need_strace
    strace_calls io_uring_enter,pread64,read,readv,io_submit \
        "$BIN/13-uring-read" "$FILE"
    assert_success
    run -0 calls io_uring_enter
    assert_line --index 0 --regexp 'io_uring]>, 0, 0, 0, NULL, 0\) = 0$'
    assert_line --index 1 --regexp 'io_uring]>, 8, 0, 0, NULL, 0\) = 8$'
    for call in pread64 read readv io_submit; do
        assert_equal "$(count_calls $call "<$FILE>")" 0
    done
}

@test "more blocks than slots: right with a ring of 1, 2 and 4" {
    for entries in 1 2 4; do
        run -0 "$BIN/13-uring-read" --entries $entries -n 20 "$FILE"
        assert_equal "$(fact checksum)" "$(checksum_of_01 -n 20)"
        # Never more in flight than the completion queue can hold.
        assert [ "$(fact 'most in flight')" -le $((2 * entries)) ]
    done
}

@test "it never waits while it can hand over more" {
    need_cold
    hands_over_first 13-uring-read
}

@test "short reads are finished, with slots to spare and without" {
    need_strace
    for entries in 1 2 8 16; do
        strace_short io_uring_enter "$BIN/13-uring-read" --entries $entries \
            "$FILE"
        assert_success
        # Each block goes twice: all but its last page, then that.
        assert_equal "$(submitted)" 16
        assert_regex "$(in_submit)" '^[0-8] of 8$'
        assert_equal "$(fact checksum)" "$(checksum_of_01)"
    done
}

# fail_enter ERROR WHEN: twenty blocks through two slots, and that call fails.
fail_enter() {
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error="$1":when="$2" \
        "$BIN/13-uring-read" --entries 2 "${@:3}"
}

@test "enter is made again after EINTR, be it a submit or a wait" {
    need_strace
    for when in 2 3 4 5; do
        fail_enter EINTR "$when" -n 20 "$FILE"
        assert_success
        assert_equal "$(fact checksum)" "$(checksum_of_01 -n 20)"
    done
}

# Which calls find reads in flight depends on the disk. Those that do go on; the
# others say so. One of the first kind must turn up, or the test proves nothing:
# with blocks of 1 MiB five of seven do, quiet or busy.
@test "EAGAIN and EBUSY pass while reads are in flight, else they are errors" {
    need_strace
    need_cold
    big=$(make_file $((8 << 20)))
    right=$(FILE=$big checksum_of_01 -s 1M)
    for error in EAGAIN EBUSY; do
        passed=0
        for when in {3..9}; do
            fail_enter $error "$when" -s 1M "$big"
            if [[ $status == 0 ]]; then
                assert_equal "$(fact checksum)" "$right"
                ((++passed))
            else
                assert_equal "$status" 1
                assert_regex "$stderr" \
                    '^13-uring-read: (submitting|waiting) .*(temporarily unavailable|busy)$'
            fi
        done
        assert [ $passed -gt 0 ]
    done
}

@test "EAGAIN with nothing in flight is an error, not a wait for ever" {
    need_strace
    run -1 --separate-stderr timeout 60 strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error=EAGAIN "$BIN/13-uring-read" "$FILE"
    assert_equal "$stderr" "13-uring-read: submitting 8 reads: Resource\
 temporarily unavailable"
}
