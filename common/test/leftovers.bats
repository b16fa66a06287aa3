#!/usr/bin/env bats
#
# What does a program leave behind when it is ended? Into a pipe that nobody
# reads, and by a signal at any of those system calls at which there is something
# that must go: from the call that creates a file or a folder to the one that
# removes it, from fork() to wait(). Then its folder must be empty, all its
# processes gone, and its end that of the signal.

load helpers

setup() {
    set +T # bats looks at every command otherwise.
    FILE=$(make_file $((32 * PAGE)))
    scratch "$BATS_TEST_TMPDIR"
}

# scratch FOLDER: all that a program makes goes in here from now on, its scratch
# files and what it is told to write.
scratch() {
    LOG=$1/log OUT=$1/out ERR=$1/err
    export TMPDIR=$1/scratch
    mkdir -p "$TMPDIR"
}

# alone COMMAND...: run it, and look at what is left. The end of a pipe that all
# its processes inherit tells whether the last one is gone. $stdout is where its
# output goes; "closed" is a pipe without a reader. Sets $status.
alone() {
    status=0
    perl -e '
        $^F = 255; # All descriptors stay open in the program.
        my $stdout = shift;
        pipe(my $gone, my $held) && pipe(my $reader, my $writer) or die;
        close $reader;
        my $child = fork // die;
        if ($child == 0) {
            close $gone;
            # bash lets what it runs in the background ignore these.
            $SIG{$_} = "DEFAULT" for qw(INT QUIT);
            ($stdout eq "closed" ? open(STDOUT, ">&", $writer)
                                 : open(STDOUT, ">", $stdout)) or die;
            close $writer;
            exec "timeout", "--kill-after=5", 60, @ARGV;
        }
        close $held;
        waitpid($child, 0);
        my $status = $?;
        vec(my $set = "", fileno $gone, 1) = 1;
        print STDERR "a process is left\n" unless select($set, undef, undef, 20);
        exit($status & 127 ? 128 + ($status & 127) : $status >> 8);
        ' "${stdout:-$OUT}" "$@" 2>"$ERR" </dev/null || status=$?
    ((status != 124)) || problem "$CALLED: hangs"
    ! grep -q '^a process is left' "$ERR" || problem "$CALLED: a process is left"
    nothing_left
}

# nothing_left: but what the command was told to write.
nothing_left() {
    local left
    left=$(find "$TMPDIR" -mindepth 1 ! -path "$TMPDIR/result")
    [[ ! $left ]] || problem "$CALLED: leaves ${left//$TMPDIR\//}"
    find "$TMPDIR" -mindepth 1 -delete
}

# way PROGRAM WAY: set $command to it, and $made to how what it makes is
# named, in so far as it makes it in this way only. False if there is no such way.
way() {
    less_work "$1"
    command=("$BIN/$1" "${less[@]}") made=$TMPDIR/
    case $2 in
        plain) ! takes "$1" '[FILE]' || command+=("$FILE") ;;
        trace)
            command+=(--trace "$TMPDIR/result" "$FILE") made+=.in-circles.
            takes "$1" '[--trace FILE]'
            ;;
        copy)
            command+=("$FILE" "$TMPDIR/result")
            takes "$1" '[SRC DST]'
            ;;
    esac
}

# all_commands DO: run it for each way in which each program makes something. A
# few programs side by side, each in a process and a folder of its own.
all_commands() {
    local do=$1 program folder started=()
    for program in $(programs) make-sample; do
        [[ $program == make-sample ]] || shown_here "$program" || continue
        [[ $program != make-sample || ! ${ONLY-} ]] || continue
        while (($(jobs -rp | wc -l) >= 4)); do wait -n || :; done
        folder=$BATS_TEST_TMPDIR/$do/$program
        started+=("$folder")
        mkdir -p "$folder"
        (
            scratch "$folder"
            # shellcheck disable=SC2034 # no_problems reads it.
            problems=()
            ways "$do" "$program"
            no_problems >"$folder/problems" || :
            : >"$folder/finished"
        ) 3>&- &
    done
    wait
    for folder in "${started[@]}"; do
        [[ -e $folder/finished ]] || problem "${folder##*/}: its test broke off"
        [[ ! -s $folder/problems ]] || problem "$(cat "$folder/problems")"
    done
}

# ways DO PROGRAM
ways() {
    local way
    if [[ $2 == make-sample ]]; then
        command=("$BUILD/make-sample" "$TMPDIR/result") made=$TMPDIR/
        "$1"
        return
    fi
    for way in plain trace copy; do
        ! way "$2" "$way" || "$1"
    done
}

