#!/usr/bin/env bats
# 01 · Blocking read: one block at a time, asleep while the disk works; and the
# second time the page cache answers.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
    # shellcheck disable=SC2153 # helpers.bash sets PAGE.
    PAGES=$((8 * 65536 / PAGE))
}

# steps: from the trace, a line for each block of each pass: the begin of its bar, the begin
# and the end of its call, and the end of its bar, in microseconds.
steps() {
    perl -ne '$lane{$1, $2} = $3
            if /"thread_name","pid":(\d+),"tid":(\d+),"args":\{"name":"([^"]*)"/;
        push @bars, [$1, $2, $3, $3 + $4]
            if /"ph":"X".*"pid":(\d+),"tid":(\d+),"ts":([\d.]+),"dur":([\d.]+)/;
        END {
            push @{$of{$_->[0], $lane{$_->[0], $_->[1]}}}, $_ for @bars;
            for my $pass (1, 2) {
                my @calls = @{$of{$pass, "main"}};
                for my $i (0 .. 7) {
                    my $bar = $of{$pass, "block $i"}[0];
                    $bar && $calls[$i] or next;
                    printf "%d %d %.3f %.3f %.3f %.3f\n", $pass, $i, $bar->[2],
                        $calls[$i][2], $calls[$i][3], $bar->[3];
                }
            }
        }' "$BATS_TEST_TMPDIR/trace"
}

# A run reads the blocks three times. The first eight calls are the rehearsal, the
# next eight the cold pass, the last eight the warm one.

# blocking_read [OPTION]...: run the program on $FILE. It must succeed, and say nothing
# on stderr.
blocking_read() {
    run --separate-stderr "$BIN/01-blocking-read" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# injected WHAT: the same, and strace does that to its reads of $FILE. What does not end
# is stopped.
injected() {
    need_strace
    run --separate-stderr timeout 10 strace -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:"$1" "$BIN/01-blocking-read" "$FILE"
}

# checksums: are they those of the eight blocks as dd sees them? Evenly spread, 512 KiB
# apart in 4 MiB.
checksums() {
    local i right
    for i in {0..7}; do
        dd if="$FILE" bs=64K skip=$((i * 8)) count=1 status=none
    done >"$BATS_TEST_TMPDIR/blocks"
    right=$(crc32_of "$BATS_TEST_TMPDIR/blocks")
    assert_equal "$(fact checksum 1) $(fact checksum 2)" "$right $right"
}

# cached: the pages of the whole file, from the last line.
cached() { fact "pages cached, of $(($(stat -c %s "$FILE") / PAGE)) in the file"; }

# side_by_side: a file that is all blocks.
side_by_side() { FILE=$(make_file $((512 << 10)) half); }

# need_readahead: skip where the disk of $FILE has been told never to read ahead.
need_readahead() {
    local kilobytes
    kilobytes=$(cat /sys/class/bdi/"$(stat -c %Hd:%Ld "$FILE")"/read_ahead_kb \
        2>/dev/null) || return 0
    [[ $kilobytes != 0 ]] || skip 'readahead is off for this disk: read_ahead_kb is 0'
}

# --- What both passes do ----------------------------------------------------------

@test "both passes read the eight blocks, one at a time" {
    blocking_read
    checksums
    for pass in 1 2; do
        assert_equal "$(fact 'most in flight' $pass)" 1
    done
}

@test "strace: all in order, thrice; the pages are dropped after the first time" {
    need_strace
    strace_calls pread64,read,readv,preadv,preadv2,fadvise64,fadvise64_64 \
        "$BIN/01-blocking-read" "$FILE"
    assert_success
    assert_equal "$(count_calls 'p?readv?2?' "<$FILE>")" 0
    once=$(seq 0 524288 3670016)
    in_order() {
        perl -ne 'BEGIN { $file = shift }
            next unless index($_, "<$file>") >= 0;
            print "$1\n" if /pread64.*, 65536, (\d+)\) += 65536$/;
            print "$1\n" if /fadvise64.*POSIX_FADV_(\w+)/;' "$FILE" "$STRACE_LOG"
    }
    run -0 in_order
    assert_output "$(printf '%s\n' RANDOM "$once" DONTNEED "$once" "$once")"
    strace_calls pread64,fadvise64,fadvise64_64 "$BIN/01-blocking-read" --readahead \
        "$FILE"
    assert_success
    run -0 in_order
    assert_output "$(printf '%s\n' RANDOM NORMAL "$once" DONTNEED "$once" "$once")"
}

