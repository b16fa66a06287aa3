#!/usr/bin/env bats
#
# The contract that every program has with the shell, row by row as it stands in
# args.h: 0 done, 1 failed, 2 wrong usage, 77 this machine can't show it. The
# programs are found, not listed; what each takes is read from its usage line.
# What happens when system calls fail is in faults.bats.

load helpers

# bats looks at every command, to tell which one has failed: that takes as long
# as all the rest. These tests say themselves what was wrong.
setup() { set +T; }

# refuses PROGRAM [ARGUMENTS]: is this wrong usage?
refuses() {
    attempt "$@" || return 0
    ((status == 2)) || problem "$CALLED: status $status, not 2"
    [[ ! -s $OUT ]] || problem "$CALLED: wrong usage, but prints on stdout"
    complains "$1" || problem "$CALLED: does not say what is wrong"
    says "usage: $1" || problem "$CALLED: no usage line on stderr"
}

# fails PROGRAM [ARGUMENTS]: does it say what failed, and exit 1?
fails() {
    attempt "$@" || return 0
    ((status == 1)) || problem "$CALLED: status $status, not 1"
    complains "$1" || problem "$CALLED: fails without a message"
}

# right_or_fails PROGRAM [ARGUMENTS]: either is good, in silence neither.
right_or_fails() {
    attempt "$@" || return 0
    if ((status == 0)); then
        [[ -s $OUT ]] || problem "$CALLED: status 0, and no output"
    else
        ((status == 1)) || problem "$CALLED: status $status"
        complains "$1" || problem "$CALLED: fails without a message"
    fi
}

# reads_all PROGRAM CHECKSUM [ARGUMENTS]: does each of its passes come to this?
reads_all() {
    local program=$1 right=$2 sums
    shift 2
    attempt "$program" "$@" || return 0
    sums=$(sed -n 's/^checksum: //p' "$OUT" | sort -u)
    if ((status != 0)); then
        problem "$CALLED: status $status: $(cat "$ERR")"
    elif [[ $sums != "$right" ]]; then
        problem "$CALLED: checksum ${sums:-missing}, not $right"
    fi
}

# shape FILE: an output without its values: no bars, each number an N, and so is
# what stands where one can't be told.
shape() {
    perl -CSD -Mutf8 -pe 's/[█▒░▚◆━·]//g; s/-?\b(?:nan|inf|\d[\d.]*)|(?<= )-(?= |$)/N/g;
        s/\(share unknown\)/(N%)/; s/\b(?:yes|no)\b/N/g; s/ +/ /g; s/ $//' <"$1"
}

# has_one_shape PROGRAM [ARGUMENTS]: with a clock and with one that stands still.
has_one_shape() {
    local shape
    attempt "$@" || return 0
    shape=$(shape "$OUT")
    LD_PRELOAD=libcoarse.so LD_LIBRARY_PATH=$BUILD \
        ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 attempt "$@" || return 0
    ((status == 0)) || problem "$CALLED: status $status: $(cat "$ERR")"
    [[ $shape == "$(shape "$OUT")" ]] ||
        problem "$CALLED: with a clock that stands still, other lines:
$(diff <(echo "$shape") <(shape "$OUT"))"
}

# --- Words ---------------------------------------------------------------------

