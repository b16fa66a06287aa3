#!/usr/bin/env bats
# shellcheck disable=SC2016,SC2030,SC2031,SC2154 # code for other shells; $stderr is from run
# 00 · Your machine: each program is asked by itself, and whatever becomes of the one
# that is asked, the verdict says so, with the reason, and goes on.

setup() {
    load ../../common/test/helpers
    FILE=$(make_file $((4 * PAGE)))
    # It asks every program beside it. A few will do, of each kind.
    SOME=$BATS_TEST_TMPDIR/some
    mkdir "$SOME"
    few=("$BIN"/{00,01,08,12}-*)
    # In a copy that a reader works on they are links, and it asks what is beside it.
    ln -L "${few[@]}" "$SOME" 2>/dev/null || cp -L "${few[@]}" "$SOME"
    ME=$SOME/00-your-machine
}

# pretend NN-NAME SCRIPT: a program beside a copy of 00, in $THERE. With no $THERE yet,
# 00 is alone there.
pretend() {
    if [[ ! -v THERE ]]; then
        THERE=$BATS_TEST_TMPDIR/"other place"
        mkdir "$THERE"
        cp "$ME" "$THERE"
    fi
    [[ ! ${1-} ]] || {
        printf '#!/bin/sh\n%s\n' "$2" >"$THERE/$1"
        chmod +x "$THERE/$1"
    }
}

# ask [ARGUMENT]...: the copy that is there. It must live, and say nothing on stderr.
ask() {
    run --separate-stderr in_time "$THERE/00-your-machine" "$@" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    joined
}

# joined: undo the line breaks of long values.
joined() {
    output=$(perl -0pe 's/\n {4}/ /g' <<<"$output")
    mapfile -t lines <<<"$output"
}

# machine COMMAND...: run 00 among real programs, with that before it.
machine() {
    run --separate-stderr in_time "$@" "$ME" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    joined
}

# with CALL ERROR [ARGUMENT]...: run 00 with this call failing, also in those it asks.
with() {
    run --separate-stderr in_time strace -f -o "$BATS_TEST_TMPDIR/log" \
        -e signal=none -e trace="$1" -e inject="$1:error=$2" "$ME" "$FILE" "${@:3}"
    assert_equal "$stderr" ''
    assert_success
    joined
}

# missing: all programs and reads that the verdict calls missing, one a line.
missing() { sed -n 's/^missing: //p' <<<"$output" | sed 's/, /\n/g'; }

# because NAME: the reason that the verdict has for it.
because() {
    grep -A 1 -E "^missing: (.*, )?$1(,|\$)" <<<"$output" | sed -n 's/^because: //p'
}

# helps NAME: what helps, by the verdict.
helps() {
    grep -A 2 -E "^missing: (.*, )?$1(,|\$)" <<<"$output" | sed -n 's/^what helps: //p'
}

need_filter() {
    "$BUILD/filter" io_setup EPERM true 2>/dev/null || skip 'no seccomp filter here'
}

# --- What becomes of those that are asked ----------------------------------------------

@test "status 0 is a yes, and whatever else becomes of a program is a no with its reason" {
    pretend 02-fine 'echo much; [ "$1" = --check ] && [ $# = 1 ]'
    pretend 03-absent 'printf "%s: no such thing\nGet one\nand a third line\n" \
        "$(basename "$0")" >&2; exit 77'
    pretend 04-broken 'echo "04-broken: it broke: badly
and a second line" >&2; exit 1'
    pretend 05-killed 'kill -KILL $$'
    pretend 06-silent 'exit 3'
    echo 'no program' >"$THERE/07-data"
    pretend other 'exit 1'
    pretend 123-no 'exit 1'
    ask
    # Under a filter there is more that helps.
    assert_equal "$(sed '/^what helps: a seccomp/d' <<<"$output")" \
        "This machine can show 1 of 6 programs.
$(sed -n 2p <<<"$output")

missing: 03-absent
because: no such thing
what helps: Get one

missing: 04-broken
because: it broke: badly

missing: 05-killed
because: Killed

missing: 06-silent
because: it ended with an error, and gave no reason

missing: 07-data
because: running it: Permission denied
$(sed -n '/^missing: cold/,/^$/p' <<<"$output")
Next: ./tour 01. All that can be found out: ./tour 00 --all"
}

@test "who is killed by a signal does not count as ready" {
    pretend 02-fine 'exit 0'
    pretend 03-killed 'kill -SYS $$'
    ask
    assert_line 'This machine can show 1 of 2 programs.'
    assert_equal "$(because 03-killed)" 'a seccomp filter kills it (SIGSYS)'
}

# strsignal(3) has the same memory for the names of both.
# bats test_tags=deep
@test "two that are killed by different signals have different reasons" {
    pretend 02-first 'kill -40 $$'
    pretend 03-second 'kill -41 $$'
    ask
    assert_line --regexp '^because: .* 6$'
    assert_line --regexp '^because: .* 7$'
}