# The pages are counted through a mapping of the whole file.
# bats test_tags=deep
@test "strace: pages are counted before the cold pass, and right after it" {
    need_strace
    strace_calls pread64,mmap "$BIN/01-blocking-read" "$FILE"
    assert_success
    run -0 perl -ne 'BEGIN { $file = shift }
        next unless index($_, "<$file>") >= 0;
        print "read " if /pread64/;
        print "count " if /mmap\(NULL, 4194304, /;' "$FILE" "$STRACE_LOG"
    eight='read read read read read read read read'
    assert_output --partial "count $eight count $eight"
}

# bats test_tags=deep
@test "-n and -s choose other blocks" {
    need_strace
    strace_calls pread64 "$BIN/01-blocking-read" -n 3 -s 128K "$FILE"
    assert_success
    assert_equal "$(count_calls pread64 "<$FILE>")" 9
    # A third of the file, cut down to whole pages.
    third=$((4194304 / 3 / PAGE * PAGE))
    assert_equal "$(calls pread64 "<$FILE>" "131072, $third) ")" \
        "$(calls pread64 "<$FILE>" | sed -n '2p;5p;8p')"
    assert_line --partial '3 blocks of 128 KiB'
}

# 65536 is what strace says, and no byte has come.
# bats test_tags=deep
@test "what the last pass has read does not pass for what this one reads" {
    injected retval=65536:when=9+
    assert_equal "$stderr" ''
    assert_success
    zeros=$(head -c 524288 /dev/zero >"$BATS_TEST_TMPDIR/zeros" &&
        crc32_of "$BATS_TEST_TMPDIR/zeros")
    assert_equal "$(fact checksum 1) $(fact checksum 2)" "$zeros $zeros"
    # In the cold pass alone: each pass is summed by itself.
    injected retval=65536:when=9..16
    assert_equal "$(fact checksum 1)" "$zeros"
    right=$(checksum_of_01)
    assert_equal "$(fact checksum 2)" "$right"
}

# --- Where the time goes ----------------------------------------------------------

# Of 480 runs, half of them beside two busy loops and all beside other work, 471 slept
# just once for each block. (A thread that loses the processor in its call may find the
# block there when it goes on.) A program with advice never did: it sleeps for the first
# blocks, or for none.
# bats test_tags=deeper
@test "cold: one sleep for each block, and warm: none" {
    need_cold
    need_readahead
    for n in 8 ${DEEP:+5}; do
        for _ in {1..6}; do
            blocking_read -n "$n"
            assert_line --index 0 --partial ', cold: 0 of '
            assert_equal "$(fact 'sleeps in submit' 2)" 0
            sleeps=$(fact 'sleeps in submit' 1)
            ((sleeps != n)) || continue 2
        done
        fail "cold: $sleeps sleeps for $n blocks"
    done
}

# Shares of time, and lanes, depend on who else wants the processor. In 237 of 240 of
# these runs all of it held. Warm it always does: the thread never sleeps.
@test "cold: in calls that sleep nearly all of the time; warm: never, and twice as fast" {
    need_cold
    for _ in {1..6}; do
        blocking_read --trace "$BATS_TEST_TMPDIR/trace"
        assert_equal "$(fact 'main thread blocked' 2)" '0% (0% in submit)'
        warm=$(sed -n '/^warm/,$s/^main  //p' <<<"$output")
        assert_regex "$warm" '^[▒ ]+$'
        [[ $(fact 'main thread blocked' 1) =~ ^([0-9]+)%\ \(([0-9]+)%\ in\ submit\)$ ]]
        assert_equal "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
        if ((BASH_REMATCH[1] >= 90)) &&
            [[ $(grep -m 1 '^main  ' <<<"$output") =~ ^main\ +[█\ ]+$ ]] &&
            perl -e 'exit !($ARGV[1] < $ARGV[0] / 2)' "$(fact total 1 | cut -d' ' -f1)" \
                "$(fact total 2 | cut -d' ' -f1)"; then
            return 0
        fi
    done
    fail "blocked: $(fact 'main thread blocked' 1)"
}