# moments: those calls in the log at which there is something that must go, each
# as its name, and which of its name it is. Of many of one name the first two and
# the last two.
moments() {
    perl -e '
        my $made = quotemeta shift;
        my (%seen, %there, %at);
        while (<STDIN>) {
            my ($call, $about) = /^(\w+)\((.*)/ or next;
            my ($name) = $about =~ /"($made[^"]*)"/;
            my $done = !/ = -1 /;
            $seen{$call}++;
            $there{$name} = 1 if $done && /^mkdir.*"$made|^open.*"$made.*O_CREAT/;
            $there{child}++ if $done && /^(v?fork|clone3?)\b(?!.*CLONE_THREAD)/;
            push @{$at{$call}}, $seen{$call} if %there && /^(?!syscall_|exit)/;
            delete $there{$name} if $done && /^(unlink|rmdir|rename)/;
            delete $there{child} if $done && /^wait4/ && !--$there{child};
        }
        for my $call (sort keys %at) {
            my @all = @{$at{$call}};
            splice @all, 2, -2 if @all > 4;
            print "$call $_\n" for @all;
        }' "$made" <"$LOG"
}

# They end a program that says nothing about them. SIGQUIT is Ctrl-\.
SIGNALS=(QUIT INT TERM HUP PIPE ALRM USR1 XCPU)

# end_anywhere: $command, once for each moment, by one signal after the other.
end_anywhere() {
    local call nth signal number=0
    CALLED="${command[*]##*/}"
    strace -o "$LOG" -e signal=none "${command[@]}" >"$OUT" 2>"$ERR" </dev/null ||
        problem "$CALLED: status $?: $(cat "$ERR")"
    nothing_left
    while read -r call nth; do
        signal=${SIGNALS[number++ % ${#SIGNALS[@]}]}
        CALLED="${command[*]##*/}, SIG$signal in $call number $nth"
        alone strace -o "$LOG.injected" -e trace="$call" -e signal=none \
            -e inject="$call:signal=$signal:when=$nth" "${command[@]}"
        # How often a program waits is up to the disk.
        (($(grep -c "^$call(" "$LOG.injected") >= nth)) || continue
        : >"$BATS_TEST_TMPDIR/ended"
        ((status == 128 + $(kill -l "$signal"))) ||
            problem "$CALLED: status $status, not by the signal: $(cat "$ERR")"
    done < <(moments)
}

# into_a_closed_pipe: $command. A copy says nothing there.
into_a_closed_pipe() {
    CALLED="${command[*]##*/} into a closed pipe"
    [[ $CALLED != *' sample-'*' result '* && $CALLED != make-sample* ]] || return 0
    stdout=closed alone "${command[@]}"
    ((status == 128 + 13)) || problem "$CALLED: status $status, not 141"
}

@test "into a pipe that nobody reads: ends by SIGPIPE, and leaves nothing" {
    all_commands into_a_closed_pipe
    no_problems
}

@test "a signal at any call while something is there that must go: nothing is left" {
    need_strace
    all_commands end_anywhere
    [[ -e $BATS_TEST_TMPDIR/ended ]] || problem 'no signal ever came'
    no_problems
}

# hanging NAME: a program that kills its parent and goes on.
hanging() {
    mkdir -p "$BATS_TEST_TMPDIR/hanging"
    printf '#!/bin/sh\nkill -QUIT $PPID\nexec sleep 100\n' \
        >"$BATS_TEST_TMPDIR/hanging/$1"
    chmod +x "$BATS_TEST_TMPDIR/hanging/$1"
}

@test "what a program has started ends with it" {
    hanging 01-hanging
    cp "$BIN/00-your-machine" "$BATS_TEST_TMPDIR/hanging"
    CALLED='00, killed by a chapter'
    alone "$BATS_TEST_TMPDIR/hanging/00-your-machine"
    assert_equal "$status" 131

    hanging fio
    hanging gnuplot
    CALLED='20, killed by fio'
    alone env PATH="$BATS_TEST_TMPDIR/hanging:$PATH" "$BIN/20-race" --rounds 1 \
        --engines read --against-fio "$FILE"
    assert_equal "$status" 131
    CALLED='20, killed by gnuplot'
    alone env PATH="$BATS_TEST_TMPDIR/hanging:$PATH" "$BIN/20-race" --rounds 1 \
        --engines read --plot "$TMPDIR/result" "$FILE"
    assert_equal "$status" 131
    no_problems
}

# --- The tests above can fail -------------------------------------------------------

@test "a program that leaves things behind is found out" {
    need_strace
    BIN=$BATS_TEST_TMPDIR/bin ONLY=99
    mkdir "$BIN"
    cc -x c -o "$BIN/99-careless" - <<'END'
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char path[4096];

    if (argc > 1 && strcmp(argv[1], "--help") == 0)
        return puts("usage: 99-careless [FILE]") < 0;
    if (argc > 1 && strcmp(argv[1], "--check") == 0)
        return 0;
    snprintf(path, sizeof(path), "%s/careless", getenv("TMPDIR"));
    close(open(path, O_CREAT | O_WRONLY, 0600));
    puts("working");
    fflush(stdout);
    unlink(path);
    pid_t child = fork();
    if (child == 0) {
        sleep(50);
        _exit(0);
    }
    getppid();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}
END
    all_commands into_a_closed_pipe
    all_commands end_anywhere
    run no_problems
    assert_failure
    assert_output --partial '99-careless sample-131072 into a closed pipe: leaves careless'
    assert_output --partial ' in close number 3: leaves careless'
    assert_output --partial ' in getppid number 1: a process is left'
}