@test "who says more than a pipe holds is heard, and its first line counts" {
    # More than 1 MiB: so deep can a pipe be made by anybody.
    pretend 02-talks 'yes "02-talks: a line, said more often than a pipe has room for" |
        head -n 40000 >&2; exit 77'
    ask
    assert_equal "$(because 02-talks)" \
        'a line, said more often than a pipe has room for'
}

@test "who finds no memory is asked again, since it may come back" {
    pretend 02-later 'echo x >>"$0.log"; [ $(wc -l <"$0.log") -gt 3 ] && exit 0
        echo "02-later: a ring: Cannot allocate memory: no memory" >&2; exit 77'
    pretend 03-never 'echo x >>"$0.log"
        echo "03-never: a ring: Cannot allocate memory: no memory" >&2; exit 77'
    pretend 04-no 'echo x >>"$0.log"; echo "04-no: Permission denied" >&2; exit 77'
    touch "$THERE"/{02-later,03-never,04-no}.log
    ask
    assert_line 'This machine can show 1 of 6 programs.'
    assert_equal "$(because 03-never)" 'a ring: Cannot allocate memory: no memory'
    assert_equal "$(wc -l <"$THERE/03-never.log")" 6
    assert_equal "$(wc -l <"$THERE/04-no.log")" 1
}

# bats test_tags=deep
@test "between two such questions it waits, so that the kernel can give memory back" {
    need_strace
    pretend 03-never 'echo "03-never: a ring: Cannot allocate memory: no memory" >&2; exit 77'
    strace_calls nanosleep,clock_nanosleep "$THERE/00-your-machine" "$FILE"
    assert_equal "$({ calls clock_nanosleep && calls nanosleep; } | wc -l)" 5
}

# bats test_tags=deep
@test "who never answers is ended after some seconds, and the others are asked" {
    pretend 02-hangs 'exec sleep 15'
    pretend 03-fine 'exit 0'
    pretend 04-silent 'exec sleep 15 2>&-' # The pipe ends, and the child does not.
    ask
    assert_line 'This machine can show 1 of 3 programs.'
    assert_line 'missing: 02-hangs, 04-silent'
    assert_equal "$(because 02-hangs)" 'it does not come to an end'
}

# Its pipe ends, and it lives on. It is 00 that kills it.
# bats test_tags=deep
@test "who closes stderr and ignores the alarm is killed all the same" {
    pretend 02-deaf "trap '' ALRM; exec sleep 25 2>&-"
    ask
    assert_line 'This machine can show 0 of 1 programs.'
    assert_equal "$(because 02-deaf)" 'it does not come to an end'
}

# Three times eleven seconds. Without the limit it would be more than in_time allows.
# bats test_tags=deep
@test "who has children that live on does not hold the verdict, and none is left" {
    local long=47.$$ # No other test's.
    pretend 02-leaves "sleep $long & exit 0"
    pretend 03-waits "sleep $long; exit 0"
    pretend 04-stubborn "trap '' ALRM; sleep $long; exit 0"
    ask
    assert_line 'This machine can show 1 of 3 programs.'
    assert_equal "$(missing | grep '^0' | xargs)" '03-waits 04-stubborn'
    assert_equal "$(because 03-waits)" 'it does not come to an end'
    run -1 pgrep -f "^sleep $long\$"
}

# bats test_tags=deep
@test "signals that our parent ignores or blocks are no excuse" {
    pretend 02-hangs 'exec sleep 15 2>&-'
    # 0x2000 is SIGALRM. Whom we ask has no signal blocked, and heeds that one. (No shell:
    # some unblock all by themselves.)
    pretend 03-heeds 'exit 0'
    cat >"$THERE/03-heeds" <<'END'
#!/usr/bin/perl
open my $me, "<", "/proc/self/status";
while (<$me>) {
    exit 1 if /^SigBlk:\s*(\w+)/ && hex $1;
    exit 1 if /^SigIgn:\s*(\w+)/ && hex($1) & 0x2000;
}
END
    run --separate-stderr in_time perl -MPOSIX -e '$SIG{ALRM} = $SIG{CHLD} = "IGNORE";
        sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGALRM)); exec @ARGV' \
        "$THERE/00-your-machine" "$FILE"
    assert_equal "$stderr" ''
    assert_success
    joined
    assert_line 'This machine can show 1 of 2 programs.'
    assert_equal "$(because 02-hangs)" 'it does not come to an end'
}

# bats test_tags=deep
@test "with its first descriptors closed it hears the reasons all the same" {
    pretend 02-no 'echo "02-no: no such thing" >&2; exit 77'
    for closed in '<&-' '2>&-' '<&- 2>&-'; do
        run -0 bash -c "exec \"\$@\" $closed" bash "$THERE/00-your-machine" "$FILE"
        joined
        assert_equal "$(because 02-no)" 'no such thing'
    done
}

# --- What a child may do to others ------------------------------------------------------

# bats test_tags=deep
@test "who dies of a signal leaves no core file" {
    need_strace
    pretend 02-core 'exit 1'
    strace_calls prlimit64,setrlimit "$THERE/00-your-machine" "$FILE"
    # The program, and two questions about the file.
    assert_equal "$({ calls prlimit64 && calls setrlimit; } |
        grep -c 'RLIMIT_CORE, {rlim_cur=0, rlim_max=0}')" 3
}