# Nothing here depends on a time: the marks are made around the calls.
@test "the staircase: a bar lasts from the request to the last byte, and then the next" {
    blocking_read --trace "$BATS_TEST_TMPDIR/trace"
    # The last bar has ended, this one begins, the call, this one ends.
    run -0 perl -ane '$last = 0 if $F[1] == 0;
        my @in_order = ($last, @F[2 .. 5]);
        $in_order[$_] <= $in_order[$_ + 1] or print "pass $F[0], block $F[1]: @in_order\n"
            for 0 .. 3;
        $last = $F[5];
        END { print "$. bars\n" }' < <(steps)
    assert_output '16 bars'
}

# --- The pages of the file --------------------------------------------------------

@test "the first pass is cold, fetches the blocks alone, and is drawn to the scale of both" {
    need_cold
    blocking_read
    assert_line --index 0 "8 blocks of 64 KiB from sample-4194304 (4 MiB),\
 cold: 0 of $PAGES pages cached"
    assert_equal "$(cached)" "0 before, $PAGES after"
    # Both drawings have one scale, and the longer pass fills it.
    scale=$(sed -nE 's/^(cold|warm) +0 .* ([0-9.]+ ms)$/\2/p' <<<"$output")
    longer=$(printf '%s\n' "$(fact total 1)" "$(fact total 2)" | sort -n | tail -n 1)
    assert_equal "$scale" "$longer"$'\n'"$longer"
    assert_equal "$(grep -c '^block [0-7] .*━' <<<"$output")" 16
    # To the right edge, but for what the program does between its calls.
    assert_equal "$(grep -cE '^main  .{72,74}$' <<<"$output")" 1
}

# bats test_tags=deep
@test "the pages of a large file are counted to its end" {
    need_cold
    truncate -s 600M "$FILE" 2>/dev/null || skip 'no file can be as large here'
    blocking_read
    assert_equal "$(cached)" "0 before, $PAGES after"
}

@test "--readahead: more pages come than the blocks have, and the sleeps stay" {
    need_cold
    need_readahead
    for _ in {1..6}; do
        blocking_read --readahead
        checksums
        [[ $(cached) =~ ^0\ before,\ ([0-9]+)\ after$ ]]
        assert [ "${BASH_REMATCH[1]}" -gt "$PAGES" ]
        assert [ "${BASH_REMATCH[1]}" -lt $((4194304 / PAGE)) ]
        (($(fact 'sleeps in submit') != 8)) || return 0
    done
    fail "$output"
}

@test "--readahead, blocks side by side: fewer sleeps than blocks" {
    need_cold
    need_readahead
    side_by_side
    for _ in {1..6}; do
        blocking_read
        plain=$(fact 'sleeps in submit')
        assert_equal "$(cached)" "0 before, $PAGES after"
        blocking_read --readahead
        sleeps=$(fact 'sleeps in submit')
        assert_equal "$(cached)" "0 before, $PAGES after"
        if ((plain == 8 && sleeps > 0 && sleeps < 7)); then return 0; fi
    done
    fail "$plain sleeps without readahead, $sleeps with it"
}

# bats test_tags=deep
@test "pages that stay are counted before, and on tmpfs all do" {
    [[ $(stat -f -c %T /dev/shm) == tmpfs ]] || skip '/dev/shm is no tmpfs'
    copy=$(mktemp /dev/shm/in-circles.XXXXXX)
    cp "$FILE" "$copy"
    run --separate-stderr "$BIN/01-blocking-read" "$copy"
    pages=$(cached)
    rm "$copy"
    assert_equal "$pages" "$((4194304 / PAGE)) before, $((4194304 / PAGE)) after"
    assert_line --regexp '^first +0 '
    refute_line --regexp '^cold +0 '
    assert_equal "$(fact 'sleeps in submit')" 0
}

