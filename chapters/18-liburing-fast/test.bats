#!/usr/bin/env bats
# 18 · The options of a ring: what each is worth in system calls.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    needs 18-liburing-fast
    FILE=$(make_file $((4 << 20)))
    ROWS=('1 at a time' '8 at a time' '32 at a time' '+ registered file'
        '+ registered buffers' '+ DEFER_TASKRUN' SQPOLL IOPOLL)
}

fast() { run -0 --separate-stderr "$BIN/18-liburing-fast" "$@" "$FILE"; }

# row NAME: the numbers of a row, or why there are none.
row() {
    sed -n "s/^$1 \{2,\}//p" <<<"$output" | tr -s ' '
}

# column NUMBER NAME
column() { row "$2" | cut -d ' ' -f "$1"; }

# rings: from the log, a line for each ring that was set up: its flags, how often
# the kernel was entered, and how often to wake the poller. The first ring is
# the one of the check, the second reads the eight blocks, then come the rows.
rings() {
    perl -ne '
        if (/ io_uring_setup\(\d+, \{flags=([^,]*),/) {
            # liburing asks for this one by itself, since 2.6.
            my $flags = $1 =~ s/ .*|\|?IORING_SETUP_NO_SQARRAY//gr;
            push @rings, [$flags || 0, 0, 0];
        } elsif (/ io_uring_enter\(/) {
            $rings[-1][1]++;
            $rings[-1][2]++ if /SQ_WAKEUP/;
        }
        END { print "@$_\n" for @rings }' "$STRACE_LOG"
}

# ratio CALLS READS: as the program prints it.
ratio() { perl -e 'printf "%.3f", $ARGV[0] / $ARGV[1]' "$@"; }

# need_all: skip where an option is missing.
need_all() {
    for name in "${ROWS[@]::7}"; do
        [[ $(row "$name") != 'not measured'* ]] ||
            skip "$name $(row "$name")"
    done
}

# bats test_tags=deep
@test "the same bytes as 01, all eight in flight at once, one thread where that can be" {
    fast
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_equal "$(fact 'most in flight')" 8
    if takes_nowait "$FILE"; then
        assert_equal "$(fact threads)" 1
    else
        assert [ "$(fact threads)" -gt 1 ]
    fi
    assert_equal "$stderr" ''
    fast -n 256 -s "$PAGE"
    assert_equal "$(fact checksum)" "$(checksum_of_01 -n 256 -s "$PAGE")"
}

@test "cold, submit returns with fewer than eight complete (see 13)" {
    need_cold
    for _ in {1..20}; do
        fast --operations 1 --rounds 1
        early=$(in_submit)
        if ((${early% of 8} < 8)) && [[ $(fact 'sleeps in submit') == 0 ]]; then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: the blocks go through one enter, a registered file and buffers" {
    need_strace
    strace_calls io_uring_setup,io_uring_register,io_uring_enter \
        "$BIN/18-liburing-fast" --operations 1 --rounds 1 "$FILE"
    assert_success
    refute_line --regexp '^all off'
    # After the ring of the check.
    run -0 sed -n '/io_uring_setup(16,/,$p' "$STRACE_LOG"
    assert_line --index 0 --regexp 'io_uring_setup\(16, \{flags=(0x3000|.*DEFER_TASKRUN)'
    assert_line --index 1 --regexp "IORING_REGISTER_FILES, \[[0-9]+<$(as_regex "$FILE")>\], 1\) = 0$"
    assert_line --index 2 --regexp 'IORING_REGISTER_BUFFERS, .* 8\) = 0$'
    assert_line --index 3 --regexp 'io_uring_enter\([^,]*, 8, 0, .*\) = 8$'
}

@test "the rows, in their order, and the sum" {
    fast
    names=$(sed -n '/^1 at a time/,/^$/s/ \{2,\}.*//p' <<<"$output")
    assert_equal "$names" "$(printf '%s\n' "${ROWS[@]}")"
    for name in "${ROWS[@]}"; do
        assert_regex "$(row "$name")" \
            '^([0-9]+ [0-9.]+ [0-9.]+ [0-9.]+|not measured: .+)$'
    done
    assert_equal "$(column 2 '1 at a time')" 1.00
    sum=$(fact 'sum of each row')
    assert_regex "$sum" '^[0-9a-f]{16}$'

    # Other reads of other bytes, another sum; on the same file, the same.
    fast
    assert_equal "$(fact 'sum of each row')" "$sum"
    tr 1 2 <"$FILE" >"$FILE.other"
    run -0 "$BIN/18-liburing-fast" "$FILE.other"
    assert [ "$(fact 'sum of each row')" != "$sum" ]
}

# The heart of the chapter: exactly 1, 1/8 and 1/32 calls a read; and with a
# poller none but one that wakes it, however many the reads.
# bats test_tags=deep
@test "strace: the calls are those that the batch makes, and that are printed" {
    need_strace
    for operations in 320 3200; do
        strace_calls io_uring_setup,io_uring_enter "$BIN/18-liburing-fast" \
            --operations $operations --rounds 1 --spin 2000000000 "$FILE"
        assert_success
        need_all
        mapfile -t rings < <(rings)
        assert_equal "${#rings[@]}" 9
        for i in {0..6}; do
            read -r flags enters wakes <<<"${rings[2 + i]}"
            case $i in
                0) assert_equal "$flags $enters" "0 $operations" ;;
                1) assert_equal "$flags $enters" "0 $((operations / 8))" ;;
                2 | 3 | 4) assert_equal "$flags $enters" "0 $((operations / 32))" ;;
                5) assert_equal "$enters" $((operations / 32)) ;;
                6)
                    assert_equal "$flags" IORING_SETUP_SQPOLL
                    assert_equal "$enters" "$wakes"
                    assert [ "$enters" -le 1 ]
                    ;;
            esac
            assert_equal "$(column 3 "${ROWS[i]}")" \
                "$(ratio "$enters" $operations)"
        done
    done
}

