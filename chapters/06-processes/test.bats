#!/usr/bin/env bats
# 06 · Processes: several of them sleep at once, advice brings pages in before
# the read, and whichever process dies, none is left behind.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
}

# row DISTANCE: what the table has behind it: advice, sleeps, and pages cached
# when each of the reads began.
row() { sed -nE "s/^distance $1 +//p" <<<"$output"; }

# pages_in DISTANCE: how many of them in all.
pages_in() {
    row "$1" | awk '{ for (i = 3; i <= NF; i++) n += $i } END { print n + 0 }'
}

# workers_in_log: the processes that the log has reading the file, a line each.
workers_in_log() { calls pread64 "<$FILE>" | sed 's/ .*//' | sort -u; }

# offsets: where all those reads began. A call that others come between stands
# in the log in two pieces, and the offset is in the second. The loader reads
# too, but no blocks of this size.
offsets() {
    sed -nE 's/.* pread64(\(| resumed>).*, 65536, ([0-9]+)\) += 65536$/\2/p' \
        "$STRACE_LOG"
}

# forked, reaped: which processes they were, by what fork and wait returned. (A
# thread is a clone as well: ThreadSanitizer has one in each process.)
forked() {
    perl -ne '
        my ($by, $about) = /^(\d+) +(?:clone3?\(|<\.\.\. clone3?)(.*)/ or next;
        $flags{$by} = $about if /clone3?\(/;
        print "$1\n" if $flags{$by} !~ /CLONE_THREAD/ && / = (\d+)$/;
    ' "$STRACE_LOG" | sort
}
reaped() {
    sed -nE 's/.* (wait4\(|<... wait4 resumed>).* = ([0-9]+)$/\2/p' "$STRACE_LOG" |
        sort
}

# killed: which processes the one that forked them killed. (A child that dies as it
# starts may stand in strace's log with the call its parent was just making.)
killed() {
    local parent
    parent=$(sed -n '1s/ .*//p' "$STRACE_LOG")
    sed -nE "s/^$parent +kill\\(([0-9]+), SIGKILL.*/\\1/p" "$STRACE_LOG" | sort
}

@test "the same bytes as 01, from four processes of one thread each" {
    run -0 --separate-stderr "$BIN/06-processes" "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_equal "$(fact threads)" 1
    assert_equal "$(fact processes)" 5
    assert_equal "$(fact 'sleeps in submit')" 0
    order=$(fact 'completed in the order' | tr ' ' '\n' | sort -n | paste -sd ' ')
    assert_equal "$order" '0 1 2 3 4 5 6 7'
    assert_equal "$stderr" ''
}

# bats test_tags=deep
@test "any number of workers and blocks, any distance" {
    for workers in 1 2 64; do
        for distance in 0 1 64; do
            run -0 "$BIN/06-processes" --workers $workers --distance $distance \
                -n 20 -s "$PAGE" "$FILE"
            assert_equal "$(fact checksum)" "$(checksum_of_01 -n 20 -s "$PAGE")"
            assert_equal "$(fact processes)" $((workers + 1))
            assert [ "$(fact 'most in flight')" -le "$workers" ]
        done
    done
}

# On a busy machine a worker may be done before another gets a processor: once, in none
# of 20 runs all four had one at a time, beside ten others. So each read takes 30 ms
# more than the disk does.
@test "cold, as many reads are in flight as there are workers" {
    need_strace
    need_cold
    for _ in {1..20}; do
        run -0 --separate-stderr strace -f -o /dev/null -P "$FILE" -e signal=none \
            -e trace=pread64 -e inject=pread64:delay_exit=30000 \
            "$BIN/06-processes" "$FILE"
        assert_line --index 0 --partial ', cold: 0 of '
        early=$(in_submit)
        if [[ $(fact 'most in flight') == 4 ]] && ((${early% of 8} < 8)); then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: the workers read, each block once a pass; the parent only waits" {
    need_strace
    strace_calls '?clone,?clone3,fork,wait4,pread64,kill,mmap' \
        "$BIN/06-processes" "$FILE"
    assert_success
    # Five passes; the first has four workers.
    assert_equal "$(offsets | sort -n | uniq -c | awk '{ print $1, $2 }')" \
        "$(seq 0 524288 3670016 | sed 's/^/5 /')"
    assert_equal "$(forked | wc -l)" 8
    parent=$(sed -nE '1s/ .*//p' "$STRACE_LOG")
    run workers_in_log
    refute_line "$parent"
    # No zombies, and nobody had to be killed.
    assert_equal "$(reaped)" "$(forked)"
    assert_equal "$(count_calls kill)" 0
    assert [ "$(count_calls mmap 'MAP_SHARED|MAP_ANONYMOUS')" -ge 2 ]
}

# order_of WORKERS DISTANCE: of the first pass, block by block: A for advice, R
# for a read.
order_of() {
    strace_calls fadvise64,pread64 "$BIN/06-processes" --workers "$1" \
        --distance "$2" "$FILE"
    assert_success
    order=$(sed -nE "/POSIX_FADV_DONTNEED/{x;s/^/x/;/^xx/q;x}
        s/.* fadvise64\(.*, ([0-9]+), [0-9]+, POSIX_FADV_WILLNEED.*/A \1/p
        s/.* pread64(\(| resumed>).*, 65536, ([0-9]+)\).*/R \2/p" "$STRACE_LOG" |
        awk '{ print $1 $2 / 524288 }' | paste -sd ' ')
}

@test "strace: advice keeps its distance, and each block gets it once" {
    need_strace
    order_of 1 0
    assert_equal "$order" 'R0 R1 R2 R3 R4 R5 R6 R7'
    order_of 1 1
    assert_equal "$order" 'A1 R0 A2 R1 A3 R2 A4 R3 A5 R4 A6 R5 A7 R6 R7'
    order_of 1 4
    assert_equal "$order" 'A1 A2 A3 A4 R0 A5 R1 A6 R2 A7 R3 R4 R5 R6 R7'
    order_of 1 64
    assert_equal "$order" 'A1 A2 A3 A4 A5 A6 A7 R0 R1 R2 R3 R4 R5 R6 R7'
    order_of 4 4
    assert_equal "$(tr ' ' '\n' <<<"$order" | sort | paste -sd ' ')" \
        'A1 A2 A3 A4 A5 A6 A7 R0 R1 R2 R3 R4 R5 R6 R7'
}

@test "the table: as many calls of advice as strace sees" {
    need_strace
    strace_calls fadvise64 "$BIN/06-processes" --distance 0 "$FILE"
    assert_success
    assert_equal "$(count_calls fadvise64 POSIX_FADV_WILLNEED)" 21
    assert_equal "$(for d in 0 1 4 8; do row $d | cut -d ' ' -f 1; done |
        paste -sd ' ')" '0 7 7 7'
}

@test "without advice no page is there when a read begins" {
    need_cold
    run -0 "$BIN/06-processes" "$FILE"
    assert_equal "$(pages_in 0)" 0
    assert_equal "$(row 0 | wc -w)" 10
    # Block 0 is advised by nobody.
    for distance in 1 4 8; do
        assert_equal "$(row $distance | awk '{ print $3 }')" 0
    done
}

# How soon the disk brings them is not for us to say: in one of twenty runs. Where
# the disk is quick and the program slow, a distance of 1 brings in all.
@test "the further ahead the advice, the more pages are there, and fewer sleeps" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/06-processes" "$FILE"
        sleeps=$(for d in 0 1 4 8; do row $d | awk '{ print $2 }'; done |
            paste -sd ' ')
        read -r s0 s1 s4 s8 <<<"$sleeps"
        p1=$(pages_in 1) p4=$(pages_in 4) p8=$(pages_in 8)
        if ((0 < p1 && p1 <= p4 && p4 <= p8)) &&
            ((s0 > s1 && s1 >= s4 && s4 >= s8)); then
            return 0
        fi
    done
    fail "$output"
}

# --- Death ---------------------------------------------------------------------

# start CALL WHAT: run it in the background under strace, which does that to the
# first such CALL of each process, and wait until all four workers are there.
# Sets $tracer, $parent and $workers.
start() {
    STRACE_LOG=$BATS_TEST_TMPDIR/strace.log ERR=$BATS_TEST_TMPDIR/err
    : >"$STRACE_LOG"
    # What bash starts with & ignores Ctrl-C.
    timeout --verbose --kill-after=5 60 env --default-signal strace -f -y \
        -o "$STRACE_LOG" -e signal=none \
        -e trace="$1,/clone.*,wait4,kill,pread64,execve" \
        -e inject="$1:$2:when=1" "$BIN/06-processes" "$FILE" \
        >"$BATS_TEST_TMPDIR/out" 2>"$ERR" 3>&- &
    tracer=$!
    workers=()
    until ((${#workers[@]} == 4)); do
        kill -0 $tracer
        parent=$(sed -n '1s/ .*//p' "$STRACE_LOG")
        [[ $parent ]] || continue
        # The loader may have made such a call in the parent: on it goes.
        kill -CONT "$parent"
        mapfile -t workers < <(grep -v "^$parent " "$STRACE_LOG" |
            sed -nE "s/^([0-9]+) +$1\(.*/\1/p" | sort -u)
    done
}

# ends STATUS: wait for it to end, and for strace, which stays until all that it
# traces have. The dead whose parent is dead as well are for init to reap.
ends() {
    status=0
    wait $tracer || status=$?
    assert_equal "$status" "$1"
    run -1 grep timeout "$ERR"
    for pid in "$parent" "${workers[@]}"; do
        stat=$(cat "/proc/$pid/stat" 2>&1) || continue
        [[ $stat == *') Z '* ]] || fail "process $pid is left"
    done
}

@test "a worker is killed: the block is told, the others are stopped, no zombie" {
    need_strace
    start pread64 signal=STOP
    victim=${workers[2]}
    # The arguments of its system call: the fourth is the offset. While it is
    # on a processor, there is only the word "running".
    offset=''
    until [[ $offset == 0x* ]]; do
        read -r _ _ _ _ offset _ <"/proc/$victim/syscall"
    done
    kill -KILL "$victim"
    ends 1
    assert_regex "$(cat "$ERR")" "^06-processes: worker [0-3] \(process $victim\),\
 at block $((offset / 524288)) of $FILE: Killed\$"
    assert_equal "$(killed)" "$(forked | grep -vx "$victim")"
    assert_equal "$(forked)" "$(printf '%s\n' "${workers[@]}" | sort)"
    assert_equal "$(reaped)" "$(forked)"
}

@test "a worker that dies at its second block is told the same way" {
    need_strace
    run -1 --separate-stderr timeout --kill-after=5 60 strace -f -o /dev/null \
        -P "$FILE" -e signal=none -e inject=pread64:signal=KILL:when=2 \
        "$BIN/06-processes" --workers 2 "$FILE"
    assert_regex "$stderr" "^06-processes: worker [01] \(process [0-9]+\), at\
 block [1-7] of $FILE: Killed\$"
}

@test "the parent is killed: no worker is left" {
    need_strace
    start pread64 signal=STOP
    kill -KILL "$parent"
    ends 137
}

# They are held at the call that asks for the signal. When they get on, it will
# never come, and the way to the blocks is open.
# bats test_tags=deep
@test "the parent dies before its workers have asked for the signal: none reads" {
    need_strace
    start prctl delay_enter=2s
    kill -KILL "$parent"
    ends 137
    assert_equal "$(offsets)" ''
}

@test "Ctrl-C stops all of them" {
    need_strace
    start pread64 signal=STOP
    kill -INT "$parent"
    ends 130
}

@test "a fork that fails: the workers that are there are stopped" {
    need_strace
    STRACE_LOG=$BATS_TEST_TMPDIR/strace.log
    run -1 --separate-stderr timeout --kill-after=5 60 strace -o "$STRACE_LOG" \
        -f -e signal=none -e '/clone.*|wait4|kill' \
        -e inject='/clone.*:error=EAGAIN:when=3' "$BIN/06-processes" "$FILE"
    assert_regex "$stderr" \
        '^06-processes: forking worker 2: Resource temporarily unavailable: .*ulimit -u'
    assert_equal "$(killed)" "$(forked)"
    assert_equal "$(reaped)" "$(forked)"
    assert_equal "$(reaped | wc -l)" 2
}

@test "whoever started it ignores dead children: it does not" {
    run -0 --separate-stderr perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV' \
        "$BIN/06-processes" "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    assert_equal "$stderr" ''
}

@test "a child that was there before is none of its workers" {
    run -0 --separate-stderr bash -c 'true & exec "$@"' - \
        "$BIN/06-processes" "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
}

# --- Reads that are not as they should be -----------------------------------------

@test "a short read is finished, not taken for the whole" {
    need_strace
    strace_short pread64 "$BIN/06-processes" "$FILE"
    assert_success
    assert_equal "$(count_calls pread64 "<$FILE>")" 80
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
}

@test "a read that a signal interrupts is made again, and so is advice" {
    need_strace
    run -0 --separate-stderr strace -f -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EINTR:when=1..3 "$BIN/06-processes" "$FILE"
    assert_equal "$(fact checksum)" "$(checksum_of_01)"
    # The parent makes six calls, a worker alone makes seven.
    STRACE_LOG=$BATS_TEST_TMPDIR/strace.log
    run -0 --separate-stderr strace -f -y -o "$STRACE_LOG" -e signal=none \
        -e trace=fadvise64 -e inject=fadvise64:error=EINTR:when=7 \
        "$BIN/06-processes" --workers 1 "$FILE"
    assert_equal "$(count_calls fadvise64 INJECTED)" 4
    assert_equal "$(count_calls fadvise64 POSIX_FADV_WILLNEED)" 32
}

@test "a worker's error comes back, and is told once, with the place" {
    need_strace
    run -1 --separate-stderr strace -f -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EIO:when=1 "$BIN/06-processes" "$FILE"
    # A worker that is stopped in its read ends before strace has broken it, and
    # strace says so.
    told=$(grep -v '^strace: ' <<<"$stderr")
    assert_equal "$(wc -l <<<"$told")" 1
    assert_regex "$told" \
        "^06-processes: reading $FILE at byte [0-9]+: Input/output error\$"
}

# faults.bats breaks the parent's calls. These are the workers', and those that
# both make; which one it hits does not matter: told, or the right bytes. (127 is
# the loader's word.)
# bats test_tags=deep
@test "whichever call fails, in whichever process: it is survived, or told" {
    need_strace
    right=$(checksum_of_01) OUT=$BATS_TEST_TMPDIR/out ERR=$BATS_TEST_TMPDIR/err
    for call in prctl read close getrusage fadvise64 mincore munmap; do
        # A sanitizer makes such calls itself, and gives up by design.
        [[ $call != @(munmap|read|close) ]] || ! built_with '' || continue
        hits=0
        for when in {1..10}; do
            CALLED="$call number $when fails" status=0
            timeout --kill-after=5 60 strace -f -o "$BATS_TEST_TMPDIR/log" \
                -e signal=none -e trace=$call \
                -e inject="$call:error=EPERM:when=$when" \
                "$BIN/06-processes" --workers 2 "$FILE" >"$OUT" 2>"$ERR" ||
                status=$?
            grep -q INJECTED "$BATS_TEST_TMPDIR/log" || continue
            hits=$((hits + 1))
            ended_well || continue
            if ((status == 0)); then
                grep -qx "checksum: $right" "$OUT" || problem "$CALLED: wrong bytes"
            elif ((status == 1)); then
                complains 06-processes || problem "$CALLED: no message"
            else
                ((status == 127)) || problem "$CALLED: status $status"
            fi
        done
        ((hits > 0)) || problem "$call: never failed"
    done
    no_problems
}