# bats test_tags=deep
@test "the pages of a file of more than 64 GiB are not counted" {
    truncate -s 65G "$FILE" 2>/dev/null || skip 'no file can be as large here'
    run --separate-stderr timeout 10 "$BIN/01-blocking-read" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_equal "$(cached)" unknown
}

# --- Short, interrupted, ended, failed ---------------------------------------------

@test "a short read is finished, not taken for the whole" {
    need_strace
    strace_short pread64 timeout 10 "$BIN/01-blocking-read" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
    # The stand-in asks the kernel for a page less, unless that is all. So the second
    # read of each block asks for its last page, and for no more.
    assert_equal "$(count_calls pread64 "<$FILE>")" 48
    run -0 bash -c 'grep -oE "pread64.* [0-9]+, [0-9]+\) = " "$1" |
        sed -E "s/.* ([0-9]+), [0-9]+\) = /\1/" | sort -n | uniq -c | xargs' bash \
        <(calls pread64 "<$FILE>")
    assert_output "24 $PAGE 24 $((65536 - PAGE))"
}

# Where a place in the file does not fit 32 bits, and its pages are not whole ones.
# bats test_tags=deep
@test "blocks past 4 GiB, and a file that ends within a page" {
    need_cold
    truncate -s 20G "$FILE" 2>/dev/null || skip 'no file can be as large here'
    printf 'the end' | dd of="$FILE" bs=1 seek=$((20 << 30)) conv=notrunc status=none
    sync "$FILE"
    need_strace
    strace_short pread64 timeout 10 "$BIN/01-blocking-read" -n 3 -s 64K "$FILE"
    assert_success
    assert_equal "$(fact "pages cached, of $(((20 << 30) / PAGE + 1)) in the file")" \
        "0 before, $((3 * 65536 / PAGE)) after"
    last=$(((20 << 30) / 3 / PAGE * PAGE * 2 + 65536 - PAGE))
    assert_equal "$(count_calls pread64 "<$FILE>" "$PAGE, $last)")" 3
}

# bats test_tags=deeper
@test "a read that fails with EINTR is made again, the rest of a block too" {
    injected error=EINTR:when=2+2
    assert_equal "$stderr" ''
    assert_success
    checksums
    [[ ${DEEP-} ]] || return 0
    strace_short pread64 -e inject=pread64:error=EINTR:when=20 \
        timeout 10 "$BIN/01-blocking-read" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# bats test_tags=deeper
@test "a read that finds the end of the file is an error, not a wait for ever" {
    injected retval=0:when=11+
    assert_equal "$stderr" "01-blocking-read: reading $FILE at byte 1048576: the file\
 ends sooner than its size said"
    assert_equal "$status" 1
    [[ ${DEEP-} ]] || return 0
    # The same within a block.
    strace_short pread64 -e inject=pread64:retval=0:when=20 \
        timeout 10 "$BIN/01-blocking-read" "$FILE"
    assert_regex "$stderr" 'the file ends sooner than its size said$'
    assert_equal "$status" 1
}

# bats test_tags=deeper
@test "an error names the file, the block's place, and the reason" {
    injected error=EIO:when=10
    assert_equal "$stderr" \
        "01-blocking-read: reading $FILE at byte 524288: Input/output error"
    assert_equal "$status" 1
    [[ ${DEEP-} ]] || return 0
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=fadvise64,fadvise64_64:error=EINVAL:when=2 \
        "$BIN/01-blocking-read" --readahead "$FILE"
    assert_equal "$stderr" '01-blocking-read: advising normal reads: Invalid argument'
    assert_equal "$status" 1
    # Any other error as well, and be it for ever.
    injected error=EBADF:when=10+
    assert_equal "$stderr" \
        "01-blocking-read: reading $FILE at byte 524288: Bad file descriptor"
    assert_equal "$status" 1
}
