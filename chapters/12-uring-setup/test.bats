#!/usr/bin/env bats
# 12 · Setting up a ring: the geometry, and four counters that move one by one.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    load ../../common/test/orders
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

# rows: the table of counters on stdin, blanks squeezed.
rows() { sed -nE '/^ +SQ head/,$s/ {2,}/ /gp'; }

@test "one NOP moves each counter by one, in order" {
    for maps in 1 2; do
        run -0 "$BIN/12-uring-setup" --maps $maps
        run -0 rows <<<"$output"
        assert_line --index 1 'The ring is new 0 0 0 0'
        assert_line --index 2 'We filled an SQE 0 0 0 0'
        assert_line --index 3 'We stored the SQ tail 0 1 0 0'
        assert_line --index 4 'io_uring_enter() has returned 1 1 0 1'
        assert_line --index 5 'We read the CQE 1 1 0 1'
        assert_line --index 6 'We stored the CQ head 1 1 1 1'
    done
}

# Rings of two and three entries wrap early.
@test "as many NOPs as one likes: each brings its own user_data, whatever the size" {
    for entries in 1 2 3 5 8; do
        run -0 "$BIN/12-uring-setup" --entries $entries --nops 20
        assert_equal "$(grep '^the CQE' <<<"$output")" \
            "$(printf 'the CQE: user_data %d, res 0\n' {1000..1019})"
        run -0 rows <<<"$output"
        assert_line 'We stored the CQ head 20 20 20 20'
    done
}

# A second NOP in the ring, by another hand, just before the call: the counters that
# are printed are those of the ring.
@test "the counters are the ring's, and no constants" {
    with_rings RINGS_TWICE=1 "$BIN/12-uring-setup"
    assert_success
    run -0 rows <<<"$output"
    assert_line --index 3 'We stored the SQ tail 0 1 0 0'
    assert_line --index 4 --regexp '^io_uring_enter\(\) has returned [12] 2 0 [12]$'
}

@test "two windows are one memory" {
    run -0 "$BIN/12-uring-setup" --maps 2 --nops 3
    assert_line 'the SQ tail, through the window of the CQ: 3'
    run -0 "$BIN/12-uring-setup"
    refute_output --partial window
}

@test "more than 32768 entries: the kernel's EINVAL, and nothing is shown" {
    run -1 --separate-stderr "$BIN/12-uring-setup" --entries 32769
    assert_equal "$stderr" \
        '12-uring-setup: setting up a ring of 32769 entries: Invalid argument'
    assert_equal "$output" ''
}

@test "the drawing: each field at its offset, once, and who writes it" {
    run -0 "$BIN/12-uring-setup"
    run -0 perl -ne 'print "$1: $2\n" if /^ *\d+ \| (.*?)  .*  (we write|kernel|fixed) *\|/' \
        <<<"$output"
    for ours in 'SQ tail' 'CQ head' 'CQ flags' 'SQ array of indices' SQEs; do
        assert_line "$ours: we write"
    done
    for kernels in 'SQ head' 'CQ tail' 'SQ flags' 'SQ dropped' 'CQ overflow' \
        'CQ array of CQEs'; do
        assert_line "$kernels: kernel"
    done
    assert_equal "$(sort <<<"$output" | uniq -d)" ''
}

@test "--step: what we did, and which counter moved" {
    run -0 "$BIN/12-uring-setup" --step --entries 2 --nops 3
    run -0 perl -0777 -ne '
        print "$1: ", join(" ", "$2 $3" =~ /((?:SQ|CQ) \w+ from \d+ to \d+)/g), "\n"
            while /^Step \d+, doing nothing: (.*)\.\n(?:.*\n)*?We moved (.*)\.\nThe kernel moved (.*)\./mg' \
        <<<"$output"
    assert_line --index 0 'The ring is new: '
    assert_line --index 1 'We filled an SQE: '
    assert_line --index 2 'We stored the SQ tail: SQ tail from 0 to 1'
    assert_line --index 3 \
        'io_uring_enter() has returned: SQ head from 0 to 1 CQ tail from 0 to 1'
    assert_line --index 4 'We read the CQE: '
    assert_line --index 5 'We stored the CQ head: CQ head from 0 to 1'
    assert_line --index 15 'We stored the CQ head: CQ head from 2 to 3'
    run -2 --separate-stderr "$BIN/12-uring-setup" --step --entries 9
    assert_equal "$output" ''
}

@test "--step: a slot is filled before the tail is stored, read before the head is" {
    run -0 "$BIN/12-uring-setup" --step --nops 2
    run -0 perl -ne '
        BEGIN { $/ = "\f" }
        my ($sq, $cq) = /^(SQ .*?)^(CQ .*)/ms;
        print "filled $1\n" if /We filled an SQE/ && $sq =~ /(user_data 1001: nop)/;
        print "read $1\n" if /We read the CQE/ && $cq =~ /\[(user_data \d+: res 0)\]/' \
        <<<"$output"
    assert_output - <<'END'
read user_data 1000: res 0
filled user_data 1001: nop
read user_data 1001: res 0
END
}

@test "arm64: the kernel's counters are loaded with acquire, ours stored with release" {
    need_arm64_objects "$ROOT/chapters/12-uring-setup/uring-setup.c"
    assert_equal "fill: ${orders[fill]}" 'fill: stlr sq_tail'
    assert_equal "completed: ${orders[completed]}" 'completed: ldar cq_tail'
    assert_equal "submit_and_wait: ${orders[submit_and_wait]}" \
        'submit_and_wait: ldar sq_head'
    assert_equal "reap: ${orders[reap]}" 'reap: stlr cq_head'
}

# bats test_tags=deep
@test "strace: two mmaps or three, as asked; all unmapped, the ring closed" {
    need_strace
    "$BIN/12-uring-setup" | grep -q '^both rings, one mmap' ||
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

# bats test_tags=deep
@test "enter is made again after EINTR" {
    need_strace
    run -0 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error=EINTR:when=2..3 "$BIN/12-uring-setup"
    assert_line 'the CQE: user_data 1000, res 0'
}

# bats test_tags=deep
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
