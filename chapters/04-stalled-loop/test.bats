#!/usr/bin/env bats
# 04 · The stalled loop: how late the ticks are before the read, right after it and
# later; and what a cold file answers to epoll, poll, O_NONBLOCK and RWF_NOWAIT.
# shellcheck disable=SC2030,SC2031 # Each test is a shell of its own.

setup() {
    load ../../common/test/helpers
    MIB=4
    shared_file $((MIB << 20)) sample-$((MIB << 20))
    pages=$(((MIB << 20) / PAGE))
    ALL=$((65536 / PAGE)) # Pages of the one block that 04-readiness asks for.
}

teardown() { rm -f "${IN_MEMORY:-}"; }

# stalled [OPTION]...: run the lesson on $FILE. It must succeed, and say nothing on
# stderr.
stalled() {
    run --separate-stderr in_time "$BIN/04-stalled-loop" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# late WHICH, at_once WHICH: the two columns of the table. WHICH is how the line begins.
late() { sed -nE "s/^$1 +([0-9.]+) ms +[0-9]+\$/\1/p" <<<"${output?}"; }
at_once() { sed -nE "s/^$1 +[0-9.]+ ms +([0-9]+)\$/\1/p" <<<"${output?}"; }

# took, worked: how long the read was, and how much of that the thread had a processor.
took() { sed -nE 's/^the read: ([0-9.]+) ms, .*/\1/p' <<<"${output?}"; }
worked() { sed -nE 's/^the read: .*, ([0-9.]+) ms of that on a processor$/\1/p' <<<"${output?}"; }

# at_least: the least that `total` can be. The request comes after 20.5 ms. After the read
# the loop goes on for as long again, or 20 ms.
at_least() { perl -e 'print 20.5 + $ARGV[0] + ($ARGV[0] > 20 ? $ARGV[0] : 20)' "$(took)"; }

# delayed CALL DELAY [OPTION]...: the lesson under strace, which delays that call.
delayed() {
    run --separate-stderr in_time strace -o /dev/null -e signal=none \
        -e inject="$1:$2" "$BIN/04-stalled-loop" "${@:3}" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# holds EXPRESSION: of numbers, in perl.
holds() { perl -e "exit !($1)"; }

# in_memory: a $FILE whose pages are always in the cache.
in_memory() {
    [[ $(stat -f -c %T /dev/shm 2>/dev/null) == tmpfs && -w /dev/shm ]] ||
        skip '/dev/shm is no tmpfs that we may write to'
    IN_MEMORY=$(mktemp /dev/shm/stalled-loop.XXXXXX)
    cp "$FILE" "$IN_MEMORY" || skip "/dev/shm has no room for $MIB MiB"
    FILE=$IN_MEMORY
}

# --- How late the ticks are -----------------------------------------------------------

# Each millisecond of the read has an expiration in it, and the oldest was due within the
# first millisecond. This holds on a busy machine, too. A busy one may add to both.
# (0.01 ms may come from rounding.)
# bats test_tags=deeper
@test "the tick after the read is as late as the read was long, and stands for all that were due" {
    for _ in 1 ${DEEP:+2}; do
        stalled
        assert holds "$(late 'the first after it') > $(took) - 1.02 &&
            $(at_once 'the first after it') >= int($(took) - 0.01)"
        assert holds "$(worked) > 0 && $(worked) <= $(took) + 0.01"
        assert_equal "$(fact checksum)" "$(crc32_of "$FILE")"
    done
}

# The clock is read after the timer. So it can say more than the timer, and never less.
# Where another program gets the processor in between, it says much more: in none of 40
# runs here, with a load of 15.
# bats test_tags=deep
@test "how late it was, and how many came at once: two counts of the same wait" {
    for _ in {1..5}; do
        stalled
        late=$(late 'the first after it') ticks=$(at_once 'the first after it')
        assert holds "$late >= $ticks - 1.01"
        if holds "$late < $ticks + 1"; then return 0; fi
    done
    fail "$output"
}

# Each wait gets 5 ms by strace. So five ticks or more come as one before the read, after
# it and later. Each but the oldest was due a millisecond after the one before, all of them
# before the timer was read. That holds on a busy machine, too. But there the loop may be
# over before a later tick: in 4 of 40 runs beside six busy programs, in 0 of 40 on a quiet
# machine.
# bats test_tags=deep
@test "in each line of the table, a tick that stands for N is N - 1 ms late or more" {
    need_strace
    for _ in {1..10}; do
        delayed '?epoll_wait,?epoll_pwait' delay_exit=5000 --mib 1
        for which in 'before the read' 'the first after it' 'all later ones'; do
            assert holds "$(late "$which") >= $(at_once "$which") - 1.01"
            [[ $which == all* ]] || assert [ "$(at_once "$which")" -ge 5 ]
        done
        if (($(at_once 'all later ones') >= 5)); then return 0; fi
    done
    fail "$output"
}

# The read gets 200 ms by strace, so that it is longer than whatever else may hold the loop
# up: in 40 of 40 runs, with a load of 12. A loop that takes each read of the timer for one
# tick is late for ever.
@test "next to a read of 200 ms, the ticks before it and the later ones are not half as late as the next" {
    need_strace
    for _ in {1..5}; do
        delayed pread64 delay_enter=200000 --mib 1
        next=$(late 'the first after it')
        assert holds "$next >= 198.98"
        if holds "$(late 'before the read') < $next / 2 && $(late 'all later ones') < $next / 2" &&
            holds "$(at_once 'before the read') < 100 && $(at_once 'all later ones') < 100"; then
            return 0
        fi
    done
    fail "$output"
}

# While strace holds the thread up, it is on no processor. A read of 1 MiB takes 0.4 to 0.9 ms
# of one.
# bats test_tags=deep
@test "a read that strace delays by 200 ms is that long, is no work, and the loop goes on for as long" {
    need_strace
    delayed pread64 delay_enter=200000 --mib 1
    total=$(fact total)
    assert holds "$(took) >= 200 && $(worked) < 100 && ${total% ms} >= $(at_least) - 0.03"
}

# The least holds always. That it is not much more: in 40 of 40 runs, and in 40 of 40 beside
# six busy programs.
# bats test_tags=deep
@test "the request comes after 20 ms, and after a short read the loop goes on for 20 ms" {
    for _ in {1..5}; do
        stalled --mib 1
        total=$(fact total)
        assert holds "${total% ms} >= $(at_least) - 0.03 && $(worked) <= $(took) + 0.01"
        if holds "${total% ms} < $(at_least) + 15"; then return 0; fi
    done
    fail "$output"
}

# glibc fills what it gives with other bytes. strace lets the read return at once, and
# nothing comes.
# bats test_tags=deep
@test "strace: before the read its memory is all zeros" {
    need_strace
    run --separate-stderr in_time env MALLOC_PERTURB_=90 strace -o /dev/null \
        -e signal=none -P "$FILE" -e inject=pread64:retval=$((1 << 20)) \
        "$BIN/04-stalled-loop" --mib 1 "$FILE"
    assert_equal "$stderr" ''
    assert_success
    head -c 1M /dev/zero >"$BATS_TEST_TMPDIR/zeros"
    assert_equal "$(fact checksum)" "$(crc32_of "$BATS_TEST_TMPDIR/zeros")"
}

# loop_calls: what the program asked of the kernel, in order: W for a wait, T for a read of
# a timer, F for one of the file. The first F is before the loop, for the sake of the memory.
loop_calls() {
    sed -nE 's/^[0-9]+ +epoll_p?wait\(.*/W/p
        s/^[0-9]+ +read\([0-9]+<anon_inode:\[timerfd\]>.*/T/p
        s/^[0-9]+ +pread64\([0-9]+<.*\/sample-.*/F/p' "$STRACE_LOG" | tr -d '\n'
}

# A '?' lets strace know only one of the two: which one libc calls is up to the machine.
LOOP='?epoll_wait,?epoll_pwait,read,pread64'

# logged OPTION...: the lesson with its calls written down. In strace's own log a path of
# ours may look otherwise: strace_unquoted. INJECT says what strace shall do to them.
logged() {
    STRACE_LOG=$BATS_TEST_TMPDIR/strace.log
    run --separate-stderr timeout -k 5 15 strace -f -y -o "$STRACE_LOG" -e signal=none \
        ${INJECT:+-e inject="$INJECT"} -e trace="$1" "$BIN/04-stalled-loop" "${@:2}" "$FILE"
    [[ $status != 124 ]] || fail 'it never ends'
    strace_unquoted
    assert_equal "$stderr" ''
    assert_success
}

# timer_reads: what each read of the tick's timer said: eight bytes, as strace writes a
# string in C. Where the loop reads the file, there is an F.
timer_reads() {
    perl -ne 'BEGIN { $file = shift }
        print "F\n" if defined $tick && /^\d+ +pread64\(/ && index($_, "<$file>") >= 0;
        my ($fd, $bytes) = /^\d+ +read\((\d+)<anon_inode:\[timerfd\]>, "(.*)", 8\) = 8$/ or next;
        $tick //= $fd;
        next if $fd != $tick;
        my %named = (t => 9, n => 10, v => 11, f => 12, r => 13);
        $bytes =~ s{\\(?:([0-7]{1,3})|(.))}
                   {chr(defined $1 ? oct $1 : $named{$2} // ord $2)}ge;
        print unpack("Q", $bytes), "\n"' "$FILE" "$STRACE_LOG"
}

@test "strace: one wait and one read of a timer in turn, and the read of the file amid them" {
    need_strace
    logged "$LOOP"
    assert_regex "$(loop_calls)" '^F(WT)+F(WT)+$'
    run -0 calls pread64 "<$FILE>"
    assert_output --partial ", $((MIB << 20)), 0) = $((MIB << 20))"
}

# bats test_tags=deep
@test "strace: the ticks at once are what the timer's read said" {
    need_strace
    # The third wait is long, so it has more ticks than the last one before the read.
    INJECT='?epoll_wait,?epoll_pwait:delay_exit=5000:when=3'
    logged "$LOOP"
    said=$(timer_reads | perl -ne 'chomp;
        if ($_ eq "F") { $phase = 1; next }
        $max[$phase] = $_ if $_ > $max[$phase];
        $phase = 2 if $phase == 1;
        END { print "@max" }')
    assert_equal "$(at_once 'before the read') $(at_once 'the first after it')\
 $(at_once 'all later ones')" "$said"
    assert [ "$(at_once 'before the read')" -ge 5 ]
}

# --- Asleep, or at work -----------------------------------------------------------------

# In 39 of 40 runs, with a load of 15. If others have the processor, the pages may have
# come before the thread asks for them.
# bats test_tags=deep
@test "a cold read puts the loop to sleep, and is one block of the file" {
    need_cold
    for _ in {1..5}; do
        stalled
        assert_line --index 0 "1 block of $MIB MiB from sample-$((MIB << 20))\
 ($MIB MiB), cold: 0 of $pages pages cached"
        if grep -q '^main .*█' <<<"$output"; then return 0; fi
    done
    fail "$output"
}

# The work is more than half of the read. Beside six busy programs it is a tenth or more: in
# 40 of 40 runs.
# bats test_tags=deep
@test "warm, the next tick is as late as the read was long, and the thread works and does not sleep" {
    in_memory
    for _ in {1..5}; do
        stalled
        assert_line --index 0 --partial ', warm: '
        assert holds "$(late 'the first after it') > $(took) - 1.02"
        if holds "$(worked) > $(took) / 10" && ! grep -q '^main .*█' <<<"$output"; then
            return 0
        fi
    done
    fail "$output"
}

# --- The picture ------------------------------------------------------------------------

# gap DOT BAR: in the output that comes in, is the row of dots empty above the bar, with
# dots before it and after it? The dot of the last tick before the read, and of the first one after it,
# may share a cell with an end of the bar.
gap() {
    perl -CSD -Mutf8 -e '
        my ($dot, $bar) = map { utf8::decode($_); quotemeta } @ARGV;
        my %lane = map { /^(ticks|block 0)  / ? ($1, substr($_, 10)) : () }
            map { s/\n//r } <STDIN>;
        $lane{"block 0"} =~ /^( *)($bar+)$/ or die "no bar\n";
        my ($from, $bars) = (length($1), length($2));
        $bars >= 3 or die "only $bars cells\n";
        my $within = substr($lane{ticks}, $from + 1, $bars - 2);
        $within =~ /^ +$/ or die "dots in it: $within\n";
        substr($lane{ticks}, 0, $from + 1) =~ /$dot/ or die "none before\n";
        substr($lane{ticks}, $from + $bars - 1) =~ /$dot.*$dot/
            or die "none after\n";' "$@"
}

# Once in twenty runs: on a busy machine the loop may get no turn after the read. A loop
# that ticks during its read never has the gap.
@test "the picture: a gap in the dots where the bar is" {
    FILE=$(make_file $((16 << 20)) longer) # Or the bar is too short.
    for look in ${DEEP:+'C.UTF-8 · ━'} 'C . ='; do
        read -r locale dot bar <<<"$look"
        for ((tries = 1; ; tries++)); do
            LC_ALL=$locale run -0 "$BIN/04-stalled-loop" "$FILE"
            if gap "$dot" "$bar" <<<"$output"; then break; fi
            ((tries < 20)) || fail "$output"
        done
    done
    assert_equal "$(tr -d ' -~\n' <<<"$output")" ''
    assert_line 'ticks: . one or more handled'
}

# bats test_tags=deep
@test "the picture is as wide as the terminal lets it be, and has colors there" {
    command -v script >/dev/null || skip 'script is not installed'
    for columns in 40 200; do
        run -0 env -u NO_COLOR TERM=xterm script -qec \
            "stty cols $columns; ${BIN@Q}/04-stalled-loop ${FILE@Q}" /dev/null </dev/null
        assert_line --regexp $'^ticks +( |\e\\[32m·\e\\[0m)+\r?$'
        # The last dot is in the last cell, or in the one before.
        lane=$(sed -n 's/\r//; s/\x1b\[[0-9]*m//g; /^ticks  .*·/p' <<<"$output")
        assert [ ${#lane} -le $((columns < 80 ? columns : 80)) ]
        assert [ ${#lane} -ge $((columns < 80 ? columns - 1 : 79)) ]
    done
    run -0 script -qec "${BIN@Q}/04-stalled-loop ${FILE@Q}" /dev/null </dev/null
    refute_output --partial $'\e' # NO_COLOR, TERM=dumb.
}

# --- Short, interrupted, refused --------------------------------------------------------

checksum_of_first_mib() {
    head -c 1M "$FILE" >"$BATS_TEST_TMPDIR/first"
    crc32_of "$BATS_TEST_TMPDIR/first"
}

# bats test_tags=deep
@test "--mib chooses how much is read, and a short read is finished" {
    need_strace
    stalled --mib 1
    assert_line --index 0 --partial '1 block of 1 MiB'
    assert_equal "$(fact checksum)" "$(checksum_of_first_mib)"
    strace_short pread64 "$BIN/04-stalled-loop" --mib 1 "$FILE"
    assert_success
    # A page is missing, before the loop and in it: a second read fetches it.
    assert_equal "$(count_calls pread64 "<$FILE>")" 4
    assert_equal "$(fact checksum)" "$(checksum_of_first_mib)"
}

# first_own NAME: the call's full name, and which one of that name is the first that the
# program makes itself. Its loader reads files, too.
first_own() {
    perl -ne 'my ($name, $about) = /^\d+ +('"$1"')\((.*)/ or next;
        $n++;
        next if $about !~ /anon_inode|sample-|socket:/;
        print "$name $n\n";
        exit' "$STRACE_LOG"
}

# bats test_tags=deep
@test "where a signal ends the first epoll_wait, read or pread64, it is made again" {
    need_strace
    logged "$LOOP" --mib 1
    for call in 'epoll_p?wait' read pread64; do
        read -r name nth < <(first_own "$call")
        # The first of the file is before the loop.
        [[ $call != pread64 ]] || ((++nth))
        run -0 --separate-stderr strace -o "$BATS_TEST_TMPDIR/injected" \
            -e signal=none -e trace="$name" \
            -e inject="$name:error=EINTR:when=$nth" \
            "$BIN/04-stalled-loop" --mib 1 "$FILE"
        assert_equal "$(grep -c INJECTED "$BATS_TEST_TMPDIR/injected")" 1
        assert_equal "$(fact checksum)" "$(checksum_of_first_mib)"
    done
}

# --- 04-readiness: what the file answers ------------------------------------------------

# readiness [OPTION]...: run it on $FILE. It must succeed, and say nothing on stderr.
readiness() {
    run --separate-stderr in_time "$BIN/04-readiness" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
}

# question TEXT: the line of that question, and one blank between its columns.
question() { grep "^$1" <<<"${output?}" | tr -s ' '; }

# cached N: the line of the second table that begins with that many pages.
cached() { sed -n "s/^$1 .*/&/p" <<<"${output?}" | tail -n 1 | tr -s ' '; }

# knows_nowait: else skip. The socket's answer comes first, and the file's counts. (Before
# Linux 6.5 it was the socket that said EOPNOTSUPP.)
knows_nowait() {
    local file
    read -r _ _ _ file _ < <(question 'read, RWF_NOWAIT')
    [[ $file != EOPNOTSUPP ]] || skip 'this file system knows no RWF_NOWAIT'
}

# In 100 of 100 runs, with a load of 10 to 15.
@test "neither epoll nor poll sleeps, and no page comes" {
    need_cold
    for _ in {1..5}; do
        readiness
        [[ "$(question epoll_ctl)|$(question poll)" != \
            'epoll_ctl, add will watch it EPERM 0 0|poll, timeout 0 not ready ready 0 0' ]] || return 0
    done
    fail "$output"
}

@test "epoll takes the socket and refuses the file, as the call says" {
    need_cold
    need_strace
    strace_calls epoll_ctl "$BIN/04-readiness" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_regex "$(question epoll_ctl)" '^epoll_ctl, add will watch it EPERM 0 [0-9]+$'
    assert_equal "$(count_calls epoll_ctl EPOLL_CTL_ADD socket: ') = 0')" 1
    assert_equal "$(count_calls epoll_ctl EPOLL_CTL_ADD "<$FILE>" ') = -1 EPERM')" 1
    assert_equal "$(count_calls epoll_ctl)" 2
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=epoll_ctl:retval=0:when=2 "$BIN/04-readiness" "$FILE"
    assert_regex "$(question epoll_ctl)" '^epoll_ctl, add will watch it will watch it 0 '
}

# bats test_tags=deep
@test "poll calls the file ready and the empty socket not, as the call says" {
    need_cold
    need_strace
    strace_calls '?poll,?ppoll' "$BIN/04-readiness" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    assert_regex "$(question poll)" '^poll, timeout 0 not ready ready 0 '
    assert_regex "$(<"$STRACE_LOG")" "poll\(\[\{fd=[0-9]+<$(as_regex "$FILE")>.*= 1 \(\[\{fd=[0-9]+(<[^>]*>)?, revents=POLLIN"
    call=$(sed -nE 's/^[0-9]+ +(p?poll)\(.*socket:.*/\1/p' "$STRACE_LOG")
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject="$call:retval=0" "$BIN/04-readiness" "$FILE"
    assert_regex "$(question poll)" '^poll, timeout 0 not ready not ready 0 '
}

# That the read slept: in 60 of 60 runs, with a load of 10 to 13.
# bats test_tags=deep
@test "with O_NONBLOCK the read of a cold file waits and brings all, and a socket obeys" {
    need_cold
    need_strace
    strace_calls fcntl,preadv2 "$BIN/04-readiness" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    run -0 perl -ne 'BEGIN { $file = shift }
        next unless index($_, "<$file>") >= 0;
        $set = 1 if /F_SETFL, .*NONBLOCK/; # Opening the file clears it, too.
        next unless $set;
        print /F_SETFL, .*NONBLOCK/ ? "set " : /F_SETFL/ ? "cleared " : "",
            /preadv2\(.*, 0\) = (\S+)/ ? "$1 " : "";
        exit if /F_SETFL, (?!.*NONBLOCK)/' "$FILE" "$STRACE_LOG"
    assert_output 'set 65536 cleared '
    for _ in {1..5}; do
        readiness
        line=$(question 'read, O_NONBLOCK')
        assert_regex "$line" "^read, O_NONBLOCK EAGAIN 65536 bytes $ALL [0-9]+\$"
        ((${line##* } == 0)) || return 0
    done
    fail "$output"
}

# In 100 of 100 runs, with a load of 10 to 15. The disk could be done before the call
# looks. A read that waits never says EAGAIN.
@test "RWF_NOWAIT says EAGAIN and does not sleep, and the pages come all the same" {
    need_cold
    for _ in {1..5}; do
        readiness
        knows_nowait
        [[ ! $(question 'read, RWF_NOWAIT') =~ \ EAGAIN\ $ALL\ 0$ ]] || return 0
    done
    fail "$output"
}

# In 36 of 40 runs on a quiet machine, where the disk may be done before the call looks.
@test "RWF_NOWAIT again: EAGAIN or a short read at first, and all of it later" {
    need_cold
    for _ in {1..10}; do
        readiness
        knows_nowait
        [[ "$(cached 0)|$(cached $((ALL / 2)))" != \
            "0 EAGAIN $ALL 65536 bytes|$((ALL / 2)) 32768 bytes $ALL 65536 bytes" ]] || return 0
    done
    fail "$output"
}

# The first four reads are those of the first table. The last one is made for the part.
# bats test_tags=deep
@test "strace: what each read said is what is printed" {
    need_cold
    need_strace
    strace_calls preadv2,pread64 "$BIN/04-readiness" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    now=$(sed -nE 's/^half of it cached: ([0-9]+) bytes now, then the rest; .*/\1/p' <<<"$output")
    said=$(sed -nE 's/.*preadv2\(.*, (0|RWF_NOWAIT)\) = (-1 )?([0-9A-Z]+).*/\1 \3/p' "$STRACE_LOG")
    shown=$(
        read -r _ _ socket file _ < <(question 'read, O_NONBLOCK')
        printf '0 %s\n0 %s\n' "$socket" "$file"
        read -r _ _ socket file _ < <(question 'read, RWF_NOWAIT')
        printf 'RWF_NOWAIT %s\nRWF_NOWAIT %s\n' "$socket" "$file"
        tail -n 4 <<<"$output" | head -n 2 | sed 's/ bytes//g' |
            while read -r _ first _ again; do
                printf 'RWF_NOWAIT %s\nRWF_NOWAIT %s\n' "$first" "$again"
            done
        echo "RWF_NOWAIT $now"
    )
    assert_equal "$shown" "$said"
    # The rest begins after what has come.
    run -0 calls pread64 "<$FILE>"
    assert_regex "${lines[-1]}" ", $((65536 - now)), $now\) = $((65536 - now))\$"
}

# Half comes at once in 33 of 40 runs on a quiet machine: the disk may be done with the rest
# before the call looks. In 40 of 40 beside six busy programs. The bytes are right always.
@test "half of a block comes at once, then the rest, and all bytes are the file's" {
    need_cold
    head -c 65536 "$FILE" >"$BATS_TEST_TMPDIR/first"
    for _ in {1..10}; do
        readiness
        assert_equal "$(sed -n 's/^half of it cached: .*; checksum //p' <<<"$output")" \
            "$(crc32_of "$BATS_TEST_TMPDIR/first")"
        knows_nowait
        [[ $output != *$'\n''half of it cached: 32768 bytes now, then the rest;'* ]] || return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "--size: a second try finds as many bytes as have come since the first" {
    need_cold
    FILE=$(make_file $((32 << 20)))
    for _ in {1..5}; do
        readiness --size 32M
        assert_line --index 0 --partial '1 block of 32 MiB from '
        knows_nowait
        read -r _ first later again _ < <(cached 0)
        if [[ $first == EAGAIN && $again == "$((later * PAGE))" ]]; then return 0; fi
    done
    fail "$output"
}

# bats test_tags=deep
@test "readiness: where a signal ends poll, preadv2 or pread64, it is made again, and an error names the file" {
    need_strace
    strace_calls '?poll,?ppoll,preadv2,pread64' "$BIN/04-readiness" "$FILE"
    for call in 'p?poll' preadv2 pread64; do
        read -r name nth < <(first_own "$call")
        # The socket is asked first, and pread64 is of the file.
        run -0 --separate-stderr strace -o "$BATS_TEST_TMPDIR/injected" -e signal=none \
            -e trace="$name" -e inject="$name:error=EINTR:when=$((nth + 1))" \
            "$BIN/04-readiness" "$FILE"
        assert_equal "$(grep -c INJECTED "$BATS_TEST_TMPDIR/injected")" 1
        assert_equal "$stderr" ''
        assert_line --regexp '^poll, timeout 0 +not ready +ready '
        assert_line --regexp '^read, O_NONBLOCK +EAGAIN +65536 bytes '
    done
    run --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=preadv2:error=EIO:when=2 "$BIN/04-readiness" "$FILE"
    assert_equal "$stderr" "04-readiness: reading $FILE: Input/output error"
    assert_equal "$status" 1
}

# bats test_tags=deep
@test "readiness on tmpfs: the pages are there before, and RWF_NOWAIT is refused or brings all" {
    in_memory
    readiness
    assert_line --index 0 --partial ', warm: '
    assert_equal "$(question 'poll, timeout 0')" "poll, timeout 0 not ready ready $ALL 0"
    assert_equal "$(question 'read, O_NONBLOCK')" \
        "read, O_NONBLOCK EAGAIN 65536 bytes $ALL 0"
    assert_regex "$(question 'read, RWF_NOWAIT')" \
        "^read, RWF_NOWAIT (EAGAIN|EOPNOTSUPP) (EOPNOTSUPP|65536 bytes) $ALL 0\$"
    assert_equal "$(tail -n 4 <<<"$output" | head -n 2 | cut -d ' ' -f 1 | xargs)" "$ALL $ALL"
}
