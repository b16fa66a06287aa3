#!/usr/bin/env bats
# 04 · The stalled loop: no tick is handled during the read, and neither epoll
# nor poll nor O_NONBLOCK says that the pages are not there.

setup() {
    load ../../common/test/helpers
    MIB=32
    FILE=$(make_file $((MIB << 20)))
    pages=$(((MIB << 20) / PAGE))
}

teardown() { rm -f "${IN_MEMORY:-}"; }

# A '?' lets strace know only one of the two: which one libc calls is up to the
# machine.
LOOP='?epoll_wait,?epoll_pwait,read,pread64'

# loop_calls: what the loop asked of the kernel, in order: W for a wait, T for a
# read of the timer, F for one of the file.
loop_calls() {
    sed -nE 's/^[0-9]+ +epoll_p?wait\(.*/W/p
        s/^[0-9]+ +read\([0-9]+<anon_inode:\[timerfd\]>.*/T/p
        s/^[0-9]+ +pread64\([0-9]+<.*\/sample-.*/F/p' "$STRACE_LOG" | tr -d '\n'
}

# missed: what the timer said at the first tick after the read: eight bytes, as
# strace writes a string in C.
missed() {
    grep -A 100 -m 1 -E "pread64\([0-9]*<$(as_regex "$FILE")>" "$STRACE_LOG" |
        grep -m 1 timerfd |
        perl -ne 'my ($bytes) = /"(.*)", 8\) = 8$/ or exit 1;
            my %named = (t => 9, n => 10, v => 11, f => 12, r => 13);
            $bytes =~ s{\\(?:([0-7]{1,3})|(.))}
                       {chr(defined $1 ? oct $1 : $named{$2} // ord $2)}ge;
            print unpack("Q", $bytes)'
}

@test "twenty ticks before the read, none during it, and then they go on" {
    right=$(crc32_of "$FILE")
    for _ in {1..20}; do
        run -0 --separate-stderr "$BIN/04-stalled-loop" "$FILE"
        assert_equal "$stderr" ''
        assert_equal "$(fact 'ticks before the read')" 20
        assert_equal "$(fact 'ticks during the read')" 0
        assert_equal "$(fact checksum)" "$right"
        # A busy machine may hold up the loop after the read as well.
        (($(fact 'ticks after it, in as much time') > 1)) && return 0
    done
    fail "$output"
}

# Each millisecond of the read has an expiration in it. More can come: before
# the read, and until the loop is back. So this holds on a busy machine, too.
@test "the timer has counted the ticks that were missed" {
    run -0 "$BIN/04-stalled-loop" "$FILE"
    took=$(fact 'time in submit')
    expirations=$(fact 'expirations at the first tick after it')
    assert [ "$expirations" -ge 1 ]
    # Less what rounding to 0.01 ms may have added.
    perl -e 'exit !($ARGV[0] >= int($ARGV[1] - 0.005))' \
        "$expirations" "${took% ms}" || fail "$output"
}

@test "a cold read puts the loop to sleep" {
    need_cold
    run -0 "$BIN/04-stalled-loop" "$FILE"
    assert_line --index 0 "1 block of $MIB MiB from sample-$((MIB << 20))\
 ($MIB MiB), cold: 0 of $pages pages cached"
    assert [ "$(fact 'sleeps in submit')" -gt 0 ]
    assert_line --regexp '^main .*░█+'
}

# gap DOT BAR: in the output that comes in, is the row of dots empty above the
# bar, and nowhere else? The dot of the last tick before the read, and of the
# first one after it, may share a cell with an end of the bar.
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

# Once in twenty runs: on a busy machine the loop may get no turn after the read
# either.
@test "the picture: a gap in the dots where the bar is" {
    for look in 'C.UTF-8 · ━' 'C . ='; do
        read -r locale dot bar <<<"$look"
        for ((tries = 1; ; tries++)); do
            LC_ALL=$locale run -0 "$BIN/04-stalled-loop" "$FILE"
            if gap "$dot" "$bar" <<<"$output"; then break; fi
            ((tries < 20)) || fail "$output"
        done
    done
    assert_equal "$(tr -d ' -~\n' <<<"$output")" ''
}

@test "the picture is as wide as the terminal lets it be, and has colors there" {
    command -v script >/dev/null || skip 'script is not installed'
    for columns in 40 200; do
        run -0 env -u NO_COLOR TERM=xterm script -qec \
            "stty cols $columns; ${BIN@Q}/04-stalled-loop ${FILE@Q}" /dev/null </dev/null
        assert_line --regexp $'^ticks +( |\e\\[32m·\e\\[0m)+\r?$'
        # The last dot is in the last cell, or in the one before.
        lane=$(sed -n 's/\r//; s/\x1b\[[0-9]*m//g; /^ticks  /p' <<<"$output")
        assert [ ${#lane} -le $((columns < 80 ? columns : 80)) ]
        assert [ ${#lane} -ge $((columns < 80 ? columns - 1 : 79)) ]
    done
    run -0 script -qec "${BIN@Q}/04-stalled-loop ${FILE@Q}" /dev/null </dev/null
    refute_output --partial $'\e' # NO_COLOR, TERM=dumb.
}

@test "strace: one wait and one tick in turn, and a read of the file amid them" {
    need_strace
    strace_calls "$LOOP" "$BIN/04-stalled-loop" "$FILE"
    assert_success
    # The last F is the read with O_NONBLOCK, when the loop is over.
    assert_regex "$(loop_calls)" '^(WT){20}F(WT)+F$'
    run -0 calls pread64 "<$FILE>"
    assert_line --index 0 --partial ", $((MIB << 20)), 0) = $((MIB << 20))"
}

@test "strace: the expirations are what the timer's read said" {
    need_strace
    strace_calls "$LOOP" "$BIN/04-stalled-loop" "$FILE"
    assert_success
    assert_equal "$(fact 'expirations at the first tick after it')" "$(missed)"
}

@test "epoll_ctl refuses the file, and takes the timer" {
    need_strace
    strace_calls epoll_ctl "$BIN/04-stalled-loop" "$FILE"
    assert_success
    assert_line 'epoll_ctl(EPOLL_CTL_ADD): EPERM'
    assert_equal "$(count_calls epoll_ctl EPOLL_CTL_ADD '[timerfd]>' ') = 0')" 1
    assert_equal "$(count_calls epoll_ctl EPOLL_CTL_ADD "<$FILE>" \
        ') = -1 EPERM')" 1
    assert_equal "$(count_calls epoll_ctl)" 2
}

@test "poll calls the file ready, and no page of it is cached" {
    need_cold
    run -0 "$BIN/04-stalled-loop" "$FILE"
    assert_line "poll, timeout 0: ready to read; 0 of $pages pages cached"
}

@test "O_NONBLOCK is set, and the read of cold pages brings them all the same" {
    need_cold
    need_strace
    strace_calls fcntl,pread64 "$BIN/04-stalled-loop" "$FILE"
    assert_success
    assert_line "pread, O_NONBLOCK set: all of 65536 bytes;\
 $((65536 / PAGE)) of $pages pages cached"
    file=$(as_regex "$FILE")
    run -0 grep -A 1 -E "fcntl\([0-9]+<$file>, F_SETFL, .*O_NONBLOCK" "$STRACE_LOG"
    assert_line --index 1 --regexp "pread64\([0-9]+<$file>, .*, 65536, 0\) = 65536$"
    assert_equal "$(count_calls pread64 EAGAIN)" 0
}

@test "warm, the loop stands still as well, but does not sleep" {
    [[ $(stat -f -c %T /dev/shm 2>/dev/null) == tmpfs && -w /dev/shm ]] ||
        skip '/dev/shm is no tmpfs that we may write to'
    IN_MEMORY=$(mktemp /dev/shm/stalled-loop.XXXXXX)
    cp "$FILE" "$IN_MEMORY" || skip '/dev/shm has no room for 32 MiB'
    for _ in {1..20}; do
        run -0 "$BIN/04-stalled-loop" "$IN_MEMORY"
        assert_line --index 0 --partial ', warm: '
        assert_equal "$(fact 'ticks during the read')" 0
        [[ $(fact 'sleeps in submit') != 0 ]] || return 0
    done
    fail "$output"
}

checksum_of_first_mib() {
    head -c 1M "$FILE" >"$BATS_TEST_TMPDIR/first"
    crc32_of "$BATS_TEST_TMPDIR/first"
}

@test "--mib chooses how much of the file is read" {
    run -0 "$BIN/04-stalled-loop" --mib 1 "$FILE"
    assert_line --index 0 --partial '1 block of 1 MiB'
    assert_equal "$(fact checksum)" "$(checksum_of_first_mib)"
}

@test "a short read is finished, not taken for the whole" {
    need_strace
    strace_short pread64 "$BIN/04-stalled-loop" --mib 1 "$FILE"
    assert_success
    # A page at a time is missing: the second read of each fetches it.
    assert_equal "$(count_calls pread64 "<$FILE>")" 4
    assert_equal "$(fact checksum)" "$(checksum_of_first_mib)"
}

# first_own NAME: the call's full name, and which one of that name is the first
# that the program makes itself. Its loader reads files, too.
first_own() {
    perl -ne 'my ($name, $about) = /^\d+ +('"$1"')\((.*)/ or next;
        $n++;
        next if $about !~ /anon_inode|sample-/;
        print "$name $n\n";
        exit' "$STRACE_LOG"
}

@test "a signal in any wait or read ends it, and it is made again" {
    need_strace
    strace_calls "$LOOP,?poll,?ppoll" "$BIN/04-stalled-loop" --mib 1 "$FILE"
    assert_success
    for call in 'epoll_p?wait' 'p?poll' read pread64; do
        read -r name nth < <(first_own "$call")
        run -0 --separate-stderr strace -o "$BATS_TEST_TMPDIR/injected" \
            -e signal=none -e trace="$name" \
            -e inject="$name:error=EINTR:when=$nth" \
            "$BIN/04-stalled-loop" --mib 1 "$FILE"
        assert_equal "$(grep -c INJECTED "$BATS_TEST_TMPDIR/injected")" 1
        assert_equal "$(fact 'ticks before the read')" 20
        assert_equal "$(fact 'ticks during the read')" 0
        assert_equal "$(fact checksum)" "$(checksum_of_first_mib)"
        assert_line --regexp '^poll, timeout 0: ready to read; '
    done
}