# bats test_tags=deep
@test "strace: a wait for the poller is counted too" {
    need_strace
    strace_calls io_uring_setup,io_uring_enter "$BIN/18-liburing-fast" \
        --operations 100 --rounds 1 --spin 0 "$FILE"
    assert_success
    need_all
    read -r _ enters wakes < <(rings | tail -n 1)
    assert [ "$enters" -gt "$wakes" ]
    assert_equal "$(column 3 SQPOLL)" \
        "$(ratio "$enters" 100)"
}

# More time to fall asleep than the poller needs: then it must be woken, or
# the program would wait for ever.
# bats test_tags=deep
@test "strace: a poller that sleeps is woken" {
    need_strace
    for _ in {1..20}; do
        strace_calls io_uring_setup,io_uring_register,io_uring_enter \
            -e inject=io_uring_register:delay_exit=20000 \
            "$BIN/18-liburing-fast" --operations 64 --rounds 1 "$FILE"
        assert_success
        need_all
        read -r _ _ wakes < <(rings | tail -n 1)
        ((wakes == 0)) || return 0
    done
    fail 'never woken in 20 runs'
}

# A submit with others in flight comes after a signal, or a short read.
# bats test_tags=deep
@test "short of room in the kernel, it waits for what is in flight" {
    refused=0
    for from in {4..64..4}; do
        with_rings RINGS_HURRY=1 RINGS_REFUSE="11 $from 3" \
            "$BIN/18-liburing-fast" --direct --operations 64 --rounds 1 "$FILE"
        ((status != 77)) || skip "$stderr"
        # With nothing in flight no room can be hoped for.
        ((status == 0)) || assert_equal "$stderr" \
            '18-liburing-fast: submitting reads: Resource temporarily unavailable'
        assert_regex "$(spins)" '^none of '
        refused=$((refused + $(spins | grep -o '[0-9]*')))
    done
    assert [ $refused -gt 0 ]
}

# One thread can't have more than a second of processor in a second.
# bats test_tags=deep
@test "the processor time is that of the poller too" {
    (($(nproc) > 1)) || skip 'it takes two processors'
    for _ in {1..20}; do
        fast --rounds 3
        need_all
        if awk "BEGIN { exit !($(column 1 SQPOLL) * $(column 4 SQPOLL) > 1.1e6) }"
        then
            return 0
        fi
    done
    skip 'the other processors are busy with something else'
}