# bats test_tags=deep
@test "when 00 is killed, so is whom it asks" {
    pretend 02-lives 'echo $$ >"$0.new"; mv "$0.new" "$0.pid"; exec sleep 8'
    "$THERE/00-your-machine" "$FILE" >/dev/null 3>&- &
    local asked=$! tries
    for ((tries = 0; tries < 100; tries++)); do
        [[ ! -e $THERE/02-lives.pid ]] || break
        sleep 0.05
    done
    kill -KILL "$asked"
    wait "$asked" || :
    for ((tries = 0; tries < 60; tries++)); do
        kill -0 "$(<"$THERE/02-lives.pid")" 2>/dev/null || return 0
        sleep 0.05
    done
    fail 'the child lives on'
}

# bats test_tags=deep
@test "a child whose parent has died already does not begin" {
    need_strace
    pretend 02-begins 'exec >"$0.begun"'
    run -0 --separate-stderr strace -f -o /dev/null -e signal=none \
        -e inject=getppid:retval=1 "$THERE/00-your-machine" "$FILE"
    [[ ! -e $THERE/02-begins.begun ]]
}

@test "the same reason and remedy is told once, for all that gave it" {
    pretend 02-a 'printf "02-a: no ring\nGet one\n" >&2; exit 77'
    pretend 03-b 'printf "03-b: no ring\nGet another\n" >&2; exit 77'
    pretend 04-c 'printf "04-c: no ring\nGet one\n" >&2; exit 77'
    ask
    assert_equal "$(missing | grep '^0' | xargs)" '02-a 04-c 03-b'
    assert_line 'missing: 02-a, 04-c'
    assert_equal "$(grep -c '^because: no ring' <<<"$output")" 2
    assert_equal "$(helps 03-b)" 'Get another'
}

# bats test_tags=deep
@test "more programs than it has room for are not left out in silence" {
    pretend
    touch "$THERE"/{10..99}-{a,b}
    run -1 --separate-stderr "$THERE/00-your-machine" "$FILE"
    assert_regex "$stderr" '^00-your-machine: 181 programs in .*: more than 126$'
}

# bats test_tags=deep
@test "alone, it says so" {
    pretend
    ask
    assert_line --index 0 'No other program is built here; ./tour builds them.'
}

# all_missing: twenty programs, each with a long reason of its own.
all_missing() {
    for i in {10..29}; do
        pretend "$i-with-quite-a-name" "printf '%s\\n' \
            '$i-with-quite-a-name: reason $i, which has so many words that it takes two lines' \
            'Do something about it, in so many words that this too takes two lines' >&2
            exit 77"
    done
}

