#!/usr/bin/env bats
#
# What becomes of a program when the kernel says no? Every system call that a
# program makes is made to fail, one at a time, by strace. The program never
# gets to the kernel with it, only the error back. Then either the output is
# right all the same, or there is a message and a non-zero exit status. Never a
# hang, a crash, or a success that is none.
#
# Which calls are the program's own, and not the loader's or the C library's
# when it starts? A run with wrong usage starts in the same way, and then does
# nothing but complain. So the program's own calls begin with the first one of a
# kind that is not in the log of such a run.

load helpers

setup() {
    need_strace
}

# What a call is about: its arguments, less what may differ from one call to its
# like. In perl, for own_calls and answers.
ABOUT='
    sub about {
        my ($name, $about) = @_;
        $about =~ s{ += [^=]*$| *<unfinished \.\.\.>$| */\*.*?\*/}{}g;
        # What was read or written, or where in memory it should have gone; what is
        # in a structure; a random name.
        $about =~ s/"(?:[^"\\]|\\.)*"(?:\.\.\.)?/X/g
            if $name =~ /read|write|rand|dents|io_|recv/;
        1 while $about =~ s/\[[^][]*\]|\{[^{}]*\}/X/g;
        $about =~ s/0x[0-9a-f]+|\bNULL\b/X/g;
        $about =~ s/\.[A-Za-z0-9]{6}"/.RANDOM"/g;
        # Sizes and offsets, but not the descriptor, which comes first.
        $about =~ s/\d{2,}|(?<=[, ])\d+(?=[),]|$)/N/g;
        # Which signal. And strace knows only of a call that has returned what
        # came out of it: so up to that, but not in an mmap(), where it goes in.
        $about =~ s/\bSIG[A-Z]\w+/SIG/;
        $about =~ s/(?<=.), X\b.*| => X.*//;
        $about =~ s/(?:, *[XN]?)*\)?$//;
        return $about;
    }
'

# own_calls START RUN [OTHER]: from logs of strace, print a line for each call of
# RUN from the first one of a kind that is not in START, less the kinds that are
# in OTHER: name, which one of its name it is, and what it is about.
own_calls() {
    perl -e "$ABOUT"'
        my ($start, $run, $other) = map {
            open(my $log, "<", $_) or die "$_: $!\n";
            my ($pid, %seen, @calls);
            while (<$log>) {
                my ($by, $name, $rest) = /^(\d+) +(\w+)\((.*)/ or next;
                # Not execve(), whose arguments differ. Not its children.
                next if $name eq "execve" || $by != ($pid //= $by);
                push @calls, [$name, ++$seen{$name}, about($name, $rest)];
            }
            \@calls;
        } @ARGV;
        my %starts = map { ("$_->[0] $_->[2]" => 1) } @$start;
        my %others = map { ("$_->[0] $_->[2]" => 1) } @{$other // []};
        shift @$run while @$run && $starts{"$run->[0][0] $run->[0][2]"};
        print "@$_\n" for grep { !$others{"$_->[0] $_->[2]"} } @$run;' "$@"
}

# first_and_last: of those calls that are about the same thing, each line with
# which of the two it is, before what it is about.
first_and_last() {
    perl -ne '
        my ($name, $nth, $about) = /^(\w+) (\d+) (.*)/;
        my $key = "$name $about";
        push @keys, $key if !$first{$key};
        $first{$key} //= $nth;
        $last{$key} = $nth;
        END {
            for (@keys) {
                my ($name, $about) = split(/ /, $_, 2);
                print "$name $first{$_} first $about\n";
                print "$name $last{$_} last $about\n" if $last{$_} != $first{$_};
            }
        }'
}

# errors CALL: how it may fail, by its manual page. Those that set something up
# are also refused by seccomp filters (EPERM) and kernels without it (ENOSYS).
errors() {
    # Under a sanitizer, most calls for memory are the sanitizer's, which gives
    # up by design.
    if [[ $SANITIZED && $1 == @(mmap|munmap|mprotect|brk|madvise|sigaltstack) ]]
    then
        return
    fi
    case $1 in
        # Newer than this strace, which can't break what it has no name for.
        syscall_0x*) ;;
        # These can't fail, says the manual. (After futex() libc aborts.)
        # Two are called by chance: libc throws dice for a file's name, and libuv
        # yields when another thread is in its way.
        getrandom | sched_yield) ;;
        # This one says no by giving the old break back. strace can't, and libc
        # would take the error for an address.
        brk) ;;
        # This one the kernel makes by itself, when a sleep that was cut short
        # goes on.
        restart_syscall) ;;
        exit_group | exit | umask | get*id | futex | rt_sigreturn) ;;
        io_setup) echo EPERM ENOSYS EAGAIN ENOMEM ;;
        io_uring_setup) echo EPERM ENOSYS ENOMEM EMFILE ;;
        io_uring_register) echo EPERM ENOSYS EINVAL ENOMEM ;;
        io_uring_enter) echo EINTR EAGAIN EBUSY EIO ;;
        io_submit) echo EAGAIN EIO ENOMEM ;;
        io_getevents | io_pgetevents) echo EINTR EIO ;;
        io_destroy) echo EINVAL ENOSYS ;;
        mmap) echo ENOMEM EPERM ENOSYS ;;
        munmap | mremap | mprotect | madvise) echo ENOMEM ;;
        pread64 | preadv* | read | readv) echo EINTR EIO ENOMEM ;;
        pwrite64 | pwritev* | write | writev) echo EINTR EIO ENOSPC ;;
        open | openat*) echo EINTR EACCES EMFILE ;;
        close) echo EINTR EIO ;;
        fsync | fdatasync) echo EINTR EIO ENOSPC ;;
        *stat | *statat | statx | statfs | fstatfs) echo EIO EACCES ;;
        rename* | unlink* | *chmod*) echo EIO EACCES ;;
        fadvise64) echo EINVAL ENOSYS ;;
        mincore) echo EAGAIN ENOSYS ;;
        ioctl) echo EIO ENOTTY ;;
        rt_sig*) echo EINVAL ;;
        clone* | fork | vfork) echo EAGAIN ENOMEM ENOSYS ;;
        *) echo EPERM ENOSYS ;;
    esac
}