@test "--help says usage, an example and the page, on stdout alone" {
    for program in $(programs); do
        attempt "$program" --help || continue
        ((status == 0)) || problem "$CALLED: status $status"
        [[ ! -s $ERR ]] || problem "$CALLED: prints on stderr"
        [[ $(head -n 1 "$OUT") == "usage: $program"* ]] ||
            problem "$CALLED: does not begin with the usage"
        grep -q "^example: $program" "$OUT" || problem "$CALLED: no example"
        # NN-slug is chapters/NN-slug/slug.c, and NN-x another one in that folder.
        on_page=$(sed -n 's/^page:    //p' "$OUT")
        [[ $on_page == "chapters/${program%%-*}-"+([^/])/README.md &&
            -e $ROOT/$on_page && -e $ROOT/${on_page%/*}/${program#*-}.c ]] ||
            problem "$CALLED: does not name its page"
        ! grep -qE '^.{81}' "$OUT" ||
            problem "$CALLED: wider than 80 columns"
    done
    no_problems
}

@test "--check says ready, or why not, and nothing else" {
    for program in $(programs); do
        attempt "$program" --check || continue
        [[ ! -s $OUT ]] || problem "$CALLED: prints on stdout"
        case $status in
            0) [[ ! -s $ERR ]] || problem "$CALLED: ready, yet prints on stderr" ;;
            77) complains "$program" || problem "$CALLED: 77 without a reason" ;;
            *) problem "$CALLED: status $status" ;;
        esac
    done
    no_problems
}

# In this one and the next two the quick run tries less: the same functions of args.h
# look at the words of all programs.
# bats test_tags=deeper
@test "wrong usage is told, with the usage line on stderr, and exits 2" {
    file=$(make_file 65536)
    numbers=(0 257) sizes=(1000 17M) others=(--no-such-option)
    if [[ ${DEEP-} ]]; then
        numbers+=(-1 +1 ' 1' '' x 1x 1.5 0x10 1K 4294967297 99999999999999999999)
        sizes+=(0 -4096 '' x K 64k 64KB $((PAGE + 1)) 18014398509481984K
            17592186044416M 99999999999999999999 99999999999999999999M)
        others+=(-Z --help=now)
    fi
    for program in $(programs); do
        for bad in "${others[@]}"; do refuses "$program" "$bad"; done
        if takes "$program" '[SRC DST]'; then
            refuses "$program" "$file"
            refuses "$program" "$file" "$file-1" "$file-2"
        else
            refuses "$program" "$file" "$file"
        fi
        takes "$program" '[FILE]' || refuses "$program" "$file"
        takes "$program" '[-n N]' || refuses "$program" -n 8

        # An option that is there, but not as it should be.
        takes "$program" '[-n N]' || continue
        for bad in "${numbers[@]}"; do refuses "$program" -n "$bad" "$file"; done
        for bad in "${sizes[@]}"; do refuses "$program" -s "$bad" "$file"; done
        refuses "$program" -n 256 -s 16M "$file"
        refuses "$program" -n
        refuses "$program" -s
        refuses "$program" --trace
    done
    no_problems
}

# A chapter's own numeric option stands in the help as
#     --entries N    how many, 1 to 256 (2)
# bats test_tags=deeper
@test "a number of the chapter's own is held to the range that --help tells" {
    file=$(make_file 65536)
    for program in $(programs); do
        while read -r option least most; do
            takes "$program" "[$option N]" ||
                problem "$program: $option is not in the usage line"
            others=()
            [[ ! ${DEEP-} ]] || others=(-1 '' x "${least}x" 99999999999999999999)
            for bad in $((least - 1)) $((most + 1)) "${others[@]}"; do
                refuses "$program" "$option" "$bad"
            done
            refuses "$program" "$option"
        done < <("$BIN/$program" --help |
            sed -nE 's/^  (--[a-z-]+) +N .*, ([0-9]+) to ([0-9]+)( .*)?$/\1 \2 \3/p')
    done
    no_problems
}

# A word of its own:
#     --with WORD    which source of events: aio, epoll, poll (aio)
@test "a word of the chapter's own is one of those that --help tells" {
    for program in $(programs); do
        for option in $("$BIN/$program" --help |
            sed -nE 's/^  (--[a-z-]+) +WORD .*: .* \(.*\)$/\1/p'); do
            takes "$program" "[$option WORD]" ||
                problem "$program: $option is not in the usage line"
            for bad in '' 1 no-such-word; do
                refuses "$program" "$option" "$bad"
            done
            refuses "$program" "$option"
        done
    done
    no_problems
}

# --- Files of all kinds ---------------------------------------------------------

# bats test_tags=deep
@test "files of few bytes are read whole, to the last one" {
    # The last one is just under eight blocks of 64 KiB.
    sizes=(1 4095 4096 4097 65536 65537 524287)
    for bytes in "${sizes[@]}"; do make_file "$bytes"; done
    for program in $(programs); do
        takes "$program" '[FILE]' && shown_here "$program" || continue
        for bytes in "${sizes[@]}"; do
            file=$BATS_TEST_TMPDIR/sample-$bytes
            if takes "$program" '[-n N]'; then
                right=$(crc32_of "$file")
                reads_all "$program" "$right" "$file"
                reads_all "$program" "$right" -n 256 -s "$PAGE" "$file"
                reads_all "$program" "$right" -n 1 -s 1M "$file"
            else
                right_or_fails "$program" "$file"
            fi
        done
    done
    no_problems
}

# bats test_tags=deep
@test "what is no file with blocks in it is refused, not waited for" {
    mkfifo "$BATS_TEST_TMPDIR/fifo"
    mkdir "$BATS_TEST_TMPDIR/folder"
    : >"$BATS_TEST_TMPDIR/empty"
    for program in $(programs); do
        takes "$program" '[FILE]' && shown_here "$program" || continue
        for file in "$BATS_TEST_TMPDIR"/{fifo,folder,empty} /proc/version \
            /dev/null /dev/zero; do
            if takes "$program" '[-n N]'; then
                fails "$program" "$file"
                grep -qF "$file" "$ERR" || problem "$CALLED: does not name it"
            else
                right_or_fails "$program" "$file"
            fi
        done
    done
    no_problems
}

# bats test_tags=deep
@test "a block device is refused, to be read and as a trace, and stays as it is" {
    file=$(make_file 300032)
    block_devices "$file"
    before=$(crc32_of "$file")
    other=$(make_file $((1 << 20)))
    options=(--trace)
    ! command -v gnuplot >/dev/null || options+=(--plot)
    for program in $(programs); do
        takes "$program" '[FILE]' && shown_here "$program" || continue
        for device in "${DEVICES[@]}"; do
            fails "$program" "$device"
            grep -qF "reading $device: not a regular file" "$ERR" ||
                problem "$CALLED: says '$(cat "$ERR")'"
            for option in "${options[@]}"; do
                takes "$program" "[$option FILE]" || continue
                fails "$program" "$option" "$device" "$other"
                grep -qF "writing $device: it is a block device" "$ERR" ||
                    problem "$CALLED: says '$(cat "$ERR")'"
            done
        done
    done
    run -1 "$BUILD/make-sample" "${DEVICES[0]}"
    assert_output --partial 'it is a block device'
    sync "${DEVICES[0]}"
    assert_equal "$(crc32_of "$file")" "$before"
    no_problems
}

# bats test_tags=deep
@test "a missing file is named, with the reason" {
    for program in $(programs); do
        takes "$program" '[FILE]' && shown_here "$program" || continue
        for file in "$BATS_TEST_TMPDIR/missing" "$BATS_TEST_TMPDIR/no/such" ''; do
            fails "$program" "$file"
            grep -q "$file: No such file or directory" "$ERR" ||
                problem "$CALLED: says '$(cat "$ERR")'"
        done
    done
    no_problems
}

# That the command does make it: in tour.bats.
# bats test_tags=deep
@test "a missing sample is told, with the command that makes it" {
    need_strace
    local way
    for program in $(programs); do
        takes "$program" '[FILE]' || takes "$program" '[SRC DST]' || continue
        shown_here "$program" || continue
        way=$(strace -o /dev/null -P "$BUILD/sample.data" -e signal=none \
            -e inject='?open,openat,?access,?faccessat,?faccessat2:error=ENOENT' \
            "$BIN/$program" 2>&1) || :
        # 00 goes on without a file, and breaks long lines.
        way=$(perl -0pe 's/\n {4}/ /g' <<<"$way" |
            sed -n 's/.*: no sample file yet; \(.*\) makes it$/\1/p')
        if [[ $BUILD -ef $ROOT/build ]]; then
            [[ $way == './tour 01' ]] || problem "$program: says '$way'"
        else
            [[ $way == "cmake --build '$BUILD' --target sample" ]] ||
                problem "$program: says '$way'"
        fi
    done
    no_problems
}

# bats test_tags=deep
@test "a file that we may not read is named, with the reason" {
    file=$(make_file 65536)
    chmod 0 "$file"
    # Root may read everything, unless it lays down the right to.
    without=()
    if head -c 1 "$file" >/dev/null 2>&1; then
        without=(setpriv --bounding-set '-dac_override,-dac_read_search')
        if "${without[@]}" head -c 1 "$file" >/dev/null 2>&1 ||
            ! "${without[@]}" true; then
            skip 'this user can read every file, and setpriv can not change that'
        fi
    fi
    for program in $(programs); do
        takes "$program" '[-n N]' && shown_here "$program" || continue
        run -1 --separate-stderr "${without[@]}" "$BIN/$program" "$file"
        [[ $stderr == "$program: "*"$file: Permission denied" ]] ||
            problem "$program, unreadable file: says '$stderr'"
    done
    no_problems
}

# bats test_tags=deep
@test "names that look like options, or hold blanks, are names" {
    cp "$(make_file 65536)" "$BATS_TEST_TMPDIR/-n 1"
    right=$(crc32_of "$BATS_TEST_TMPDIR/-n 1")
    cd "$BATS_TEST_TMPDIR"
    for program in $(programs); do
        takes "$program" '[-n N]' && shown_here "$program" || continue
        reads_all "$program" "$right" -- '-n 1'
    done
    no_problems
}

# --- Output whose lines do not depend on times ------------------------------------

# bats test_tags=deep
@test "the lines of the output are the same where no time can be told" {
    file=$(make_file $((1 << 20)))
    for program in $(programs); do
        shown_here "$program" || continue
        arguments=()
        ! takes "$program" '[FILE]' || arguments=("$file")
        has_one_shape "$program" "${arguments[@]}"
    done
    no_problems
}

# --- Output that can't be written -------------------------------------------------

# fails_onto full|closed PROGRAM [ARGUMENTS]: does it say so, and exit 1?
fails_onto() {
    local to=$1 program=$2
    shift
    CALLED="$* on a stdout that is $to" ERR=$BATS_TEST_TMPDIR/.err status=0
    shift
    less_work "$program"
    set -- "$BIN/$program" "${less[@]}" "$@"
    case $to in
        full) timeout 60 "$@" >/dev/full 2>"$ERR" || status=$? ;;
        closed) timeout 60 "$@" >&- 2>"$ERR" || status=$? ;;
    esac
    ended_well || return 0
    ((status == 1)) || problem "$CALLED: status $status, not 1"
    complains "$program" || problem "$CALLED: no message"
}

# bats test_tags=deeper
@test "a stdout that is full or closed is an error" {
    file=$(make_file 65536)
    kinds=(full)
    [[ ! ${DEEP-} ]] || kinds+=(closed)
    for program in $(programs); do
        arguments=()
        takes "$program" '[FILE]' && arguments=("$file")
        for to in "${kinds[@]}"; do
            fails_onto "$to" "$program" --help
        done
        shown_here "$program" || continue
        for to in "${kinds[@]}"; do
            fails_onto "$to" "$program" "${arguments[@]}"
        done
    done
    no_problems
}

# --- No thread to be had ------------------------------------------------------------

# tells_of_limit PROGRAM [ARGUMENTS]: on a limit that it can't do without, is the
# way out told? And "canceled" is no reason, where nobody has canceled.
tells_of_limit() {
    CALLED="$* without a thread" OUT=$here/out ERR=$here/err status=0
    less_work "$1"
    "${limited[@]}" "$here/$1" "${less[@]}" "${@:2}" >"$OUT" 2>"$ERR" </dev/null ||
        status=$?
    ended_well || return 0
    ((status == 0 || status == 1 || status == 77)) ||
        problem "$CALLED: status $status"
    ((status == 0)) || grep -q 'ulimit -u' "$ERR" ||
        problem "$CALLED: says '$(cat "$ERR")'"
    ! grep -qi canceled "$ERR" || problem "$CALLED: says '$(cat "$ERR")'"
}

# bats test_tags=deep
@test "where no thread may be made, that is told, with the way out" {
    file=$(make_file $((4 << 20)))
    for program in $(programs); do
        shown_here "$program" || continue
        limited "$program"
        arguments=()
        if takes "$program" '[FILE]'; then
            cp "$file" "$here/file"
            chmod a+r "$here/file"
            arguments=("$here/file")
        fi
        tells_of_limit "$program" "${arguments[@]}"
        rm -r "$here"
    done
    no_problems
}

# --- What a machine may refuse ------------------------------------------------------

# What the text of the table owes: a cause, and on the next line what to do.
# bats test_tags=deep
@test "each refusal has a cause and a remedy, and too many open files is none" {
    cc -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" \
        -o "$BATS_TEST_TMPDIR/why" -x c - "$ROOT"/common/*.c -lz <<'END'
#include "why.h"
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int main(int argc, char **argv)
{
    (void)argv;
    const int all[] = {EPERM, EACCES, ENOSYS, ENODEV, EOPNOTSUPP};
    const int failures[] = {EMFILE, ENFILE, EFAULT, EBADF, EINTR, EIO};
    const struct { enum interface of; int error; } more[] = {
        {URING_SETUP, EINVAL}, {URING_SETUP, ENOMEM}, {URING_ENTER, EINVAL},
        {URING_REGISTER, EINVAL}, {URING_REGISTER, ENOMEM}, {AIO_SETUP, EINVAL},
        {AIO_SETUP, EAGAIN}, {AIO_SUBMIT, EINVAL}, {PERF_EVENTS, ENOENT},
        {PERF_EVENTS, EINVAL}};
    const char *why;

    for (int i = URING_SETUP; i <= MOUNTING; i++) {
        for (unsigned k = 0; k < COUNT(all); k++)
            if (!(why = why_refused(i, all[k])) || !strchr(why, '\n'))
                printf("interface %d, %s: %s\n", i, strerror(all[k]), why);
        for (unsigned k = 0; k < COUNT(failures); k++)
            if ((why = why_refused(i, failures[k])))
                printf("interface %d, %s: %s\n", i, strerror(failures[k]), why);
    }
    for (unsigned k = 0; k < COUNT(more); k++)
        if (!(why = why_refused(more[k].of, more[k].error)) || !strchr(why, '\n'))
            printf("interface %d, %s: %s\n", more[k].of, strerror(more[k].error),
                   why);
    if (argc > 1)
        puts(why_refused(URING_SETUP, EINVAL));
    return 0;
}
END
    run -0 "$BATS_TEST_TMPDIR/why"
    assert_output ''
    # A filter is one cause, and not the only one.
    "$BUILD/filter" io_setup EPERM true 2>/dev/null || skip 'no seccomp filter here'
    run -0 "$BUILD/filter" io_setup EPERM "$BATS_TEST_TMPDIR/why" old
    assert_line --index 0 --regexp \
        '^a seccomp filter is in force, .*may have answered\. Or this kernel.* too old'
    assert_line --index 1 --regexp 'seccomp=unconfined\. Or boot a newer kernel'
    assert_equal "${#lines[@]}" 2
}

# What can be refused, and how: a policy has the choice of its errno, a limit and an
# old kernel have theirs.
POLICY='EPERM EACCES ENOSYS ENODEV EOPNOTSUPP'
declare -gA REFUSALS=(
    [io_uring_setup]="$POLICY EINVAL ENOMEM" [io_uring_enter]="$POLICY EINVAL"
    [io_uring_register]="$POLICY EINVAL" [io_setup]="$POLICY EINVAL EAGAIN"
    [io_submit]="$POLICY EINVAL"
)

# bears CALLED PROGRAM COMMAND...: either it does without, or nothing is shown, and a
# cause and a remedy are told. (Which kernel is needed is both.)
bears() {
    local text
    CALLED=$1 status=0 OUT=$BATS_TEST_TMPDIR/.out ERR=$BATS_TEST_TMPDIR/.err
    timeout --kill-after=5 60 "${@:3}" >"$OUT" 2>"$ERR" </dev/null || status=$?
    ended_well || return 0
    ((status != 0)) || return 0
    slurp "$ERR"
    ((status == 77)) || problem "$CALLED: status $status: $text"
    [[ ! -s $OUT ]] || problem "$CALLED: status $status after it has shown something"
    [[ $text == "$2: "*$'\n'?* || $text == *'needs Linux'* ]] ||
        problem "$CALLED: no cause, or no remedy: $text"
}

# run_of PROGRAM: set $command to what runs it, on $FILE where it takes one, and
# $refusable to those calls of the above that it makes.
run_of() {
    less_work "$1"
    command=("$BIN/$1" "${less[@]}")
    ! takes "$1" '[--seconds S]' || command+=(--seconds 0.01)
    ! takes "$1" '[FILE]' || command+=("$FILE")
    local log=$BATS_TEST_TMPDIR/log calls="${!REFUSALS[*]}"
    strace -o "$log" -e signal=none -e trace="${calls// /,}" "${command[@]}" \
        >"$BATS_TEST_TMPDIR/.out" 2>&1 || :
    refusable=$(sed -nE 's/^(\w+)\(.*/\1/p' "$log" | sort -u)
}

# bats test_tags=deep
@test "a system call that is refused: 77, cause and remedy, and nothing is shown" {
    need_strace
    FILE=$(make_file 300032)
    local tried=0
    for program in $(programs); do
        shown_here "$program" || continue
        run_of "$program"
        for call in $refusable; do
            for error in ${REFUSALS[$call]}; do
                for check in '' --check; do
                    # shellcheck disable=SC2086 # a word or none
                    bears "$program $check, $call says $error" "$program" \
                        strace -o /dev/null -e signal=none -e trace="$call" \
                        -e inject="$call:error=$error" "${command[@]}" $check
                    ((++tried))
                done
            done
        done
    done
    [[ ${ONLY-} ]] || ((tried > 100)) || problem "only $tried were tried"
    no_problems
}

# A hole: the filter lets a ring be set up, and not entered. EUCLEAN is an errno that
# nobody would think of: systemd.exec(5) has it.
# bats test_tags=deep
@test "a real seccomp filter, with a hole too: 77, cause and remedy, or without it" {
    FILE=$(make_file 300032)
    "$BUILD/filter" io_setup EPERM true 2>/dev/null || skip 'no seccomp filter here'
    for program in $(programs); do
        shown_here "$program" || continue
        less_work "$program"
        command=("$BIN/$program" "${less[@]}")
        ! takes "$program" '[--seconds S]' || command+=(--seconds 0.01)
        ! takes "$program" '[FILE]' || command+=("$FILE")
        for calls in "${!REFUSALS[@]}" io_uring_setup,io_setup; do
            for error in EPERM EUCLEAN; do
                for check in '' --check; do
                    # shellcheck disable=SC2086 # a word or none
                    bears "$program $check, a filter answers $calls with $error" \
                        "$program" "$BUILD/filter" "$calls" "$error" \
                        "${command[@]}" $check
                done
            done
        done
    done
    no_problems
}

# --- The trace --------------------------------------------------------------------

# bats test_tags=deep
@test "the trace is JSON, has the mode of a new file, and leaves nothing else" {
    file=$(make_file 65536)
    mkdir "$BATS_TEST_TMPDIR/traces"
    trace=$BATS_TEST_TMPDIR/traces/trace.json
    for program in $(programs); do
        takes "$program" '[--trace FILE]' && shown_here "$program" || continue
        # Over a file that is longer: what was there must be gone, all of it.
        rm -f "$trace"
        seq 100000 >"$trace"
        attempt "$program" --trace "$trace" "$file" || continue
        ((status == 0)) || problem "$CALLED: status $status: $(cat "$ERR")"
        is_json "$trace" || problem "$CALLED: the trace is no JSON"
        grep -q '"ph":"X"' "$trace" || problem "$CALLED: no bar in the trace"
        (umask 027 && rm -f "$trace" && attempt "$program" --trace "$trace" "$file")
        [[ $(stat -c %a "$trace") == 640 ]] ||
            problem "$CALLED: the trace has mode $(stat -c %a "$trace")"
        [[ $(ls -A "$BATS_TEST_TMPDIR/traces") == trace.json ]] ||
            problem "$CALLED: leaves $(ls -A "$BATS_TEST_TMPDIR/traces")"
    done
    no_problems
}

# bats test_tags=deep
@test "the trace does not go where the file is that is read" {
    file=$(make_file 65536)
    ln "$file" "$BATS_TEST_TMPDIR/hard-link"
    ln -s "$file" "$BATS_TEST_TMPDIR/soft-link"
    before=$(crc32_of "$file")
    for program in $(programs); do
        takes "$program" '[--trace FILE]' && shown_here "$program" || continue
        for trace in "$file" "$BATS_TEST_TMPDIR"/{hard,soft}-link; do
            fails "$program" --trace "$trace" "$file"
            [[ $(crc32_of "$file") == "$before" ]] ||
                problem "$CALLED: the file has changed"
        done
    done
    no_problems
}

# bats test_tags=deep
@test "a trace that can't be written is an error" {
    file=$(make_file 65536)
    for program in $(programs); do
        takes "$program" '[--trace FILE]' && shown_here "$program" || continue
        for trace in /dev/full "$BATS_TEST_TMPDIR" \
            "$BATS_TEST_TMPDIR/no/trace.json" ''; do
            fails "$program" --trace "$trace" "$file"
        done
    done
    no_problems
}

# bats test_tags=deep
@test "who fails before the trace leaves the old one as it was" {
    trace=$BATS_TEST_TMPDIR/trace.json
    for program in $(programs); do
        takes "$program" '[--trace FILE]' && shown_here "$program" || continue
        echo precious >"$trace"
        fails "$program" --trace "$trace" "$BATS_TEST_TMPDIR/missing"
        [[ $(cat "$trace") == precious ]] || problem "$CALLED: the trace is lost"
    done
    no_problems
}

# --- The checks above can fail ----------------------------------------------------

# A program that breaks the contract wherever it can, and yet says it all with
# exit status 0.
# bats test_tags=deep
@test "a program that breaks the contract is found out" {
    BIN=$BATS_TEST_TMPDIR/bin
    mkdir "$BIN"
    cat >"$BIN/99-liar" <<'END'
#!/bin/sh
echo 'usage: 99-liar [-n N] [FILE]'
echo 'checksum: 00000000'
END
    chmod +x "$BIN/99-liar"
    file=$(make_file 65536)

    refuses 99-liar --no-such-option
    assert_equal "${#problems[@]}" 4
    problems=()
    fails 99-liar "$BATS_TEST_TMPDIR/missing"
    assert_equal "${#problems[@]}" 2
    problems=()
    reads_all 99-liar "$(crc32_of "$file")" "$file"
    assert_equal "${#problems[@]}" 1
    run no_problems
    assert_failure
    assert_output --partial '99-liar'

    problems=()
    cc -x c -o "$BIN/99-hasty" - <<'END'
#include <stdio.h>
#include <time.h>

int main(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    printf("took: %ld ns%s\n", t.tv_nsec, t.tv_nsec ? ", 100%" : "");
    return 0;
}
END
    has_one_shape 99-hasty
    assert_equal "${#problems[@]}" 1
    assert_regex "${problems[0]}" 'other lines'

    problems=()
    printf '#!/bin/sh\nkill -SEGV $$\n' >"$BIN/99-liar"
    right_or_fails 99-liar
    assert_equal "${problems[*]}" '99-liar: ended by signal 11: '

    for bad in '{' '{"a":1,}' '[1 2]' '{"a":01}' '["a' '{} {}' ''; do
        printf '%s' "$bad" >"$BATS_TEST_TMPDIR/bad.json"
        run ! is_json "$BATS_TEST_TMPDIR/bad.json"
    done
}

# bats test_tags=deep
@test "the checksum is told from another one" {
    printf 123456789 >"$BATS_TEST_TMPDIR/check"
    # The check value of this CRC in every catalog of them.
    assert_equal "$(crc32_of "$BATS_TEST_TMPDIR/check")" cbf43926
}