# bats test_tags=deep
@test "whatever is missing, the verdict has 24 lines at most, and 80 columns" {
    all_missing
    run --separate-stderr "$THERE/00-your-machine" "$FILE"
    assert_line 'This machine can show 0 of 20 programs.'
    mapfile -t lines <<<"$output" # `run` leaves empty ones out.
    ((${#lines[@]} <= 24)) || fail "$output"
    # The next reason would have been the line too many.
    ((${#lines[@]} > 24 - 8)) || fail "$output"
    refute_output --regexp $'(^|\n)[^\n]{81}'
    joined
    # What is not shown is counted, and --all shows it.
    shown=$(grep -c '^because: reason' <<<"$output")
    left=$(sed -n 's/^\([0-9]*\) more reasons\{0,1\}, which --all shows\.$/\1/p' <<<"$output")
    no_cold=$("$THERE/00-your-machine" --all "$FILE" | grep -cE '^missing: (cold|direct)') || :
    assert_equal "$((shown + left))" "$((20 + no_cold))"
}

# bats test_tags=deep
@test "one reason that has no room is one reason" {
    pretend
    FILE=$THERE/00-your-machine # It is mapped, so two reasons are of the file.
    for i in {10..29}; do
        pretend "$i-no" "echo '$i-no: reason $i' >&2; exit 77"
        ask
        ! grep -q ' more reason' <<<"$output" || break
    done
    assert_line '1 more reason, which --all shows.'
}

# bats test_tags=deep
@test "with --all each reason is shown" {
    all_missing
    ask --all
    for i in {10..29}; do
        assert_regex "$(because "$i-with-quite-a-name")" "^reason $i, which "
    done
    refute_output --partial ' more reasons'
}

# --- Real programs, refused ---------------------------------------------------------------

# agrees NN-NAME...: those, among the real programs, are what the verdict calls missing.
agrees() {
    assert_equal "$(missing | grep '^[0-9]' | xargs)" "$*"
    assert_line --index 0 "This machine can show $((3 - $#)) of 3 programs."
}

# bats test_tags=deep
@test "where nothing is refused, the verdict is what each program says itself" {
    machine env
    local no=()
    for program in "$SOME"/*; do
        "$program" --check 2>/dev/null || no+=("${program##*/}")
    done
    if ((${#no[@]} == 0)); then
        assert_line --index 0 'This machine can show all 3 programs.'
    else
        agrees "${no[@]}"
    fi
}

@test "a filter that kills does not kill 00, and the others stay ready" {
    need_uring
    need_filter
    machine "$BUILD/filter" io_uring_setup kill
    agrees 12-uring-setup
    assert_equal "$(because 12-uring-setup)" 'a seccomp filter kills it (SIGSYS)'
    assert_regex "$(helps 12-uring-setup)" '(seccomp=unconfined|, or a sandbox)$'
}

# bats test_tags=deep
@test "Docker's option is named where a container is seen, and nowhere else" {
    need_uring
    need_filter
    need_strace
    signs=(strace -f -o /dev/null -e signal=none -P /.dockerenv -P /run/.containerenv)
    none=("${signs[@]}" -P /proc/1/environ
        -e inject='?access,?faccessat,?faccessat2,openat:error=ENOENT')
    machine "$BUILD/filter" io_uring_setup kill "${none[@]}"
    assert_equal "$(helps 12-uring-setup)" "no container is seen here. Allow the call where\
 the filter is set: systemd's SystemCallFilter=, or a sandbox"
    machine "$BUILD/filter" io_uring_setup kill strace -f -o /dev/null -e signal=none \
        -P /.dockerenv -e inject='?access,?faccessat,?faccessat2:retval=0'
    assert_regex "$(helps 12-uring-setup)" '^Docker, Podman: .* seccomp=unconfined$'
    # Process 1 is the one that starts the others.
    own=(unshare --pid --fork --mount-proc)
    "${own[@]}" true 2>/dev/null || skip 'we may make no process 1'
    machine "$BUILD/filter" io_uring_setup kill "${own[@]}" env a=b container=lxc \
        "${signs[@]}" -e inject='?access,?faccessat,?faccessat2:error=ENOENT'
    assert_regex "$(helps 12-uring-setup)" '^Docker, Podman: .* seccomp=unconfined$'
}

# bats test_tags=deep
@test "a filter that kills at another call, and one that kills --all's own questions" {
    need_uring
    need_aio
    need_filter
    for pair in io_uring_enter:12-uring-setup io_setup:08-io-submit io_submit:08-io-submit; do
        machine "$BUILD/filter" "${pair%:*}" kill
        agrees "${pair#*:}"
        assert_equal "$(because "${pair#*:}")" 'a seccomp filter kills it (SIGSYS)'
    done
    report "$BUILD/filter" io_uring_setup,io_submit kill
    for line in io_uring features opcodes 'set-up flags' 'Linux AIO' 'its requests'; do
        assert_line "$line: missing, because a seccomp filter kills it (SIGSYS)"
    done
    assert_line --regexp '^memlock limit: '
}

# bats test_tags=deep
@test "whatever a filter answers is missing with a reason, and never failed" {
    need_uring
    need_filter
    for call in io_uring_setup io_uring_enter; do
        for error in EPERM EACCES ENOSYS EINVAL EUCLEAN EIO EMFILE EINTR; do
            machine "$BUILD/filter" "$call" "$error"
            agrees 12-uring-setup
            assert_regex "$(because 12-uring-setup)" \
                "^(setting up|entering) io_uring: [A-Z].*"
            assert_regex "$(helps 12-uring-setup)" 'seccomp=unconfined|, or a sandbox'
            refute_output --partial failed
        done
    done
}

# bats test_tags=deep
@test "a filter that may not have answered is one cause of two" {
    need_filter
    need_strace
    # This one looks at another call. It is strace that answers, as an old kernel would.
    machine "$BUILD/filter" io_setup EPERM strace -f -o /dev/null -e signal=none \
        -e inject=io_uring_setup:error=EINVAL
    assert_regex "$(because 12-uring-setup)" \
        'Invalid argument: a seccomp filter is in force, .* may have answered\. Or .* too old'
    assert_regex "$(helps 12-uring-setup)" '(seccomp=unconfined|, or a sandbox)\. Or boot a newer kernel'
}

# bats test_tags=deep
@test "EPERM, EACCES and ENOSYS from who knows where: each has its cause and a way out" {
    need_uring
    need_strace
    while IFS='%' read -r error text cause way; do
        with io_uring_setup "$error"
        agrees 12-uring-setup
        assert_regex "$(because 12-uring-setup)" "^setting up io_uring: $text: .*($cause)"
        assert_regex "$(helps 12-uring-setup)" "$way"
    done <<'END'
EPERM%Operation not permitted%io_uring_disabled|as AppArmor may%As root|unconfined|, or a sandbox
EACCES%Permission denied%as SELinux or AppArmor may%As root|unconfined|, or a sandbox
ENOSYS%Function not implemented%older than 5.1%virtual machine|unconfined|, or a sandbox
END
}

# bats test_tags=deep
@test "kernel.io_uring_disabled is named, with its value and the command that helps" {
    need_strace
    [[ -e /proc/sys/kernel/io_uring_disabled ]] ||
        skip 'this kernel has no kernel.io_uring_disabled'
    # The real switch is for the whole machine. Another file in its place, seen
    # by this process alone, does as well.
    echo 2 >"$BATS_TEST_TMPDIR/disabled"
    cover=(unshare --mount sh -c 'mount --bind "$0" \
        /proc/sys/kernel/io_uring_disabled && exec "$@"' "$BATS_TEST_TMPDIR/disabled")
    "${cover[@]}" true 2>/dev/null || skip 'we may not mount'
    machine "${cover[@]}" strace -f -o /dev/null -e signal=none \
        -e inject=io_uring_setup:error=EPERM
    assert_regex "$(because 12-uring-setup)" 'kernel.io_uring_disabled is 2: '
    assert_equal "$(helps 12-uring-setup)" 'As root: sysctl kernel.io_uring_disabled=0'
}

# bats test_tags=deep
@test "of all programs, just those of 12 to 19 lack something without io_uring" {
    need_uring
    need_aio
    need_filter
    run "$BIN/00-your-machine" --all "$FILE"
    joined
    before=$(missing | sort)
    run "$BUILD/filter" io_uring_setup EPERM "$BIN/00-your-machine" --all "$FILE"
    joined
    # (11 is a ring without the kernel.)
    assert_equal "$(comm -13 <(echo "$before") <(missing | sort))" \
        "$(comm -23 <(cd "$BIN" && printf '%s\n' 1[2-9]-* | sort) <(echo "$before"))"
}

# bats test_tags=deep
@test "where no process can be made, that is the reason, and what helps is named" {
    limited 00-your-machine
    cp "$BIN"/12-* "$here"
    run --separate-stderr "${limited[@]}" "$here/00-your-machine" /etc/passwd
    rm -r "$here"
    assert_equal "$stderr" ''
    assert_success
    joined
    assert_line 'This machine can show 0 of 1 programs.'
    assert_line 'missing: 12-uring-setup, cold reads, direct reads'
    assert_regex "$(because 12-uring-setup)" '^making a process: .*the limit of processes'
    assert_regex "$(helps 12-uring-setup)" 'ulimit -u'
}

# --- The file -------------------------------------------------------------------------------

@test "cold reads: a page is brought in and dropped, and looked at both times" {
    need_cold
    need_strace
    pretend
    strace_calls pread64,fadvise64,mincore,openat "$THERE/00-your-machine" "$FILE"
    assert_success
    assert_regex "$output" "Reads of ${FILE##*/}: cold yes, direct (yes|no)\\."
    order=$(grep -oE "(pread64\\([0-9]+<[^>]*/sample-|fadvise64.*DONTNEED|mincore)" \
        "$STRACE_LOG" | sed -E 's/[(<].*//' | tr '\n' ' ')
    assert_regex "$order" '^pread64 mincore fadvise64 mincore '
    calls openat "$FILE" | grep -q O_DIRECT
}

# The code of a running program is mapped, and so can't be dropped.
@test "a page that stays is no cold read: mapped, or on tmpfs" {
    need_cold
    pretend
    FILE=$THERE/00-your-machine
    sync "$FILE"
    ask
    assert_line --partial 'Reads of 00-your-machine: cold no'
    assert_regex "$(because 'cold reads')" '^a page of 00-your-machine stays in the page cache'
    assert_regex "$(helps 'cold reads')" '^sync FILE'

    [[ $(stat -f -c %T /dev/shm 2>/dev/null) == tmpfs && -w /dev/shm ]] ||
        skip '/dev/shm is no tmpfs to write to'
    FILE=$(mktemp /dev/shm/your-machine.XXXXXX)
    head -c "$PAGE" /dev/zero >"$FILE"
    run --separate-stderr "$THERE/00-your-machine" "$FILE"
    rm "$FILE"
    joined
    assert_line --partial 'cold no, direct no'
    assert_regex "$(because 'cold reads')" 'tmpfs, which is in memory'
}

# bats test_tags=deep
@test "who may not know which pages are cached is told so, and so is who can't map the file" {
    pretend
    if [[ -e /sys/kernel/mm/transparent_hugepage/enabled ]]; then
        FILE=/sys/kernel/mm/transparent_hugepage/enabled
        ask
        assert_line --partial 'cold no, direct no'
        assert_regex "$(because 'cold reads')" "^mincore\\(2\\) does not tell .*can't be mapped"
    fi
    [[ $(id -u) == 0 ]] || skip 'only root can become somebody else'
    limited 00-your-machine
    run --separate-stderr setpriv --reuid=65534 --regid=65534 --clear-groups \
        "$here/00-your-machine" /etc/passwd
    rm -r "$here"
    assert_success
    joined
    assert_line 'Reads of passwd: cold no, direct no.'
    assert_regex "$(because 'cold reads')" '^mincore\(2\) does not tell .* the file is not yours'
}

# bats test_tags=deep
@test "O_DIRECT: what a file system refuses is missing" {
    need_strace
    need_cold
    pretend
    run -0 --separate-stderr strace -f -o /dev/null -P "$FILE" -e signal=none \
        -e inject=openat:error=EINVAL:when=3 "$THERE/00-your-machine" "$FILE"
    joined
    # The first is main's look, the second and third are the child's: with and without.
    assert_line --regexp '^Reads of .*: cold yes, direct (yes|no)\.$'
    strace_calls openat "$THERE/00-your-machine" "$FILE"
    nth=$(grep -c . < <(calls openat "$FILE"))
    run -0 --separate-stderr strace -f -o "$BATS_TEST_TMPDIR/log" -P "$FILE" -e signal=none \
        -e inject=openat:error=EINVAL:when=2 "$THERE/00-your-machine" "$FILE"
    joined
    grep -q 'O_DIRECT.*INJECTED' "$BATS_TEST_TMPDIR/log"
    assert_line --partial "cold yes, direct no"
    assert_regex "$(because 'direct reads')" 'with O_DIRECT: Invalid argument'
    ((nth >= 3))
}

# bats test_tags=deep
@test "in a container's conditions: on overlayfs, without /sys" {
    need_cold
    unshare -m true 2>/dev/null || skip 'we may not mount'
    pretend
    mkdir "$BATS_TEST_TMPDIR"/{lower,upper,work,merged}
    cp "$FILE" "$BATS_TEST_TMPDIR/lower/file"
    sync "$BATS_TEST_TMPDIR/lower/file"
    run --separate-stderr unshare -m sh -c 'cd "$1" &&
        mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged &&
        umount -l /sys && ! [ -e /sys/kernel ] || exit 77
        exec "$2" --all merged/file' sh "$BATS_TEST_TMPDIR" "$THERE/00-your-machine"
    [[ $status != 77 ]] || skip "no overlayfs here: $(one_line "$stderr")"
    assert_equal "$stderr" ''
    assert_success
    assert_line --partial 'Reads of file: cold yes, direct '
    assert_line --partial 'file system: overlay'
}

# bats test_tags=deep
@test "a newline in the name of a file does not become a line of the answer" {
    pretend
    FILE=$BATS_TEST_TMPDIR/$'a\nb'
    cp "$THERE/00-your-machine" "$FILE"
    "$FILE" --help >/dev/null
    run --separate-stderr "$THERE/00-your-machine" "$FILE"
    joined
    assert_line --partial 'Reads of a?b: cold '
    FILE=/dev/shm/$'your-machine\n'$$
    [[ $(stat -f -c %T /dev/shm 2>/dev/null) == tmpfs && -w /dev/shm ]] ||
        skip '/dev/shm is no tmpfs to write to'
    head -c "$PAGE" /dev/zero >"$FILE"
    run --separate-stderr "$THERE/00-your-machine" "$FILE"
    rm "$FILE"
    joined
    assert_regex "$(because 'cold reads')" "^a page of your-machine\\?$$ stays in the page cache"
    assert_regex "$(helps 'cold reads')" '^sync FILE'
}

# A letter of UTF-8 that takes two bytes, and 101 of them.
# bats test_tags=deep
@test "a long name is cut, between two letters, so that the verdict stays on one screen" {
    pretend
    FILE=$BATS_TEST_TMPDIR/x$(printf '\303\244%.0s' {1..100})
    head -c "$PAGE" /dev/zero >"$FILE"
    sync "$FILE"
    ask
    assert_line --partial "Reads of x$(printf '\303\244%.0s' {1..19})...: cold "
}

# bats test_tags=deep
@test "a file must be there, unless it is the sample" {
    run -1 --separate-stderr "$ME" "$FILE.missing"
    assert_equal "$stderr" \
        "00-your-machine: opening $FILE.missing: No such file or directory"
    assert_equal "$output" ''

    need_strace
    pretend
    run -0 --separate-stderr strace -f -o /dev/null -P "$BUILD/sample.data" \
        -e inject='?access,?faccessat,?faccessat2:error=ENOENT' "$THERE/00-your-machine"
    joined
    assert_line 'Reads of sample.data: cold no, direct no.'
    assert_line 'missing: cold reads, direct reads'
    assert_regex "$(because 'cold reads')" '^no sample file yet; .* makes it$'
}

# --- What --all says, others say too --------------------------------------------------------

# report [COMMAND]...: run it alone with --all, so that only the file and the report are
# asked.
report() {
    pretend
    run --separate-stderr in_time "$@" "$THERE/00-your-machine" --all "$FILE"
    assert_equal "$stderr" ''
    assert_success
    joined
}

# bats test_tags=deep
@test "the kernel, its filter and its limit are those of uname, /proc and ulimit" {
    report env
    assert_equal "$(fact kernel)" "$(uname -r) ($(uname -m))"
    if grep -q '^Seccomp:[[:space:]]*2' /proc/self/status; then
        assert_regex "$(fact 'seccomp filter')" '^in force'
    else
        assert_equal "$(fact 'seccomp filter')" none
        need_filter
        report "$BUILD/filter" io_setup EPERM
        assert_regex "$(fact 'seccomp filter')" '^in force'
    fi
    ulimit -S -l 60
    report env
    assert_equal "$(fact 'memlock limit')" '60 KiB'
}

# bats test_tags=deep
@test "each line is printed once, and none is wider than 80 columns" {
    need_strace
    pretend
    run -0 --separate-stderr strace -f -o /dev/null -e signal=none \
        -e inject=io_uring_setup,io_setup:error=EPERM "$THERE/00-your-machine" --all "$FILE"
    refute_output --regexp $'(^|\n)[^\n]{81}'
    assert_equal "$(sed -n 's/^\([^ ][^:]*\): .*/\1/p' <<<"$output" | sort | uniq -d)" ''
    assert_line --partial 'opcodes: missing, because'
}

# raw_setup: the io_uring_setup() calls of a report, all numbers in hexadecimal.
raw_setup() {
    pretend
    strace -f -X raw -o "$BATS_TEST_TMPDIR/raw" -e signal=none -e trace=io_uring_setup \
        "$@" "$THERE/00-your-machine" --all "$FILE"
}

# bats test_tags=deep
@test "io_uring: strace sees the same features and flags" {
    need_uring
    need_strace
    run -0 raw_setup
    joined
    # The first ring that is asked for features: as many names as bits.
    local bits names bit
    bits=$(sed -n '/features=/{s/.*features=\(0x[0-9a-f]*\).*/\1/p;q}' "$BATS_TEST_TMPDIR/raw")
    names=$(fact features)
    for bit in 0:SINGLE_MMAP 1:NODROP 5:FAST_POLL 8:EXT_ARG 12:LINKED_FILE \
        13:REG_REG_RING 17:NO_IOWAIT; do
        if ((bits >> ${bit%:*} & 1)); then
            assert_regex " $names " " ${bit#*:} "
        else
            refute_regex " $names " " ${bit#*:} "
        fi
    done
    ((bits >> 18)) || assert_equal "$(wc -w <<<"$names")" \
        "$(perl -e 'print unpack("%32b*", pack("L", hex shift))' "$bits")"
    local flag
    for flag in 0x8:CQSIZE 0x1:IOPOLL 0x2:SQPOLL 0x80:SUBMIT_ALL \
        0x100:COOP_TASKRUN 0x1000:SINGLE_ISSUER 0x3000:DEFER_TASKRUN; do
        if grep "flags=${flag%:*}," "$BATS_TEST_TMPDIR/raw" | grep -qv '= -1'; then
            refute_regex "$(fact 'set-up flags')" "missing.* ${flag#*:} "
            assert_regex " $(fact 'set-up flags') " " ${flag#*:} "
        else
            assert_regex "$(fact 'set-up flags')" "missing:.* ${flag#*:} "
        fi
    done
}

# need_poke: strace writes into the kernel's answers as this machine has its bytes.
need_poke() {
    need_uring
    need_strace
    [[ $(printf '\1\0' | od -An -d) =~ ^\ *1$ ]] || skip 'not a little-endian machine'
}

# bats test_tags=deep
@test "a feature bit that nobody knows is shown as a number" {
    need_poke
    run -0 raw_setup
    bits=$(sed -n '/features=/{s/.*features=\(0x[0-9a-f]*\).*/\1/p;q}' "$BATS_TEST_TMPDIR/raw")
    # In struct io_uring_params: 4 and 8 entries, three numbers that are 0, and then the
    # features, with one bit more.
    bits=$(perl -e 'print unpack "H*", pack "L<6", 4, 8, 0, 0, 0, hex(shift) | 1 << 30' "$bits")
    run -0 raw_setup -e inject=io_uring_setup:poke_exit=@arg2="$bits":when=1
    joined
    assert_regex "$(fact features)" ' and 0x40000000, newer than this program$'
}

# bats test_tags=deep
@test "opcodes: what the kernel's table has not is missing, with the Linux that brought it" {
    need_poke
    # In struct io_uring_probe: 16 bytes, and then for each opcode eight, the third of
    # them 1 if it is there. All of the first 35 are, but for READ (22) and RENAMEAT.
    table=$(perl -e 'print "22" . "23" . "00" x 14,
        map { sprintf "%02x00%s00" . "00" x 4, $_, $_ == 22 || $_ == 35 ? "00" : "01" } 0 .. 35')
    report strace -f -o /dev/null -e signal=none -e trace=io_uring_register \
        -e inject=io_uring_register:poke_exit=@arg3="$table"
    assert_regex "$(fact opcodes)" \
        '^NOP WRITE .* - missing: READ \(Linux 5\.6\) RENAMEAT \(Linux 5\.11\)$'
    # And without a table nothing is said of single ones.
    report strace -f -o /dev/null -e signal=none -e inject=io_uring_register:error=EINVAL
    assert_regex "$(fact opcodes)" '^missing, because registering .* too old'
}

# bats test_tags=source,deep
@test "each request and flag that a chapter uses is asked for" {
    report env
    names=" $(fact opcodes) $(fact 'set-up flags') "
    used=$(cd "$ROOT" && {
        grep -RhoE --exclude=probe.c 'IORING_OP_[A-Z_]+' chapters common/*.c |
            sed 's/IORING_OP_//'
        grep -RhoE 'IORING_SETUP_[A-Z_]+' --include='*.c' chapters | sed 's/IORING_SETUP_//'
        grep -RhoE 'io_uring_prep_[a-z_0-9]+' --include='*.c' chapters common/server |
            sed -E 's/io_uring_prep_//; s/multishot_|_multishot|_direct//g
                s/^cancel.*/async_cancel/; s/^timeout_.*/timeout/; s/^poll_multi.*/poll_add/
                s/^rename$/renameat/; s/^open$/openat/' | tr "[:lower:]" "[:upper:]"
    } | grep -vE '^(LAST|PROVIDE_BUFFERS|NO_SQARRAY|R_DISABLED)$' | sort -u)
    [[ $(wc -w <<<"$used") -gt 15 ]]
    for name in $used; do
        [[ $names == *" $name "* ]] || problem "$name is not asked for"
    done
    no_problems
}

# flags ERROR WHEN: the report where the rings with flags end so. Each question is a process
# of its own, so strace counts each one's calls from 1. The first ring of the flags is
# without any.
flags() {
    report strace -f -o "$BATS_TEST_TMPDIR/log" -e signal=none -e trace=io_uring_setup \
        -e inject=io_uring_setup:error="$1":when="$2"
}

# bats test_tags=deep
@test "a flag that is refused or unknown is missing, the others are not" {
    need_uring
    need_strace
    flags EPERM 4
    grep 'INJECTED' "$BATS_TEST_TMPDIR/log" | grep -q SQPOLL
    assert_regex "$(fact 'set-up flags')" \
        '^CQSIZE IOPOLL SUBMIT_ALL .* - missing:.* SQPOLL \(Operation not permitted\)'
    flags EINVAL 8
    assert_regex "$(fact 'set-up flags')" 'missing: DEFER_TASKRUN \(Linux 6.1\)$'
}

@test "a flag that finds no memory is there" {
    need_uring
    need_strace
    report env
    right=$(fact 'set-up flags')
    flags ENOMEM 2+
    assert_equal "$(fact 'set-up flags')" "$right"
}

# bats test_tags=deep
@test "Linux AIO: its requests are made, and what a kernel does not know is missing" {
    need_aio
    need_strace
    pretend
    strace_calls io_submit,io_getevents "$THERE/00-your-machine" --all "$FILE"
    assert_line 'Linux AIO: works'
    assert_line 'its requests: poll fsync'
    calls io_submit | grep -q 'IOCB_CMD_POLL.*= 1$'
    calls io_submit | grep -q 'IOCB_CMD_FSYNC.*= 1$'
    assert_equal "$(count_calls io_getevents 'res=1,')" 1 # POLLIN
    report strace -f -o /dev/null -e signal=none -e inject=io_submit:error=EINVAL
    assert_equal "$(fact 'its requests')" '- missing: poll (Linux 4.19) fsync (Linux 4.18)'
    # None taken, and no errno: that of the call before must not be blamed.
    report strace -f -o /dev/null -e signal=none -e inject=io_submit:retval=0
    assert_equal "$(fact 'its requests')" \
        '- missing: poll (Resource temporarily unavailable) fsync (Resource temporarily unavailable)'
}

# bats test_tags=deep
@test "the file system is that of stat -f, and one without a name is a number" {
    report env
    name=$(stat -f -c %T "$FILE")
    case $name in
        ext2/ext3) name=ext4 ;;
        v9fs) name=9p ;;
        fuseblk) name=fuse ;;
        overlayfs) name=overlay ;;
    esac
    assert_regex "$(fact 'file system')" "^($name|number 0x$(stat -f -c %t "$FILE")$)"
    FILE=/sys/kernel/mm/transparent_hugepage/enabled
    [[ -e $FILE ]] || skip '/sys is not mounted, or has no such file'
    report env
    assert_equal "$(fact 'file system')" "number 0x$(stat -f -c %t /sys)"
}

# bats test_tags=deep
@test "the alignment is what statx tells, and a read that keeps to it works" {
    need_strace
    pretend
    strace_calls statx "$THERE/00-your-machine" --all "$FILE"
    joined
    [[ $(fact alignment) =~ ^memory\ ([0-9]+)\ bytes,\ offset\ and\ length\ ([0-9]+)$ ]] ||
        skip "no alignment here: $(fact alignment)"
    calls statx | grep -q STATX_DIOALIGN
    dd if="$FILE" of=/dev/null bs="${BASH_REMATCH[2]}" skip=1 count=1 iflag=direct
}

# bats test_tags=deep
@test "--check always says ready, at once" {
    need_strace
    run -0 --separate-stderr strace -f -o "$BATS_TEST_TMPDIR/log" \
        -e trace=io_uring_setup,io_setup,clone,fork,vfork "$ME" --check
    assert_equal "$output$stderr" ''
    run -1 grep -E 'io_|clone|fork' "$BATS_TEST_TMPDIR/log"
}
