#!/usr/bin/env bats
# 13 · Reading through a ring: submit hands over and returns, completions come while
# the thread works, and it sleeps only when there is nothing else to do.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    load ../../common/test/orders
    needs 13-uring-read
    shared_file $((4 << 20)) small
}

# The first io_uring_enter() of a run hands over nothing: it only finds out whether
# the call may be made.

# uring_read [OPTION]...: run the program on $FILE. It must succeed, and say nothing on
# stderr.
uring_read() {
    run --separate-stderr "$BIN/13-uring-read" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# Blocks of 1 MiB from a cold file: a disk has some work with these, and a processor
# that copies them, too.
big_blocks() {
    need_cold
    shared_file $((16 << 20)) big
}

# checksums [OPTION]...: is that of each pass 01's?
checksums() {
    local right
    right=$(checksum_of_01 "$@")
    assert_equal "$(fact checksum 1)" "$right"
    assert_equal "$(fact checksum 2)" "$right"
}

# came WHERE PASS: how many blocks came "in submit", "in wait", "at work", "between".
came() {
    [[ ", $(fact completed "$2")" =~ ,\ ([0-9]+)\ $1 ]]
    echo "${BASH_REMATCH[1]}"
}

# add_up BLOCKS: do these four, in both passes?
add_up() {
    local pass
    for pass in 1 2; do
        [[ $(fact completed $pass) =~ ^([0-9]+)\ .*,\ ([0-9]+)\ .*,\ ([0-9]+)\ .*,\ ([0-9]+)\  ]]
        assert_equal $((BASH_REMATCH[1] + BASH_REMATCH[2] + BASH_REMATCH[3] +
            BASH_REMATCH[4])) "$1"
    done
}

# --- What both passes do ----------------------------------------------------------

@test "both passes: the bytes of 01, eight in flight at once, one thread, one submit" {
    uring_read
    checksums
    add_up 8
    for pass in 1 2; do
        assert_equal "$(fact 'most in flight' $pass)" 8
        # Else threads of the kernel do the reads: the page, "Who copies the bytes?".
        ! takes_nowait "$FILE" || assert_equal "$(fact threads $pass)" 1
        assert_equal "$(fact 'sleeps in submit' $pass)" 0
        assert_regex "$(fact calls $pass)" '^1 to submit, '
        order=$(fact 'completed in the order' $pass)
        assert_equal ${#order} 15
        for block in {0..7}; do
            assert_regex "$order" "$block"
        done
    done
}

# bats test_tags=deeper
@test "both passes do all of their own work, whatever the reads do" {
    for pieces in ${DEEP:+0 1 3000} 400; do
        uring_read --work "$pieces"
        assert_equal "$(fact work)" "$pieces pieces, 0 with blocks in flight"
        assert_regex "$(fact work 2)" "^$pieces pieces, [0-9]+ with blocks"
    done
}

@test "strace: one enter submits all eight; nobody else reads the file" {
    need_strace
    strace_calls io_uring_enter,pread64,read,readv,preadv,preadv2,io_submit \
        "$BIN/13-uring-read" "$FILE"
    assert_success
    run -0 calls io_uring_enter
    assert_line --index 0 --regexp 'io_uring]>, 0, 0, 0, NULL, 0\) = 0$'
    assert_line --index 1 --regexp 'io_uring]>, 8, 0, 0, NULL, 0\) = 8$'
    # Before, the job has read the blocks once, for the sake of its memory.
    sed -i '0,/io_uring_enter.*, 8, /d' "$STRACE_LOG"
    assert_equal "$(count_calls io_uring_enter ', 8, ')" 1
    for call in pread64 read readv preadv preadv2 io_submit; do
        assert_equal "$(count_calls $call "<$FILE>")" 0
    done
    # A wait is for one completion.
    run calls io_uring_enter GETEVENTS
    refute_output --regexp 'io_uring]>, 0, ([02-9]|1[0-9]), '
}

# A busy machine may stop the thread in its submit until the disk is done: 4 of 20
# with four others at work. A submit that waits has all eight there in all of 20.
@test "cold, submit returns with none complete, where 08 has all eight" {
    need_cold
    need_aio
    for _ in {1..10}; do
        run -0 "$BIN/08-io-submit" "$FILE"
        assert_equal "$(in_submit)" '8 of 8'
        uring_read
        assert_line --index 0 --partial ', cold: 0 of '
        (($(came 'in submit' 1) + $(came 'in submit' 2) > 0)) || return 0
    done
    fail "$output"
}

# bats test_tags=deeper
@test "what is in the cache comes in submit, and before the rest: no order is kept" {
    need_cold
    takes_nowait "$FILE" || skip 'on this file system threads of the kernel do all reads'
    right=$(checksum_of_01)
    for warm in ${DEEP:+1} 3 8; do
        uring_read --warm "$warm"
        for pass in 1 2; do
            assert_equal "$(fact checksum $pass)" "$right"
            assert [ "$(came 'in submit' $pass)" -ge "$warm" ]
            assert_regex "$(fact 'completed in the order' $pass)" \
                "^$(seq -s ' ' $((8 - warm)) 7)"
        done
    done
    assert_equal "$(fact sleeps)" 0
    assert_equal "$(fact completed)" '8 in submit, 0 in wait, 0 at work, 0 between'
}

# --- In turn, and together --------------------------------------------------------

# Each of these looks for one run of several. On a machine with four others at work,
# 16 of 20 runs had completions asleep, 19 of 20 at work, and 19 of 20 slept when the
# work was done. A program that does the contrary never has one.
@test "cold, in turn: all completions come in the wait, and it sleeps there" {
    big_blocks
    for _ in {1..10}; do
        uring_read -s 1M
        assert_equal "$(came 'at work' 1)" 0
        (($(came 'in wait' 1) < 8 || $(fact sleeps) == 0)) || return 0
    done
    fail "$output"
}

@test "cold, together: all come at work, and the thread never sleeps or waits" {
    big_blocks
    for _ in {1..10}; do
        uring_read -s 1M --work 50000
        assert_equal "$(fact sleeps 2)" 0
        assert_equal "$(fact calls 2)" '1 to submit, 0 to wait'
        assert_equal "$(came 'in wait' 2)" 0
        (($(came 'at work' 2) < 8)) || break
    done
    assert_equal "$(came 'at work' 2)" 8
    # It looks between two pieces, and not after all of them.
    [[ $(fact work 2) =~ ^50000\ pieces,\ ([0-9]+)\ with ]]
    assert [ "${BASH_REMATCH[1]}" -gt 0 ]
    assert [ "${BASH_REMATCH[1]}" -lt 50000 ]
    # The mark stands where they came.
    assert_line --regexp '^together  .*◆▚+$'
    assert_line --regexp '^in turn   [▒░◆ ]*◆[░ ]*▚+$'
}

# Longer in 60 of 60 runs on a quiet machine, and in 10 of 12 with a load of 4. So runs are
# made until those in which it is a tenth longer are ten more, or ten less, than the others.
@test "cold, together: the copies are part of its work" {
    big_blocks
    takes_nowait "$FILE" || skip 'on this file system threads of the kernel do all reads'
    run -0 perl -e '
        my ($more, @seen) = (0);
        while (@seen < 150 && abs($more) < 10) {
            my ($in_turn, $together) = map { /([\d.]+) ms at work$/ ? $1 : () } qx{@ARGV};
            $more += $together > 1.1 * $in_turn ? 1 : -1;
            push @seen, "$in_turn, then $together\n";
        }
        print $more < 10 ? @seen : "longer\n"' \
        "${BIN@Q}/13-uring-read" -s 1M --work 5000 "${FILE@Q}"
    assert_output longer
}

# Here a completion comes between a look and the next piece once in a hundred runs or so.
# A program that looks at each 64th piece goes on for 32 pieces on average.
# bats test_tags=deep
@test "cold, together: what has come is reaped before the next piece of work" {
    big_blocks
    late=0
    for _ in {1..5}; do
        with_rings RINGS_LATE=1 "$BIN/13-uring-read" -s 1M --work 20000 "$FILE"
        assert_success
        late=$((late + $(grep -c late "$RINGS_LOG" || :)))
    done
    assert [ $late -le 8 ]
}

# getrusage() belongs to the timeline, after the submit and at the end.
@test "strace: together makes one call of enter, and none until its work is done" {
    need_strace
    big_blocks
    strace_calls all "$BIN/13-uring-read" -s 1M --work 50000 "$FILE"
    assert_success
    run -0 perl -ne '
        $n++ if / 8, 0, 0, NULL, 0\)/;
        last if $n == 2 && m{/proc/self/task};
        print "$1\n" if $n == 2 && /^\d+ +(\w+)\(/ && $calls++ < 9;' "$STRACE_LOG"
    assert_output "$(printf '%s\n' io_uring_enter getrusage getrusage)"
}

@test "cold, together: the work is done, the blocks are not there: it sleeps" {
    big_blocks
    for _ in {1..5}; do
        uring_read -s 1M --work 5
        [[ $(fact work 2) == '5 pieces, 5 with blocks in flight' ]] || continue
        [[ $(fact calls 2) == '1 to submit, 0 to wait' ]] ||
            (($(fact sleeps 2) == 0)) || return 0
    done
    fail "$output"
}

# --- The two limits of fill() -----------------------------------------------------

# bats test_tags=deeper
@test "more blocks than slots: right with a ring of 1, 2 and 4, in both passes" {
    for entries in ${DEEP:+1 4} 2; do
        run -0 in_time "$BIN/13-uring-read" --entries "$entries" -n 20 "$FILE"
        checksums -n 20
        add_up 20
        # Never more in flight than the completion queue can hold.
        for pass in 1 2; do
            assert [ "$(fact 'most in flight' $pass)" -le $((2 * entries)) ]
        done
    done
}

# bats test_tags=deeper
@test "cold, twice the slots are in flight: as many as the CQ can hold" {
    big_blocks
    for entries in ${DEEP:+1 4} 2; do
        both=''
        for _ in {1..5}; do
            uring_read --entries "$entries" -n 16 -s 1M
            in_turn=$(fact 'most in flight') together=$(fact 'most in flight' 2)
            assert [ "$in_turn" -le $((2 * entries)) ]
            assert [ "$together" -le $((2 * entries)) ]
            if ((in_turn + together == 4 * entries)); then
                both=yes
                break
            fi
        done
        assert_equal "$both" yes
    done
}

# bars PASS: the main lane of that pass, from the trace, a word for each bar.
bars() {
    perl -ne 'BEGIN { $pass = shift }
        print "$1 " if /"name":"(own|running|waits)[^"]*","pid":$pass,"tid":0,"ts"/' \
        "$1" "$BATS_TEST_TMPDIR/trace"
}

# bats test_tags=deep
@test "the time in its parts, as the trace has it" {
    uring_read --work 3000 --trace "$BATS_TEST_TMPDIR/trace"
    for pass in 1 2; do
        # Own work, and calls of both kinds, in hundredths of a millisecond.
        parts=$(perl -ne 'BEGIN { $pass = shift }
            $time{$1 eq "own" ? 1 : 0} += $2
                if /"name":"(\w+)[^"]*","pid":$pass,"tid":0,"ts":[\d.]+,"dur":([\d.]+)/;
            END { printf "%.0f %.0f", $time{0} / 10, $time{1} / 10 }' \
            $pass "$BATS_TEST_TMPDIR/trace")
        [[ $(fact time $pass) =~ ^([0-9]+)\.([0-9]+)\ ms\ in\ submit,\ ([0-9]+)\.([0-9]+)\ ms\ in\ wait,\ ([0-9]+)\.([0-9]+)\ ms\ at\ work$ ]]
        calls=$((10#${BASH_REMATCH[1]}${BASH_REMATCH[2]} +
            10#${BASH_REMATCH[3]}${BASH_REMATCH[4]}))
        # Each is rounded by itself.
        assert [ $((calls - ${parts% *})) -ge -2 ]
        assert [ $((calls - ${parts% *})) -le 2 ]
        assert_equal "$((10#${BASH_REMATCH[5]}${BASH_REMATCH[6]}))" "${parts#* }"
    done
}

# bats test_tags=deep
@test "cold, together: all that the rings have room for is handed over before it works" {
    big_blocks
    for entries in 1 2 4; do
        seen=''
        for _ in {1..30}; do
            uring_read --entries $entries -n 16 -s 1M --work 20000 \
                --trace "$BATS_TEST_TMPDIR/trace"
            assert_regex "$(bars 1)" '^(running ){2,}'
            assert_regex "$(bars 2)" '^(running ){2,}'
            # What a completion makes room for is handed over before it works on. On a
            # busy machine all may be there when a submit returns.
            if [[ $(bars 1) == *waits* && $(bars 2) == *'own running '* ]]; then
                seen=yes
                break
            fi
        done
        assert_equal "$seen" yes
    done
}

# bats test_tags=deep
@test "it never waits while it can hand over more" {
    need_cold
    hands_over_first 13-uring-read
}

# --- Short, interrupted, refused --------------------------------------------------

# submitted: how many entries the kernel took, in all calls of the log.
submitted() {
    calls io_uring_enter |
        awk '{ split($0, a, ", "); if (a[2] > 0) n += $NF } END { print n }'
}

# bats test_tags=deeper
@test "short reads are finished, with slots to spare and without" {
    need_strace
    for entries in ${DEEP:+1 8 16} 2; do
        strace_short io_uring_enter timeout 60 "$BIN/13-uring-read" \
            --entries "$entries" "$FILE"
        assert_success
        checksums
        add_up 8
        # Each block goes twice: all but its last page, then that. Two passes.
        assert_equal "$(submitted)" 32
    done
}

# The stand-in changes a result when a call returns. A cold read may come between two
# calls, and the program then takes it unchanged. What is in the cache comes in the submit.
# bats test_tags=deep
@test "a read that a signal has cut short is made again" {
    for warm in 0 8; do
        for nth in 1 3 8 9; do
            with_rings RINGS_RES="$nth -4" "$BIN/13-uring-read" --warm $warm "$FILE"
            assert_success
            checksums
            add_up 8
        done
    done
}

@test "a read that fails: where in the file, and why" {
    takes_nowait "$FILE" || skip 'on this file system threads of the kernel do all reads'
    # Block 5 is in the cache, and comes first.
    with_rings RINGS_RES='1 -5' "$BIN/13-uring-read" --warm 3 "$FILE"
    assert_equal "$stderr" \
        "13-uring-read: reading $FILE at byte 2621440: Input/output error"
    assert_equal "$status" 1
    with_rings RINGS_BREAK=22 "$BIN/13-uring-read" "$FILE"
    assert_equal "$status" 1
    assert_regex "$stderr" "at byte 0: Bad file descriptor\$"
}

# bats test_tags=deep
@test "the file is cut shorter under way: an error, not a wait for ever" {
    takes_nowait "$FILE" || skip 'on this file system threads of the kernel do all reads'
    with_rings RINGS_RES='1 0' "$BIN/13-uring-read" --warm 3 "$FILE"
    assert_regex "$stderr" 'at byte 2621440: the file ends sooner than its size said$'
    assert_equal "$status" 1
}

# Which call is the first that waits depends on the disk.
# bats test_tags=deep
@test "enter is made again after EINTR, be it a submit or a wait" {
    need_strace
    big_blocks
    right=$(checksum_of_01 -n 40 -s 256K)
    for when in {2..30}; do
        ! failed '2 0' || ! failed '0 1' || break
        fail_enter 13-uring-read EINTR "$when"
        assert_equal "$stderr" ''
        assert_success
        assert_equal "$(fact checksum 1) $(fact checksum 2)" "$right $right"
    done
    run -0 cat "$BATS_TEST_TMPDIR/failed"
    assert_line '2 0'
    assert_line '0 1'
}

# Which calls find reads in flight depends on the disk. Those that do go on; the
# others say so. One of the first kind must turn up, or the test proves nothing:
# five of seven do, quiet or busy.
# bats test_tags=deep
@test "EAGAIN and EBUSY pass while reads are in flight, else they are errors" {
    need_strace
    big_blocks
    right=$(checksum_of_01 -n 40 -s 256K)
    for error in EAGAIN EBUSY; do
        passed=0
        for when in {3..20}; do
            fail_enter 13-uring-read $error "$when"
            if [[ $status == 0 ]]; then
                assert_equal "$(fact checksum 1) $(fact checksum 2)" "$right $right"
                ((++passed))
            else
                assert_equal "$status" 1
                # A wait knows no EAGAIN, and takes EBUSY for a reason to reap.
                assert_regex "$stderr" \
                    "^13-uring-read: (submitting .*|waiting .* unavailable$)"
            fi
        done
        assert [ $passed -gt 0 ]
    done
}

# Of the calls that fail with EBUSY, one was a wait, and one a submit.
# bats test_tags=deep
@test "EBUSY is an error only for a submit with nothing in flight" {
    need_strace
    big_blocks
    for when in {2..30}; do
        ! failed '[12] 0' || ! failed '0 1' || break
        fail_enter 13-uring-read EBUSY "$when"
        ((status == 0)) || assert_regex "$stderr" '^13-uring-read: submitting '
    done
    run -0 cat "$BATS_TEST_TMPDIR/failed"
    assert_line '0 1'
    assert_line --regexp '^[12] 0$'
}

# bats test_tags=deep
@test "a submit that takes fewer entries than it was offered, or none" {
    with_rings RINGS_FEWER=1 "$BIN/13-uring-read" -n 20 "$FILE"
    assert_success
    checksums -n 20
    add_up 20
    # What was not taken is in the SQ still, and needs room in the CQ: its 4 slots.
    big_blocks
    with_rings RINGS_FEWER=1 "$BIN/13-uring-read" --entries 2 -n 40 -s 256K "$FILE"
    assert_success
    assert_equal "$(fact 'most in flight' 1) $(fact 'most in flight' 2)" '4 4'
    need_strace
    run --separate-stderr in_time strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:retval=0:when=2+ "$BIN/13-uring-read" "$FILE"
    assert_equal "$stderr" \
        "13-uring-read: submitting 8 reads: Resource temporarily unavailable"
    assert_equal "$status" 1
}

@test "EAGAIN with nothing in flight is an error, not a wait for ever" {
    need_strace
    run --separate-stderr in_time strace -o /dev/null -e signal=none \
        -e inject=io_uring_enter:error=EAGAIN "$BIN/13-uring-read" "$FILE"
    assert_equal "$stderr" "13-uring-read: submitting 8 reads: Resource\
 temporarily unavailable"
    assert_equal "$status" 1
}

# That is the kernel, and no program of ours. In 20 of 20 runs, with a load of 10.
# bats test_tags=deep
@test "while a read completes, epoll_wait says EINTR with no signal, and poll goes on" {
    big_blocks
    takes_nowait "$FILE" || skip 'on this file system threads of the kernel do all reads'
    cc -D_GNU_SOURCE -I"$ROOT/common" -o "$BATS_TEST_TMPDIR/waits" -x c - -x none \
        "$ROOT/common/ring.c" <<'END'
#include "ring.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

int main(int argc, char **argv)
{
    static char block[1 << 20];
    struct ring ring;
    struct epoll_event event;
    int file = open(argv[2], O_RDONLY), epoll = epoll_create1(0);

    if (ring_open(&ring, 1) || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED))
        return 1;
    ring.sqes[0] = (struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = file,
        .addr = (uintptr_t)block, .len = sizeof(block)};
    ring.sq_array[0] = 0;
    atomic_store(ring.sq_tail, 1);
    if (ring_enter(&ring, 1, 0) != 1)
        return 1;
    int n = *argv[1] == 'e' ? epoll_wait(epoll, &event, 1, 500) : poll(NULL, 0, 500);
    puts(n < 0 ? strerror(errno) : "in time");
    return argc != 3;
}
END
    for _ in {1..5}; do
        run -0 "$BATS_TEST_TMPDIR/waits" poll "$FILE"
        assert_output 'in time'
        run -0 "$BATS_TEST_TMPDIR/waits" epoll "$FILE"
        [[ $output != 'Interrupted system call' ]] || return 0
    done
    fail "$output"
}

# --- Orders of memory -------------------------------------------------------------

# bats test_tags=deep
@test "arm64: the kernel's counters are loaded with acquire, ours stored with release" {
    need_arm64_objects "$ROOT/chapters/13-uring-read/uring-read.c"
    assert_equal "to_submit: ${orders[to_submit]}" 'to_submit: ldar sq_head'
    assert_equal "in_flight: ${orders[in_flight]}" 'in_flight: ldar sq_head'
    assert_equal "to_reap: ${orders[to_reap]}" 'to_reap: ldar cq_tail'
    assert_equal "fill: ${orders[fill]}" 'fill: stlr sq_tail'
    assert_equal "reap: ${orders[reap]}" 'reap: stlr cq_head'
}

# --- The other views --------------------------------------------------------------

# bats test_tags=deep
@test "--lanes: both passes to one scale, a lane for each block, own work marked" {
    uring_read --lanes --trace "$BATS_TEST_TMPDIR/trace"
    for block in {0..7}; do
        assert_equal "$(grep -c "^block $block  " <<<"$output")" 2
    done
    assert_equal "$(grep -c '^main  .*▚' <<<"$output")" 2
    assert_equal "$(grep -E '^(in turn|together) +0 ' <<<"$output" |
        sed 's/.* \([0-9.]* ms\)$/\1/' | sort -u | wc -l)" 1
    grep -q '"own work"' "$BATS_TEST_TMPDIR/trace"
}

# frames: what --step has shown on stdin, a line each: the event, and what has moved.
frames() {
    perl -ne '
        BEGIN { $/ = "\f" }
        next unless /^Step \d+, ([\w ]+): (.*)\.$/m;
        my ($pass, $event) = ($1, $2);
        my @moved = /(?:We|The kernel) moved (.*)\.$/gm;
        print "$pass: $event: ", join("; ", grep { !/^no / } @moved), "\n";
    '
}

# bats test_tags=deep
@test "--step: what we did, and which counter moved, for eight blocks in four slots" {
    big_blocks
    right=$(checksum_of_01 -s 1M)
    # What the page promises: the kernel moves the tail while we work. On a busy machine
    # it may have moved it before.
    for _ in {1..5}; do
        uring_read --step --entries 4 -s 1M --work 20000
        assert_line "in turn: checksum: $right"
        assert_line "together: checksum: $right"
        run -0 frames <<<"$output"
        ! grep -qE '^together: We worked, .*: the CQ tail from' <<<"$output" || break
    done
    assert_line --regexp '^together: We worked, and made no system call: the CQ tail from'
    assert_line --index 0 'in turn: We filled an SQE: read block 0: '
    assert_line --index 3 'in turn: We filled an SQE: read block 3: '
    assert_line --index 4 'in turn: We stored the SQ tail: the SQ tail from 0 to 4'
    assert_line --index 5 --regexp \
        '^in turn: The submit has returned: the SQ head from 0 to 4'
    # Tails and heads that wrap go on, and the slot is the counter and the mask.
    assert_line 'together: We stored the SQ tail: the SQ tail from 8 to 12'
    assert_equal "$(grep -c 'We read a CQE' <<<"$output")" 16
    assert_regex "$output" 'We stored the CQ head: the CQ head from [0-9]+ to 16'
}

# bats test_tags=deep
@test "--step: slots, brackets and counters agree in every frame, 80 columns by 22" {
    for entries in 1 2 4 8; do
        uring_read --step --entries $entries -n 11
        run -0 perl -e '
            local $/ = "\f";
            my $frames = 0;
            while (<STDIN>) {
                next unless /^Step/m;
                s/\f|\A\s+//g;
                s/\n(?:in turn|together): checksum.*//s;
                $frames++;
                # A CQE is read before its slot is given back.
                print "$_" if /We read a CQE: block (\d+) / && !/\[user_data $1: res/;
                print "lines: $_" if split(/\n/) > 22 || grep { length > 80 } split(/\n/);
                while (/^(SQ|CQ)  head (\d+) & (\d+) = slot (\d+), tail (\d+) & \d+ = slot (\d+): (\d+) .*\n((?:.*\d+.*\n)+)/gm) {
                    my ($q, $slots) = ($1, $8);
                    my ($head, $mask, $h, $tail, $t, $n) = map { $_ + 0 } $2, $3, $4, $5, $6, $7;
                    my $full = () = $slots =~ /\[/g;
                    print "$q: $_" if $h != ($head & $mask) || $t != ($tail & $mask)
                        || $n != $tail - $head || $full != $n || $n > $mask + 1;
                    for my $i ($head .. $tail - 1) {
                        my $slot = $i & $mask;
                        print "$q $slot: $_" unless $slots =~ /(^| )\s*$slot \[/m;
                    }
                }
            }
            print "$frames frames\n"' <<<"$output"
        assert_output --regexp '^[0-9]+ frames$'
    done
    run -2 "$BIN/13-uring-read" --step --entries 16 "$FILE"
}

# bats test_tags=deep
@test "--step on a terminal: Enter shows the next frame, a number that one, q the rest" {
    command -v script >/dev/null || skip 'script is not installed'
    run -0 script -qec "stty rows 24 cols 80; '$BIN/13-uring-read' --step -s 128K '$FILE'" \
        /dev/null <<<$'\n\n7\n2\nq\n'
    assert_equal "$(grep -c 'Enter: the next step' <<<"$output")" 5
    assert_equal "$(grep -o 'Step [0-9]*' <<<"$output" | head -n 6 | xargs)" \
        'Step 1 Step 2 Step 3 Step 7 Step 2 Step 3'
    assert_output --partial 'in turn: checksum: '
}