# must_go_on CALL ERROR: a signal has cut the call short, no more. Whoever reads
# blocks asks again.
must_go_on() {
    [[ $sums && $2 == EINTR ]] &&
        [[ $1 == @(pread64|io_getevents|io_pgetevents|io_uring_enter) ]]
}

# ask QUESTION [ARGUMENT]...: set $answer. One process answers a thousand of them,
# since to start one takes longer than most answers.
ask() {
    local IFS=$'\t'
    echo "$*" >&"${ANSWERS[1]}"
    IFS= read -r -d '' -u "${ANSWERS[0]}" answer
}

# essence: set $answer to what no fault may change of the output in $OUT. The
# facts of time go: strace makes every call slow, and what is not awaited has time
# to finish. So do the count of everybody's AIO requests, and that of the pages
# which 03 had read in: the kernel can take one back before it is counted; and of
# calls in a row of 16, 18 and 20, where one that is interrupted is made again.
# Lines that go on in the next become one line.
essence() { ask essence "$OUT"; }

# answers: for each line of stdin, a question and its arguments with tabs between
# them, the answer and a zero byte.
#
# essence FILE: what no fault may change of it.
#
# inject OUT ERR LOG CALL NTH ABOUT COMMAND...: run the command, which strace makes
# fail. Its exit status, 124 where it hangs; then which call of its name the fault
# has come to, 0 for none; and which one it was meant for: of those about that,
# the one nearest to NTH.
answers() {
    exec perl -CSD -e "$ABOUT"'
        use POSIX "_exit";
        require shift;
        $| = 1;
        sub essence {
            my ($name) = @_;
            open(my $file, "<", $name) or die "$name: $!\n";
            for (normalize(do { local $/; <$file> } // "")) {
                s/\n {4,}/ /g;
                s/^RANDOM \K.*//mg;
                s/^4 KiB, 100 x N ms \K\d+(?= calls)/N/mg;
                s/^(?:\d+ at a time|\+ [^:\n]+) N N \K[\d.]+/N/mg;
                s/^(?:read|advise|threads|posix-aio) N, \K[\d.]+(?= calls)/N/mg;
                s/^(?:most\ in\ flight|main\ thread\ blocked
                    |sleeps\ in\ submit|threads|ticks\ during\ the\ reads|total
                    |completed):\ \K.*//xmg;
                return $_;
            }
        }
        sub status_of {
            my ($out, $err, @command) = @_;
            my ($hangs, $pid) = (0, fork // die "fork: $!\n");
            if (!$pid) {
                setpgrp(0, 0);
                # bash lets what it runs in the background ignore these.
                $SIG{$_} = "DEFAULT" for qw(INT QUIT);
                open(STDIN, "<", "/dev/null") && open(STDOUT, ">", $out)
                    && open(STDERR, ">", $err) && exec(@command);
                _exit(127);
            }
            local $SIG{ALRM} = sub { $hangs = 1; kill("KILL", -$pid) };
            alarm(60);
            waitpid($pid, 0);
            alarm(0);
            return $hangs ? 124 : $? & 127 ? 128 + ($? & 127) : $? >> 8;
        }
        sub inject {
            my ($out, $err, $log, $call, $wanted, $about, @command) = @_;
            my $status = status_of($out, $err, @command);
            my ($pid, $nth, $injected, $meant) = (undef, 0, 0, 0);
            open(my $file, "<", $log) or die "$log: $!\n";
            while (<$file>) {
                # A signal has a line of its own, after the call.
                $injected ||= $nth
                    if /^(?:(\d+) +)?--- SIG/ && $nth && ($1 // 0) == $pid;
                # Of a call during which another thread comes to word, the
                # second line, "<... read resumed>", has the result.
                my ($by, $name, $rest) = /^(?:(\d+) +)?(?:<... )?(\w+)(?:\(| )(.*)/
                    or next;
                next if $name ne $call || ($by // 0) != ($pid //= $by // 0);
                $nth++ if !/<\.\.\./;
                $injected = $nth if $rest =~ /INJECTED/;
                $meant = $nth if about($name, $rest) eq $about
                    && !($meant && abs($meant - $wanted) <= abs($nth - $wanted));
            }
            return "$status $injected $meant";
        }
        my %answer = (essence => \&essence, inject => \&inject);
        while (my $question = <STDIN>) {
            chomp $question;
            my ($what, @of) = split(/\t/, $question, -1);
            print $answer{$what}->(@of), "\0";
        }' "$ROOT/common/test/normalize.pl"
}

# no_half_file: is the trace the old one, or a whole new one, and alone?
no_half_file() {
    local line
    { read -r line <"$TRACE" && [[ $line == precious ]]; } || is_json "$TRACE" ||
        problem "$CALLED: the trace is neither the old one nor a new one"
    local left=("$FOLDER"/*)
    ((${#left[@]} > 1)) || return 0
    [[ $1 == unlink* ]] || problem "$CALLED: leaves ${left[*]}"
    rm -f "$FOLDER"/*
}

# inject FAULT CALL NTH ABOUT: run $command with that done to one call. Sets $status,
# and $number to which call of that name it was meant for in this run: how often
# a program looks or waits differs from run to run, and so do the numbers. $came
# says which one it came to; 0 is none.
inject() {
    local answer shown=none fast=("${fast[@]}")
    # (With a filter, strace 6.1 injects no signal.)
    [[ $1 != signal=* ]] || shown=${1#*=} fast=()
    echo precious >"$TRACE"
    ask inject "$OUT" "$ERR" "$LOG" "${@:2}" "${small[@]}" \
        strace "${fast[@]}" -o "$LOG" -e signal="$shown" -e trace="$2" \
        -e inject="$2:$1:when=$3" "${command[@]}"
    read -r status came number <<<"$answer"
}

# run_normally NAME: $command under strace, the log in $LOG.NAME.
run_normally() {
    CALLED="${command[*]}" status=0
    "${small[@]}" strace -f -o "$LOG.$1" "${command[@]}" >"$OUT" 2>"$ERR" </dev/null ||
        status=$?
    ((status == 0)) || problem "$CALLED: status $status: $(cat "$ERR")"
    essence
    normal=$answer
    sums=$(grep '^checksum: ' "$OUT" || :)
}

# all_calls PROGRAM DO: run `DO CALL NTH first|last` for the first and the last
# of those calls of the program's own that are about the same thing. That sets $command
# and, for what is right, $sums and $normal. The calls that make
# the trace have a round of their own: to wait for the disk each time costs.
all_calls() {
    local program=$1 do=$2
    strace -f -o "$LOG.start" "$BIN/$program" --no-such-option \
        >"$OUT" 2>"$ERR" </dev/null || :
    less_work "$program"
    command=("$BIN/$program" "${less[@]}")
    if takes "$program" '[-n N]'; then command+=(-s "$PAGE"); fi
    if takes "$program" '[FILE]'; then command+=("$FILE"); fi
    # 16 reads the sample, 64 MiB of it. Where we may, we mount a file over it,
    # that nobody but us can see there.
    small=()
    if takes "$program" '[SRC DST]' && unshare -m true 2>/dev/null; then
        # shellcheck disable=SC2016 # for that shell
        small=(unshare -m sh -c
            'mount --bind "$0" "$BUILD/sample.data" && exec "$@"' "$FILE")
    fi
    run_normally plain
    if [[ $do != interrupt ]]; then
        each_call "$do" "$LOG.start" "$LOG.plain"
    fi

    takes "$program" '[--trace FILE]' || return 0
    # So many blocks that the trace takes more than one write().
    ! takes "$program" '[-n N]' || command+=(-n 32)
    command+=(--trace "$TRACE")
    run_normally trace
    each_call "$do" "$LOG.start" "$LOG.trace" "$LOG.plain"
}

# each_call DO START RUN [OTHER]
each_call() {
    local calls call nth which about
    calls=$(own_calls "${@:2}" | first_and_last)
    [[ $calls ]] || problem "$CALLED: makes no system call?"

    # A filter in the kernel lets all other calls run at full speed. strace can
    # do so only if it follows children, and theirs would be made to fail too.
    fast=(-f --seccomp-bpf)
    ! grep -qE '^[0-9]+ +v?(clone3?|fork)\(' "$3" || fast=()
    while read -r call nth which about; do
        "$1" "$call" "$nth" "$which" "$about"
    done <<<"$calls"
}

# aim FAULT JUDGE CALL NTH first|last ABOUT: inject this fault into that call, and
# judge what comes of it. It may come to another call, or to none: how often a
# program looks or waits before is up to the disk. Then what comes of it is judged
# all the same, and the call is aimed at once more, with its number in that run.
aim() {
    local fault=$1 judge=$2 call=$3 number=$4 came
    for _ in 1 2; do
        CALLED="${command[0]##*/}, $fault in $call number $number"
        inject "$fault" "$call" "$number" "$6"
        ((came == 0)) || "$judge" "$call" "${fault#*=}"
        ((came != number)) || return 0
        ((number)) || number=$4
    done
}

# fault CALL NTH first|last ABOUT: it fails, the first one in each way that it can.
# Of the last one the question is what has become of the work until then, and that
# is the same in each way: one will do, the last in the list.
fault() {
    local error ways
    ways=$(errors "$1")
    [[ $3 == first ]] || ways=${ways##* }
    for error in $ways; do
        wanted+=" $1:$error"
        aim "error=$error" failed "$@"
    done
}

# failed CALL ERROR: the program is to have survived it, or told.
failed() {
    injected+=" $1:$2 "
    no_half_file "$1"
    ended_well || return 0
    if ((status == 0)); then
        essence
        [[ $answer == "$normal" ]] || honest "$2" ||
            problem "$CALLED: status 0, but the output is another one:
$(diff <(echo "$normal") <(echo "$answer"))"
    elif must_go_on "$1" "$2"; then
        problem "$CALLED: gives up with status $status: $(cat "$ERR")"
    elif ((status != 1 && status != 77)); then
        problem "$CALLED: status $status: $(cat "$ERR")"
    else
        complains "${command[0]##*/}" || problem "$CALLED: no message"
    fi
}

# honest ERROR: the output is another one, but says why: a new line tells the
# error, or that something can't be told. Whoever reads blocks has read the same
# bytes, and has no other new lines. (Chapter 00 reports of the machine, and
# chapter 08 makes mistakes on purpose.)
honest() {
    local new text
    : "${texts[$1]:=$(perl -MPOSIX -e '$! = eval "POSIX::$ARGV[0]()"; print "$!"' "$1")}"
    # Where it is unknown whether the blocks are cold, 01 calls its pass "first".
    text="$1|${texts[$1]}|unknown|can't be told|did not run: |^first 0 N ms$"
    new=$(grep -vxFf <(echo "$normal") <<<"$answer") || return 1
    if [[ $sums ]]; then
        [[ $(grep '^checksum: ' "$OUT") == "$sums" ]] || return 1
        ! grep -qvE "$text" <<<"$new"
    else
        grep -qE "$text" <<<"$new"
    fi
}

# interrupt CALL NTH first|last ABOUT: Ctrl-C comes in it.
interrupt() {
    [[ $1 == exit_group ]] || aim signal=INT interrupted "$@"
}

interrupted() {
    no_half_file "$1"
    ((status == 128 + 2)) || problem "$CALLED: status $status, not 130"
}

# --- The tests -------------------------------------------------------------------

# in_parallel DO PROGRAM...: all calls of all these programs. Most of the time
# goes by waiting (io_destroy() takes 40 ms), so a few run side by side, each in
# a process and a folder of its own.
in_parallel() {
    local do=$1 program folder
    shift
    for program; do
        while (($(jobs -rp | wc -l) >= 4)); do wait -n || :; done
        folder=$BATS_TEST_TMPDIR/$program
        mkdir "$folder" "$folder/trace"
        (
            FOLDER=$folder/trace TRACE=$folder/trace/trace.json
            FILE=$(make_file $((32 * PAGE)) "$program/sample")
            LOG=$folder/log OUT=$folder/out ERR=$folder/err
            SANITIZED='' wanted='' injected=''
            declare -A texts
            coproc ANSWERS { answers; }
            ! built_with '' || SANITIZED=yes
            all_calls "$program" "$do"
            # Each has failed in each way at least once, else this proves
            # nothing.
            for fault in $(tr ' ' '\n' <<<"$wanted" | sort -u); do
                [[ $injected == *" $fault "* ]] ||
                    problem "$program: $fault never happened"
            done
            no_problems >"$folder/problems" || :
            : >"$folder/finished"
        ) 3>&- &
    done
    wait
    for program; do
        folder=$BATS_TEST_TMPDIR/$program
        [[ -e $folder/finished ]] || problem "$program: its test broke off"
        [[ ! -s $folder/problems ]] || problem "$(cat "$folder/problems")"
    done
}

@test "every system call that fails is survived, or told" {
    set +T # bats looks at every command otherwise: twice as slow.
    showing=()
    for program in $(programs); do
        shown_here "$program" && showing+=("$program")
    done
    in_parallel fault "${showing[@]}"
    no_problems
}

@test "Ctrl-C at any system call leaves nothing half-written" {
    set +T
    tracing=()
    for program in $(programs); do
        takes "$program" '[--trace FILE]' && shown_here "$program" &&
            tracing+=("$program")
    done
    in_parallel interrupt "${tracing[@]}"
    no_problems
}

# --- The test above can fail --------------------------------------------------------

@test "a program that ignores errors is found out" {
    set +T
    BIN=$BATS_TEST_TMPDIR/bin
    mkdir "$BIN"
    cc -x c -o "$BIN/99-careless" - <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char data[9] = "";

    if (argc > 1 && strcmp(argv[1], "--check") == 0)
        return 0;
    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return puts("usage: 99-careless [FILE]") < 0;
    if (argc > 1 && argv[1][0] == '-')
        return fputs("99-careless: wrong usage\n", stderr), 2;
    ssize_t n = pread(open(argv[1], O_RDONLY), data, 8, 0);
    (void)n;
    if (strlen(data) == 8)
        fclose(fopen(argv[1], "r"));
    printf("checksum: %s\n", data);
    return 0;
}
END
    in_parallel fault 99-careless
    run no_problems
    assert_failure
    # The wrong output; the crash; no output at all.
    assert_output --regexp 'error=EACCES in openat number [0-9]+: status 0, but the output is another'
    assert_output --partial ' in pread64 number '
    assert_output --regexp 'error=[A-Z]+ in openat number [0-9]+: ended by signal 11'
    assert_output --partial 'error=EIO in write number 1: status 0, but'
}
