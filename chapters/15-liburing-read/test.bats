#!/usr/bin/env bats
# 15 · The same with liburing: the facts of 13, and none of its listing's mistakes.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    needs 15-liburing-read
    FILE=$(make_file $((4 << 20)))
}

# Blocks of 1 MiB from a cold file: the disk takes a while.
big_blocks() {
    need_cold
    FILE=$(make_file $((16 << 20)) big)
}

# lines_naming SOURCE: by another hand: without its comments, lines that name a queue, an
# entry or a ring.
lines_naming() {
    perl -0pe 's{/\*.*?\*/}{}gs' "$ROOT/$1" | grep -cE 'sqe|cqe|[sc]q_|ring->|->ring'
}

# came WHERE: how many blocks came "in submit", "at work" and so on.
came() {
    [[ ", $(fact completed)" =~ ,\ ([0-9]+)\ $1 ]]
    echo "${BASH_REMATCH[1]}"
}

# submitted: how many entries the kernel took, in all calls of the log.
submitted() {
    calls io_uring_enter |
        awk '{ split($0, a, ", "); if (a[2] > 0) n += $NF } END { print n }'
}

@test "the same bytes as 01, all eight in flight at once, one thread" {
    run -0 --separate-stderr in_time "$BIN/15-liburing-read" "$FILE"
    assert_equal "$stderr" ''
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_equal "$(fact 'most in flight')" 8
    ! takes_nowait "$FILE" || assert_equal "$(fact threads)" 1
    assert_equal "$(fact 'sleeps in submit')" 0
    assert_regex "$(fact calls)" '^1 to submit, '
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

@test "strace: one ring, one submit of all eight, nothing but waits after it, no other read" {
    need_strace
    strace_calls io_uring_setup,io_uring_enter,pread64,read,readv,close \
        "$BIN/15-liburing-read" "$FILE"
    assert_success
    assert_equal "$(count_calls io_uring_setup)" 1
    assert_equal "$(count_calls close '[io_uring]>')" 1
    run -0 calls io_uring_enter
    assert_line --index 1 --regexp 'io_uring]>, 8, 0, [^,]*, NULL, [0-9]+\) = 8$'
    # After the submit there are waits for one completion, and no other call.
    refute [ "$(calls io_uring_enter | sed 1,2d |
        grep -vE 'io_uring]>, 0, 1, IORING_ENTER_GETEVENTS')" ]
    # Before, the job has read the blocks once, for the sake of its memory.
    sed -i '0,/io_uring_enter.*, 8, /d' "$STRACE_LOG"
    for call in pread64 read readv; do
        assert_equal "$(count_calls $call "<$FILE>")" 0
    done
}

# bats test_tags=deep
@test "no ring: it says why, and shows nothing" {
    need_strace
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_uring_setup:error=EPERM "$BIN/15-liburing-read" "$FILE"
    assert_regex "$stderr" '^15-liburing-read: setting up io_uring: Operation not'
    assert_equal "$output" ''
    assert_equal "$status" 77
    # The last descriptor is the file's.
    run --separate-stderr bash -c 'ulimit -n 4 && exec "$@"' bash \
        "$BIN/15-liburing-read" "$FILE" 3<&-
    assert_equal "$stderr" '15-liburing-read: setting up io_uring: Too many open files'
    assert_equal "$output" ''
    assert_equal "$status" 1
}

# bats test_tags=deep
@test "what is in the cache comes in submit, and before the rest: no order is kept" {
    need_cold
    takes_nowait "$FILE" || skip 'on this file system threads of the kernel do all reads'
    for warm in 1 3; do
        run -0 "$BIN/15-liburing-read" --warm $warm "$FILE"
        assert [ "$(came 'in submit')" -ge $warm ]
        assert_regex "$(fact 'completed in the order')" "^$(seq -s ' ' $((8 - warm)) 7)"
    done
}

# bats test_tags=deep
@test "cold, twice the slots are in flight: as many as the CQ can hold" {
    need_cold
    big=$(make_file $((16 << 20)) big)
    for entries in 1 2 4; do
        run -0 "$BIN/15-liburing-read" --entries $entries -n 16 -s 1M "$big"
        assert_equal "$(fact 'most in flight')" $((2 * entries))
    done
}

# For the seventh mistake a kernel has to write into a slot at the wrong moment.
@test "15-listing: right where all is well, and wrong in six ways" {
    run -0 --separate-stderr "$BIN/15-listing"
    assert_equal "$stderr" ''
    assert_output "\
                            it says              true    how it ends
all is well                 4 blocks are there   4 of 4  status 0
nine blocks, eight entries  nothing              0 of 9  Segmentation fault
the file ends in block 3    4 blocks are there   3 of 4  status 0
a descriptor for writing    reading: Success     0 of 4  status 0
a signal while it waits     waiting: Success     0 of 1  Segmentation fault
no descriptor is free       nothing              0 of 4  Segmentation fault
the submit is refused       nothing              0 of 4  still waits after 0.5 s"
}

@test "more blocks than slots: right with a ring of 1, 2 and 4" {
    for entries in 1 2 4; do
        run -0 "$BIN/15-liburing-read" --entries $entries -n 20 "$FILE"
        assert_equal "$(fact checksum)" "$(checksum_of_01 -n 20)"
    done
}

# bats test_tags=deep
@test "it never waits while it can hand over more" {
    need_cold
    hands_over_first 15-liburing-read
}

# bats test_tags=deep
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

# The stand-in overwrites each slot as soon as it is given back, as the kernel may.
# bats test_tags=deep
@test "a CQE is read before its slot is given back" {
    cc -include "$ROOT/common/test/spoil.h" -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" \
        "$ROOT/chapters/15-liburing-read/liburing-read.c" "$ROOT"/common/*.c \
        -luring -lz -o "$BATS_TEST_TMPDIR/spoiled"
    run -0 "$BATS_TEST_TMPDIR/spoiled" -n 20 --entries 2 "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01 -n 20)"
}

# bats test_tags=deep
@test "a read that fails, or finds the end of the file: where, and why" {
    takes_nowait "$FILE" || skip 'on this file system threads of the kernel do all reads'
    with_rings RINGS_BREAK=22 "$BIN/15-liburing-read" "$FILE"
    assert_equal "$status" 1
    assert_regex "$stderr" 'at byte 0: Bad file descriptor$'
    for res in 0 -5; do
        with_rings RINGS_RES="1 $res" "$BIN/15-liburing-read" --warm 3 "$FILE"
        assert_equal "$status" 1
        # The first that comes is block 5.
        assert_regex "$stderr" 'at byte 2621440: (the file ends sooner than its size said|Input/output error)$'
    done
}

# Which call is the first that waits depends on the disk.
# bats test_tags=deep
@test "EINTR, EAGAIN and EBUSY, in a submit and in a wait: it goes on, or says why not" {
    need_strace
    big_blocks
    right=$(checksum_of_01 -n 40 -s 256K)
    for error in EINTR EAGAIN EBUSY; do
        passed=0
        rm -f "$BATS_TEST_TMPDIR/failed"
        for when in {2..30}; do
            # A submit that finds nothing in flight proves too little.
            ! failed '[12] 0' || ! failed '0 1' || ((passed == 0)) || break
            fail_enter 15-liburing-read $error "$when"
            if [[ $error != EINTR && $status == 1 ]]; then
                # Nothing was in flight; or it was a wait, which knows no EAGAIN.
                assert_regex "$stderr" '^15-liburing-read: (submitting|waiting) '
                [[ $error == EAGAIN || $stderr != *waiting* ]] || fail "$stderr"
                continue
            fi
            # Past the last call nothing was injected.
            [[ ! $(tail -n 1 "$BATS_TEST_TMPDIR/failed") =~ ^[12]\ 0$ ]] ||
                ! grep -q INJECTED "$BATS_TEST_TMPDIR/enter" || ((++passed))
            assert_equal "$stderr" ''
            assert_success
            assert_equal "$(fact checksum)" "$right"
        done
        run -0 cat "$BATS_TEST_TMPDIR/failed"
        assert_line --regexp '^[12] 0$'
        assert_line '0 1'
        assert [ $passed -gt 0 ]
    done
}

# bats test_tags=deep
@test "EAGAIN with nothing in flight is an error, not a wait for ever" {
    need_strace
    run --separate-stderr in_time strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:retval=0:when=2+ "$BIN/15-liburing-read" "$FILE"
    assert_equal "$status" 1
    run --separate-stderr in_time strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error=EAGAIN:when=2+ "$BIN/15-liburing-read" "$FILE"
    assert_equal "$stderr" "15-liburing-read: submitting reads: Resource\
 temporarily unavailable"
    assert_equal "$status" 1
}

# bats test_tags=source
@test "what names a ring is counted, and liburing saves most of it" {
    run -0 "$BIN/15-liburing-read" "$FILE"
    here=$(lines_naming chapters/15-liburing-read/liburing-read.c)
    there=$(lines_naming chapters/13-uring-read/uring-read.c)
    ring=$(lines_naming common/ring.c)
    assert_equal "$(fact 'lines that name a ring')" "$here in liburing-read.c,\
 $there in uring-read.c, $ring in ring.c"
    assert [ $((2 * here)) -lt $((there + ring)) ]
}
