#!/usr/bin/env bats
# 12 · Setting up a ring: the geometry, and four counters that move one by one.

setup() {
    load ../../common/test/helpers
    need_uring
}

# The first io_uring_enter() of a run hands over nothing: it only finds out whether
# the call may be made.

# value NAME: of a field in the drawing, or its bytes.
value() {
    sed -nE "s/^ *[0-9]+ \| $1 +(= )?([0-9]+).*/\2/p" <<<"$output"
}

@test "a power of two of entries, twice as many completions, and their masks" {
    for entries in 1 5 8 1000; do
        run -0 --separate-stderr "$BIN/12-uring-setup" --entries $entries
        assert_equal "$stderr" ''
        sq=1
        while ((sq < entries)); do ((sq *= 2)); done
        assert_line --index 0 \
            "asked for $entries entries: the SQ has $sq, the CQ $((2 * sq))"
        assert_equal "$(value 'SQ ring_entries')" $sq
        assert_equal "$(value 'CQ ring_entries')" $((2 * sq))
        assert_equal "$(value 'SQ ring_mask')" $((sq - 1))
        assert_equal "$(value 'CQ ring_mask')" $((2 * sq - 1))
        assert_equal "$(value 'SQEs')" $((64 * sq))
        assert_equal "$(value 'CQ array of CQEs')" $((16 * 2 * sq))
        assert_equal "$(value 'SQ array of indices')" $((4 * sq))
    done
}

@test "one NOP moves each counter by one, in order" {
    for maps in 1 2; do
        run -0 "$BIN/12-uring-setup" --maps $maps
        run -0 sed -nE '/^one NOP/,/^$/s/ {2,}/ /gp' <<<"$output"
        assert_line --index 1 'before 0 0 0 0'
        assert_line --index 2 'SQE filled, SQ tail stored 0 1 0 0'
        assert_line --index 3 'io_uring_enter() returned 1 1 0 1'
        assert_line --index 4 'CQE read, CQ head stored 1 1 1 1'
    done
    run -0 "$BIN/12-uring-setup"
    assert_line 'the CQE: user_data 0xC1C1E, res 0'
}

@test "strace: two mmaps or three, as asked; all unmapped, the ring closed" {
    need_strace
    "$BIN/12-uring-setup" | grep -q '^IORING_FEAT_SINGLE_MMAP: yes$' ||
        skip 'this kernel (before 5.4) has no IORING_FEAT_SINGLE_MMAP'
    for maps in 1 2; do
        strace_calls io_uring_setup,io_uring_enter,mmap,munmap,close \
            "$BIN/12-uring-setup" --maps $maps
        assert_success
        assert_equal "$(count_calls mmap 'io_uring]>')" $((maps + 1))
        # What was mapped from the ring is unmapped behind it, in full.
        while read -r bytes at; do
            run -0 sed -n "/= $at\$/,\$p" "$STRACE_LOG"
            assert_output --partial "munmap($at, $bytes)"
        done < <(calls mmap 'io_uring]>' |
            sed -E 's/.*NULL, ([0-9]+), .* = (.*)/\1 \2/')
        assert_equal "$(count_calls close 'io_uring]>')" 1
        assert_equal "$(count_calls io_uring_setup)" 1
        run -0 calls io_uring_enter
        assert_output --regexp \
            'io_uring]>, 1, 1, IORING_ENTER_GETEVENTS, NULL, [0-9]+\) = 1$'
    done
}

@test "enter is made again after EINTR, whether the entry was taken or not" {
    need_strace
    run -0 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error=EINTR:when=2..3 "$BIN/12-uring-setup"
    assert_line 'the CQE: user_data 0xC1C1E, res 0'
}

@test "refused: it says why and what to do" {
    need_strace
    run -77 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_uring_setup:error=EPERM "$BIN/12-uring-setup"
    assert_regex "$stderr" '^12-uring-setup: setting up io_uring: Operation not'
    assert_regex "$stderr" 'seccomp|io_uring_disabled|security policy'
    run -77 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_uring_setup:error=ENOSYS "$BIN/12-uring-setup"
    assert_regex "$stderr" 'older than 5.1'
    assert_equal "$output" ''
}