# bats test_tags=deep
@test "an option that is missing says so in its row; the others are measured" {
    need_strace
    fast --rounds 1
    need_all
    sum=$(fact 'sum of each row')

    # The eighth ring is that of DEFER_TASKRUN: an old kernel knows none. A newer
    # liburing tries twice, the second time without a flag of its own.
    strace_calls io_uring_setup "$BIN/18-liburing-fast" --rounds 1 "$FILE"
    when=8
    ! grep -q NO_SQARRAY "$STRACE_LOG" || when=8..9
    run -0 --separate-stderr strace -o /dev/null \
        -e inject=io_uring_setup:error=EINVAL:when=$when \
        "$BIN/18-liburing-fast" --rounds 1 "$FILE"
    assert_equal "$(row '+ DEFER_TASKRUN')" \
        'not measured: setting up the ring: Invalid argument; it needs Linux 6.1'
    assert_regex "$(row SQPOLL)" '^[0-9]'

    # No memory may be locked: nothing can be registered.
    run -0 --separate-stderr strace -o /dev/null \
        -e inject=io_uring_register:error=ENOMEM \
        "$BIN/18-liburing-fast" --rounds 1 "$FILE"
    assert_line 'all off: registering the file: Cannot allocate memory'
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    for i in {0..2}; do assert_regex "$(row "${ROWS[i]}")" '^[0-9]'; done
    for i in {3..6}; do
        assert_equal "$(row "${ROWS[i]}")" \
            'not measured: registering the file: Cannot allocate memory'
    done
    assert_equal "$(fact 'sum of each row')" "$sum"
}

# A limit of nothing at all, for who may not exceed it. Rings count as well on
# some kernels, so there may be none.
# bats test_tags=deep
@test "buffers beyond the memlock limit are refused, and say what to do" {
    without=(setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock)
    (($(id -u) == 0)) || without=()
    for kib in 64 128 256 512; do
        run --separate-stderr "${without[@]}" bash -c "ulimit -l $kib &&
            exec $BIN/18-liburing-fast -s 1M -n 4 --rounds 1 '$FILE'"
        [[ $status == 0 ]] || continue
        assert_line 'all off: registering the buffers: Cannot allocate memory; see ulimit -l'
        assert_equal "$(fact checksum)" "$(checksum_of_01 -s 1M -n 4)"
        return 0
    done
    skip 'the limit does not hold here, or rings need all of it'
}

# bats test_tags=deep
@test "short reads are finished" {
    need_strace
    strace_short io_uring_setup,io_uring_enter "$BIN/18-liburing-fast" \
        --operations 1 --rounds 1 "$FILE"
    assert_success
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    # Each block goes twice: all but its last page, then that.
    run -0 perl -ne '
        $ring++ if / io_uring_setup\(/;
        $n += $1 if $ring == 2 && / io_uring_enter\([^,]*, [1-9].* = (\d+)$/;
        END { print $n }' "$STRACE_LOG"
    assert_output 16
}

# bats test_tags=deep
@test "enter is made again after EINTR, in whatever row" {
    need_strace
    fast --operations 64 --rounds 1
    sum=$(fact 'sum of each row')
    for when in 1 2 5 9+20; do
        run -0 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=io_uring_enter:error=EINTR:when=$when \
            "$BIN/18-liburing-fast" --operations 64 --rounds 1 --spin 0 "$FILE"
        assert_equal "$(fact checksum)" "$(checksum_of_01)"
        assert_equal "$(fact 'sum of each row')" "$sum"
    done
}

@test "--direct: the same bytes and calls, from the disk; IOPOLL or why not" {
    fast --operations 64 --rounds 1
    sum=$(fact 'sum of each row')
    run --separate-stderr "$BIN/18-liburing-fast" --direct --operations 64 \
        --rounds 1 "$FILE"
    [[ $status != 77 ]] || skip "$(one_line "$stderr")"
    assert_equal "$status" 0
    need_all
    assert_equal "$(fact 'sum of each row')" "$sum"
    i=0
    for calls in 1.000 0.125 0.031 0.031 0.031 0.031; do
        assert_equal "$(column 3 "${ROWS[i]}")" $calls
        ((++i))
    done
    assert_regex "$(row IOPOLL)" '^([0-9]|not measured: .*poll)'

    # Less than a page, but not so little that Btrfs keeps it beside the inode: such a
    # file is always read through the cache.
    head -c 4000 "$FILE" >"$BATS_TEST_TMPDIR/tiny"
    sync "$BATS_TEST_TMPDIR/tiny"
    run -1 --separate-stderr "$BIN/18-liburing-fast" --direct \
        "$BATS_TEST_TMPDIR/tiny"
    assert_regex "$stderr" 'tiny is too small for O_DIRECT$'
}
