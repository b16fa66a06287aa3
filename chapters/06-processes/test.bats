#!/usr/bin/env bats
# 06 · Processes: several of them sleep at once, advice hands blocks over before anybody
# takes them, and whichever process dies, none is left and it is told.
# shellcheck disable=SC2030,SC2031 # each test has an $output of its own

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 << 20)))
    STRACE_LOG=$BATS_TEST_TMPDIR/strace.log ERR=$BATS_TEST_TMPDIR/err
}

# size_of_file BYTES: a $FILE of that size.
size_of_file() { FILE=$(make_file "$1" other); }

# processes [OPTION]...: run the lesson on $FILE. It must succeed, and say nothing on
# stderr.
processes() {
    run --separate-stderr in_time "$BIN/06-processes" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# ways [OPTION]...: run it on $FILE.
ways() {
    run --separate-stderr in_time "$BIN/06-ways" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# counts NAME: the four counts of that line.
counts() {
    sed -nE "s/^$1 \\(0[0-9]\\)( +[0-9]+)( +[0-9]+)( +[0-9]+)( +[0-9]+) .*/\\1\\2\\3\\4/p" \
        <<<"${output?}" | xargs
}

# checksums [OPTION]...: is that of each pass 01's?
checksums() {
    local right
    right=$(checksum_of_01 "$@")
    assert_equal "$(fact checksum 1) $(fact checksum 2)" "$right $right"
}

# slowly [OPTION]...: the same, and each read of $FILE takes 30 ms more than the disk
# does, so that all workers get to their reads before one is done.
slowly() {
    need_strace
    run --separate-stderr in_time strace -f -o /dev/null -P "$FILE" -e signal=none \
        -e trace=pread64 -e inject=pread64:delay_exit=30000 \
        "$BIN/06-processes" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# order_of: of each pass in the log, block by block: A for advice, R for a read. What
# workers and job read before the pages are dropped is a rehearsal.
order_of() {
    perl -ne 'BEGIN { $file = shift; $rehearsal = 1 }
        $rehearsal = 1 if /pipe2\(/;
        $rehearsal = 0, print "\n" if /DONTNEED/;
        next if $rehearsal;
        print " A", $1 / 524288 if /fadvise64\(.*, (\d+), \d+, POSIX_FADV_WILLNEED/;
        print " R", $1 / 524288 if /pread64(?:\(| resumed>).*, 65536, (\d+)\) = 65536/;
        ' "$FILE" "$STRACE_LOG" | sed '/^$/d; s/^ //'
}

# sorted LINE
sorted() { tr ' ' '\n' <<<"$1" | sort | paste -sd ' '; }

# forked, reaped: processes by what fork and wait returned. (A thread is a clone as well:
# ThreadSanitizer has one in each process.)
forked() {
    perl -ne '
        my ($by, $about) = /^(\d+) +(?:clone3?\(|<\.\.\. clone3?)(.*)/ or next;
        $flags{$by} = $about if /clone3?\(/;
        print "$1\n" if $flags{$by} !~ /CLONE_THREAD/ && / = (\d+)$/;
    ' "$STRACE_LOG" | sort
}
reaped() {
    sed -nE 's/.* (wait4\(|<... wait4 resumed>).* = ([0-9]+)$/\2/p' "$STRACE_LOG" | sort
}

# --- Two passes ---------------------------------------------------------------------

# stdout is a pipe here, so it is written when the buffer is full, or at the end.
# bats test_tags=deeper
@test "both passes read what 01 reads, and what is printed comes once" {
    processes
    checksums
    assert_equal "$(grep -c '^8 blocks of 64 KiB' <<<"$output")" 1
    # Many workers, since a position that they share shows only where two of them meet.
    for workers in 64 ${DEEP:+1 3}; do
        processes --workers "$workers" --distance 2 -n 20 -s "$PAGE"
        checksums -n 20 -s "$PAGE"
        assert [ "$(fact 'most in flight')" -le "$workers" ]
    done
}

# All four have a block for 30 ms, and a worker gives its advice before it reads.
# bats test_tags=deeper
@test "plain: as many blocks in flight as workers; advised: the next ones as well" {
    for _ in {1..3}; do
        slowly
        plain=$(fact 'most in flight') advised=$(fact 'most in flight' 2)
        # Never more than that.
        assert [ "$plain" -le 4 ]
        ((plain == 4 && advised == 8)) || continue
        [[ ${DEEP-} ]] || return 0
        slowly --workers 2 --distance 1
        assert [ "$(fact 'most in flight')" -le 2 ]
        assert [ "$(fact 'most in flight' 2)" -le 4 ]
        return 0
    done
    fail "$plain in flight without advice, $advised with it"
}

# In seven runs it was 8 or 9 without advice, and 4 to 6 with it. Without advice it is never
# less than 8. In a run in which nobody else wants the processors, it has to be so.
@test "cold: a sleep for each block, and fewer after advice; none in submit" {
    need_cold
    for _ in {1..6}; do
        processes
        assert_line --index 0 --partial ', cold: 0 of '
        plain=$(fact 'sleeps of the workers') advised=$(fact 'sleeps of the workers' 2)
        ((plain >= 8 && plain <= 9 && advised <= 6)) || continue
        [[ $(fact 'sleeps in submit') == 0 && $(fact 'sleeps in submit' 2) == 0 ]] ||
            continue
        return 0
    done
    fail "$plain sleeps without advice, $advised with it, $(fact 'sleeps in submit') and\
 $(fact 'sleeps in submit' 2) in submit"
}

# Nobody ever had to sleep for a page that is there.
@test "warm: no worker sleeps, advised or not" {
    for _ in {1..6}; do
        processes --warm 8
        [[ $(fact 'sleeps of the workers') != 0 ||
            $(fact 'sleeps of the workers' 2) != 0 ]] || return 0
    done
    fail "$output"
}

# The exercise. In 10 of 10 runs it was 4; without advice it is 8, in either pass.
# bats test_tags=deep
@test "cold, one worker and one block ahead: two in flight, and half of the reads sleep" {
    need_cold
    for _ in {1..5}; do
        processes --workers 1 --distance 1
        assert_equal "$(fact 'most in flight' 2)" 2
        sleeps=$(fact 'sleeps of the workers' 2)
        ((sleeps < 3 || sleeps > 5)) || return 0
    done
    fail "$output"
}

# bats test_tags=deeper
@test "strace: plain gives no advice; advised gives it for each block but the first four" {
    need_strace
    strace_calls pipe2,fadvise64,pread64 "$BIN/06-processes" --workers 1 "$FILE"
    assert_equal "$stderr" ''
    assert_success
    run -0 order_of
    assert_line --index 0 'R0 R1 R2 R3 R4 R5 R6 R7'
    assert_line --index 1 'A4 R0 A5 R1 A6 R2 A7 R3 R4 R5 R6 R7'
    [[ ${DEEP-} ]] || return 0
    strace_calls pipe2,fadvise64,pread64 "$BIN/06-processes" --workers 1 --distance 1 "$FILE"
    run -0 order_of
    assert_line --index 1 'A1 R0 A2 R1 A3 R2 A4 R3 A5 R4 A6 R5 A7 R6 R7'
    strace_calls pipe2,fadvise64,pread64 "$BIN/06-processes" "$FILE"
    run -0 order_of
    assert_equal "$(sorted "${lines[0]}")" 'R0 R1 R2 R3 R4 R5 R6 R7'
    assert_equal "$(sorted "${lines[1]}")" \
        'A4 A5 A6 A7 R0 R1 R2 R3 R4 R5 R6 R7'
}

# The first children only try whether there may be so many.
@test "strace: four workers a pass read, from one close on, and nobody is left" {
    need_strace
    strace_calls '?clone,?clone3,fork,wait4,pread64,kill,mmap,fadvise64,pipe2,close,exit_group' \
        "$BIN/06-processes" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_equal "$(forked | wc -l)" 12
    assert_equal "$(reaped)" "$(forked)"
    parent=$(sed -nE '1s/ .*//p' "$STRACE_LOG")
    # The readers, by pass: nobody reads in two, and the parent only rehearses. The last
    # pipe of a pass is the one to start by. After the pages were dropped, nobody reads
    # until the parent has closed both ends of it, and nobody ends until all is read.
    run -0 perl -ne 'BEGIN { ($file, $parent) = splice @ARGV, 0, 2 }
        if (/^$parent +pipe2\(\[\d+<(pipe:[^>]*)>/) { $go = $1; $closed = $dropped = $read = 0 }
        $closed++ if $go && /^$parent +close\(\d+<\Q$go\E>/;
        $pass++, $dropped = 1 if /DONTNEED/;
        $read++ if /pread64(?:\(| resumed>).* = 65536$/;
        print "rehearsed: $read\n" if /DONTNEED/;
        $read = 0 if /DONTNEED/;
        print "ended early: $_" if /exit_group\(/ && $dropped && $read < 8;
        next if !$dropped || !/^(\d+) +pread64\(/ || index($_, "<$file>") < 0;
        $reads{$pass}{$1} = 1;
        print "too early: $_" if $closed < 2;
        END { print join(" ", sort keys %{$reads{$_}}), "\n" for 1, 2 }' \
        "$FILE" "$parent" "$STRACE_LOG"
    refute_output --partial early
    # Eight by each worker, and before the first pass eight by the job.
    assert_equal "$(grep -c '^rehearsed' <<<"$output")" 2
    assert_line 'rehearsed: 40'
    assert_line 'rehearsed: 32'
    output=$(grep -v '^rehearsed' <<<"$output")
    refute_output --partial "$parent"
    read -ra readers <<<"${output//$'\n'/ }"
    assert [ "${#readers[@]}" -ge 2 ]
    assert [ "${#readers[@]}" -le 8 ]
    assert_equal "$(printf '%s\n' "${readers[@]}" | sort | uniq -d)" ''
    assert [ "$(count_calls mmap 'MAP_SHARED|MAP_ANONYMOUS')" -ge 2 ]
}

# --- Death ---------------------------------------------------------------------------

# start CALL WHAT NTH: run it in the background under strace, which does that to the NTH
# such CALL of each process, and wait until all four workers are there. Sets $tracer,
# $parent and $workers. The first eight reads of each process are a rehearsal.
start() {
    : >"$STRACE_LOG"
    # What bash starts with & ignores Ctrl-C, and $group is a group of its own.
    perl -e 'setpgrp; $SIG{INT} = "DEFAULT"; exec @ARGV' \
        timeout --foreground --verbose --kill-after=5 30 strace -f -y \
        -o "$STRACE_LOG" -e signal=none \
        -e trace="$1,/clone.*,wait4,pread64,execve" \
        -e inject="$1:$2:when=$3" "$BIN/06-processes" "$FILE" \
        >"$BATS_TEST_TMPDIR/out" 2>"$ERR" 3>&- &
    tracer=$!
    workers=()
    until ((${#workers[@]} == 4)); do
        kill -0 $tracer
        parent=$(sed -n '1s/ .*//p' "$STRACE_LOG")
        [[ $parent ]] || continue
        # The parent makes such calls as well: on it goes.
        kill -CONT "$parent"
        mapfile -t workers < <(awk -v parent="$parent" -v call="$1(" -v nth="$3" \
            '$1 != parent && index($2, call) == 1 && ++n[$1] == nth { print $1 }' \
            "$STRACE_LOG")
    done
}

# ends STATUS: wait for it to end, and for strace, which stays until all that it traces
# have. The dead whose parent is dead as well are for init to reap.
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

@test "a worker is killed: it is told at once, and the others end" {
    need_strace
    start pread64 signal=STOP 9
    kill -KILL "${workers[2]}"
    ends 1
    assert_regex "$(cat "$ERR")" "^06-processes: reading $FILE: worker [0-3]: Killed\$"
}

# bats test_tags=deep
@test "the parent is killed: no worker is left" {
    need_strace
    start pread64 signal=STOP 9
    kill -KILL "$parent"
    ends 137
}

# They are held at the call that asks for the signal. When they get on, it will never
# come, and the way to the blocks is open.
# bats test_tags=deep
@test "the parent dies before its workers have asked for the signal: none reads" {
    need_strace
    start prctl delay_enter=2s 1
    kill -KILL "$parent"
    ends 137
    # The parent's own reads are those of before.
    assert_equal "$(calls pread64 "<$FILE>" | grep -cv "^$parent ")" 0
}

# bats test_tags=deep
@test "a signal to the parent ends all of them" {
    need_strace
    start pread64 signal=STOP 9
    kill -TERM "$parent"
    ends 143
}

# Eight children try whether there may be so many; no: four do. Then the workers.
# bats test_tags=deep
@test "a fork that fails: why, and the workers that are there end" {
    need_strace
    run -1 --separate-stderr in_time strace -o "$STRACE_LOG" -f -e signal=none \
        -e '/clone.*|pread64' -e inject='/clone.*:error=EAGAIN:when=7' \
        "$BIN/06-processes" "$FILE"
    assert_regex "$stderr" \
        '^06-processes: forking worker 2: Resource temporarily unavailable: .*ulimit -u'
    assert_equal "$(forked | wc -l)" 6
}

# bats test_tags=deep
@test "no process may be made: it says so before it shows anything, with status 77" {
    limited 06-processes
    for program in 06-processes 06-workers 06-ways; do
        cp "$BIN/$program" "$here"
        cp "$FILE" "$here/data"
        chmod a+r "$here/data"
        run --separate-stderr "${limited[@]}" "$here/$program" "$here/data"
        [[ $status == 77 && $stderr == *'ulimit -u'* && $output == '' ]] || break
    done
    rm -r "$here"
    assert_equal "$output" ''
    assert_regex "$stderr" "^$program: .*ulimit -u"
    assert_equal "$status" 77
}

@test "whoever started it ignores dead children: it does not" {
    run --separate-stderr in_time perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV' \
        "$BIN/06-processes" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# bats test_tags=deep
@test "a child that was there before is none of its workers" {
    for program in 06-processes 06-workers 06-ways; do
        run --separate-stderr in_time bash -c 'false & exec "$@"' - \
            "$BIN/$program" "$FILE"
        assert_equal "$stderr" ''
        assert_success
    done
}

# --- Reads that are not as they should be ----------------------------------------------

# bats test_tags=deep
@test "a short read is finished, and one that a signal interrupts is made again" {
    need_strace
    strace_short pread64 "$BIN/06-processes" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    # A page of each block is missing: in each of two passes, and in the rehearsals of
    # eight workers and of the job.
    assert_equal "$(grep -cE ', 61440, [0-9]+\) += 61440$' "$STRACE_LOG")" 88
    checksums
    run --separate-stderr in_time strace -f -o /dev/null -P "$FILE" -e signal=none \
        -e inject=pread64:error=EINTR:when=1..3 "$BIN/06-processes" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    checksums
}

# Each worker is held after its first read of a pass. Then the file is gone.
# bats test_tags=deep
@test "a worker's error comes back, and is told once, with the place" {
    need_strace
    start pread64 signal=STOP 9
    : >"$FILE"
    kill -CONT "${workers[@]}"
    ends 1
    assert_regex "$(cat "$ERR")" "^06-processes: reading $FILE at byte\
 (2097152|2621440|3145728|3670016): the file ends sooner than its size said\$"
}

# The parent has given four pieces of advice of its own.
# bats test_tags=deep
@test "advice that is refused ends the worker, and it says why" {
    need_strace
    run -1 --separate-stderr in_time strace -f -o /dev/null -e signal=none \
        -e inject=fadvise64:error=EINVAL:when=5 "$BIN/06-processes" --workers 1 \
        --distance 1 "$FILE"
    assert_equal "$stderr" '06-processes: giving advice on a block: Invalid argument'
}

# --- 06-workers ------------------------------------------------------------------------

# deaths: run 06-workers on $FILE.
deaths() {
    run --separate-stderr in_time "$BIN/06-workers" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

@test "06-workers: what waitpid says of a worker that died, and what is not read" {
    deaths
    assert_output "\
4 workers. One of them dies, with a block that it has not read.

the worker                          waitpid() says                blocks read
does not die                        each: exit status 0                8 of 8
ends with status 3                  at block 4: exit status 3          7 of 8
is killed                           at block 4: Killed                 7 of 8
is killed, and SIGCHLD is ignored   No child processes                 7 of 8"
}

# bats test_tags=deep
@test "06-workers, strace: all blocks are read but the one of the dead" {
    need_strace
    strace_calls pread64 "$BIN/06-workers" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    # Of each block, in four trials.
    run -0 perl -ne 'BEGIN { $file = shift }
        $n{$1 / 524288}++ if /pread64(?:\(| resumed>).*, 65536, (\d+)\) = 65536/;
        END { print join(" ", map { $n{$_} } 0 .. 7), "\n" }' "$FILE" "$STRACE_LOG"
    assert_output '4 4 4 4 1 4 4 4'
}

# bats test_tags=deep
@test "06-workers: a file of fewer blocks, and one of one byte" {
    size_of_file $((3 * 65536))
    deaths
    assert_line --regexp '^is killed +at block 1: Killed +2 of 3$'
    size_of_file 1
    deaths
    assert_line --regexp '^is killed +at block 0: Killed +0 of 1$'
}

# --- 06-ways ---------------------------------------------------------------------------

@test "06-ways: the same counts of four ways; the main thread sleeps in two of them" {
    need_cold
    for _ in {1..6}; do
        ways --rounds 9
        assert_line --index 0 --partial ', cold: 0 of '
        [[ $(counts 'one by one') == '0 1 8 8' ]] || continue
        [[ $(counts advice) == '0 8 1 1' ]] || continue
        [[ $(counts 'four threads') == '4 '[34]' 8 0' ]] || continue
        [[ $(counts 'four processes') == '4 '[34]' 8 0' ]] || continue
        return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "06-ways, strace: each way reads all blocks cold, in a round" {
    need_strace
    strace_calls '?clone,?clone3,fork,pipe2,pread64,fadvise64,wait4' \
        "$BIN/06-ways" --rounds 1 "$FILE"
    assert_equal "$stderr" ''
    assert_success
    # Those that try whether there may be workers, four threads, and four processes.
    assert_equal "$(forked | wc -l)" 8
    assert_equal "$(reaped)" "$(forked)"
    run -0 order_of
    assert_equal "$(wc -l <<<"$output")" 4
    assert_line --index 0 'R0 R1 R2 R3 R4 R5 R6 R7'
    assert_line --index 1 'A0 A1 A2 A3 A4 A5 A6 A7 R0 R1 R2 R3 R4 R5 R6 R7'
    for way in 2 3; do
        assert_equal "$(sorted "${lines[way]}")" 'R0 R1 R2 R3 R4 R5 R6 R7'
    done
}

# Only the worker processes make the call prctl(), and strace kills each of them in it. With
# the delay they are dead before the parent knows their numbers.
# bats test_tags=deep
@test "06-ways: workers that are killed are told, and nobody waits for them" {
    need_strace
    for late in 0 150000; do
        run --separate-stderr in_time strace -f -o "$BATS_TEST_TMPDIR/log" -e signal=none \
            -e inject=prctl:signal=KILL:when=1 -e inject="/clone.*:delay_exit=$late" \
            "$BIN/06-ways" --rounds 1 "$FILE"
        assert_equal "$stderr" '06-ways: worker 0 has died'
        assert_equal "$status" 1
    done
}

# times NAME: of that line, what it took to make the workers, and to read, in whole
# milliseconds.
times() {
    sed -nE "s/^$1 .* ([0-9]+)\.[0-9]+ ms +([0-9]+)\.[0-9]+ ms\$/\1 \2/p" <<<"${output?}"
}

# bats test_tags=deep
@test "06-ways: to make and end workers is not to read, and each number is a median" {
    need_strace
    # Each fork takes 50 ms more, and each end of a process 300 ms.
    run --separate-stderr in_time strace -f -o /dev/null -e signal=none \
        -e trace='/clone.*,exit_group' -e inject='/clone.*:delay_exit=50000' \
        -e inject=exit_group:delay_enter=300000 "$BIN/06-ways" --rounds 1 "$FILE"
    read -r making reading <<<"$(times 'four processes')"
    assert [ "$making" -ge 500 ]
    assert [ "$reading" -lt 200 ]
    # In the first of three rounds, each read that is not a worker's takes 50 ms more.
    run --separate-stderr in_time strace -o /dev/null -P "$FILE" -e signal=none \
        -e trace=pread64 -e inject=pread64:delay_exit=50000:when=9..16 \
        "$BIN/06-ways" --rounds 3 "$FILE"
    assert_equal "$stderr" ''
    reading=$(sed -nE 's/^one by one .* ([0-9]+)\.[0-9]+ ms$/\1/p' <<<"$output")
    assert [ "$reading" -lt 400 ]
}

# bats test_tags=deep
@test "06-workers: a read that fails is told once, and ends it" {
    need_strace
    run -1 --separate-stderr in_time strace -f -o /dev/null -P "$FILE" -e signal=none \
        -e trace=pread64 -e inject=pread64:error=EIO "$BIN/06-workers" "$FILE"
    assert_regex "$stderr" "^06-workers: reading $FILE at byte [0-9]+: Input/output error\$"
}

# bats test_tags=deep
@test "06-workers: it does not wait for a child that is none of its own" {
    # It has none of the descriptors that bats waits for, and ends when it is killed.
    run -0 --separate-stderr in_time perl -MPOSIX -e '
        my $file = shift;
        my $child = fork // die;
        if ($child == 0) {
            POSIX::close($_) for 0 .. 255;
            pause() while 1;
        }
        open(my $to, ">", $file) or die;
        print $to $child;
        close($to) or die;
        exec @ARGV' "$BATS_TEST_TMPDIR/child" "$BIN/06-workers" "$FILE"
    kill "$(<"$BATS_TEST_TMPDIR/child")"
    assert_equal "$stderr" ''
}

# bats test_tags=deep
@test "the clock starts when the workers are there, and stops for the last block" {
    need_strace
    # Each fork takes 50 ms more.
    run --separate-stderr in_time strace -f -o /dev/null -e signal=none \
        -e trace=/clone -e inject='/clone.*:delay_exit=50000' "$BIN/06-processes" "$FILE"
    assert_success
    total=$(fact total) total=${total%.*}
    assert [ "$total" -lt 200 ]
    # Each process takes 100 ms more to end.
    run --separate-stderr in_time strace -f -o /dev/null -e signal=none \
        -e trace=exit_group -e inject=exit_group:delay_enter=300000 \
        "$BIN/06-processes" "$FILE"
    total=$(fact total) last=$(fact 'last block after')
    assert [ "${total%.*}" -ge 300 ]
    assert [ "${last%.*}" -lt 300 ]
}
