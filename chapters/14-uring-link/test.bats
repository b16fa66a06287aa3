#!/usr/bin/env bats
# 14 · Linked requests: in which order they are done, what breaks a chain, and a
# file replaced by one.
# shellcheck disable=SC2030,SC2031 # each test has a $status of its own

setup() {
    load ../../common/test/helpers
    needs 14-uring-link
    # All that the program makes is in here.
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
}

# table TITLE: the rows below the title, up to a blank line, without the padding:
# number, what it is, flag, CQE, res.
table() { sed -n "/^$1  *flag/,/^\$/{ //d; s/  */ /g; p }" <<<"$output"; }

# --- Order --------------------------------------------------------------------

@test "unlinked, a NOP overtakes a read from an empty pipe" {
    run -0 --separate-stderr "$BIN/14-uring-link"
    assert_equal "$(table 'No link')" '1 read an empty pipe - 2 1
2 NOP - 1 0, while the pipe is empty'
    assert_equal "$stderr" ''
    assert_equal "$(ls -A "$TMPDIR")" ''
}

# The kernel writes dirty pages of its own accord as well, so: once in twenty.
# After a sync that came behind the write, none is dirty, ever.
@test "unlinked, an fsync overtakes the write and syncs nothing; linked, it waits" {
    [[ $(stat -f -c %T "$TMPDIR") != tmpfs ]] || skip "$TMPDIR is a tmpfs"
    pages=$((524288 / PAGE))
    for _ in {1..20}; do
        run -0 "$BIN/14-uring-link"
        [[ $(fact 'pages to write') != unknown ]] ||
            skip 'dirty pages can not be counted here'
        assert_regex "$(table 'No link to the fsync')" '^1 read an empty pipe LINK 2 1
2 write - 3 524288
3 fsync - 1 0, while the pipe is empty
pages to write: [0-9]+$'
        assert_equal "$(table 'All linked')" '1 read an empty pipe LINK 1 1
2 write LINK 2 524288
3 fsync - 3 0
pages to write: 0'
        [[ $(fact 'pages to write' 1) != "$pages" ]] || return 0
    done
    fail "$output"
}

@test "results of others come between those of a chain" {
    run -0 "$BIN/14-uring-link"
    assert_equal "$(table 'A chain of 3, and a NOP')" \
        '1 NOP LINK 1 0, while the pipe is empty
2 read an empty pipe LINK 3 1
3 NOP - 4 0
4 NOP - 2 0, while the pipe is empty'
}

@test "a link does not reach the next submit" {
    run -0 "$BIN/14-uring-link"
    assert_equal "$(table 'A link, but two submits')" \
        '1 read an empty pipe LINK 2 1
2 NOP - 1 0, while the pipe is empty'
}

@test "a drain waits for all before it, and all behind it wait for the drain" {
    run -0 "$BIN/14-uring-link"
    assert_equal "$(table 'A drain')" '1 read an empty pipe - 1 1
2 NOP DRAIN 2 0
3 NOP - 3 0'
}

# --- Chains that break --------------------------------------------------------

@test "a short write breaks a chain, a failing one too; hard links hold" {
    run -0 "$BIN/14-uring-link"
    assert_equal "$(table 'A short write')" '1 write LINK 1 65536
2 fsync LINK 2 -125 -ECANCELED
3 NOP - 3 -125 -ECANCELED'
    assert_equal "$(table 'A write that fails')" '1 write LINK 1 -27 -EFBIG
2 fsync LINK 2 -125 -ECANCELED
3 NOP - 3 -125 -ECANCELED'
    assert_equal "$(table 'Short, hard links')" '1 write HARDLINK 1 65536
2 fsync HARDLINK 2 0
3 NOP - 3 0'
    assert_equal "$(table 'Fails, hard links')" '1 write HARDLINK 1 -27 -EFBIG
2 fsync HARDLINK 2 0
3 NOP - 3 0'
}

# need_deaf_chains: skip where a failed fsync does break a chain.
need_deaf_chains() {
    [[ $(uname -r) != [1-5].* ]] || skip 'before Linux 6.0 a failed fsync breaks a chain'
}

@test "since 6.0, a failed fsync does not break a chain" {
    need_deaf_chains
    run -0 "$BIN/14-uring-link"
    assert_equal "$(table 'An fsync that fails')" '1 fsync LINK 1 -22 -EINVAL
2 NOP - 2 0'
}

@test "an fsync that can not even begin does break a chain" {
    run -0 "$BIN/14-uring-link"
    assert_equal "$(table 'An fsync of no file')" '1 fsync LINK 1 -9 -EBADF
2 NOP - 2 -125 -ECANCELED'
}

# --- Replacing a file ---------------------------------------------------------

# The file as it was, and as it is to be.
old_file() { printf old && head -c 65533 /dev/zero; }
new_file() { head -c 524288 /dev/zero | tr '\0' n; }

# there: is the file the old one or the new one, and alone in its folder?
there() {
    assert_equal "$(find "$TMPDIR" -type f)" "$(echo "$TMPDIR"/*/file)"
    if cmp -s "$TMPDIR"/*/file <(old_file); then
        echo old
    elif cmp -s "$TMPDIR"/*/file <(new_file); then
        echo new
    else
        echo neither
    fi
    rm -r "${TMPDIR:?}"/*
}

done_all='1 write and sync LINK 1 524288
2 rename LINK 2 0
3 fsync the folder - 3 0
the name leads to: the new file, 512 KiB'

@test "one chain replaces a file, with the mode of the old one" {
    umask 022
    run -0 --separate-stderr "$BIN/14-uring-link" --keep
    assert_equal "$(table 'Replace')" "$done_all"
    assert_line "kept: $(echo "$TMPDIR"/*/file)"
    assert_equal "$(stat -c %a "$TMPDIR"/*/file)" 644
    assert_equal "$(there)" new
    assert_equal "$stderr" ''
}

@test "a write that fails leaves the old file, and it alone" {
    run -0 "$BIN/14-uring-link"
    failed='1 write and sync LINK 1 -9 -EBADF
2 rename LINK 2 -125 -ECANCELED
3 fsync the folder - 3 -125 -ECANCELED
the name leads to: the old file, 64 KiB'
    assert_equal "$(table 'Replace, the write fails')" "$failed"

    run -1 --separate-stderr "$BIN/14-uring-link" --keep --break write
    assert_equal "$(table 'Replace')" "$failed"
    assert_equal "$stderr" \
        '14-uring-link: replacing the file: write and sync: Bad file descriptor'
    assert_equal "$(there)" old
}

# bats test_tags=deep
@test "so does a rename that fails; behind the rename the file is the new one" {
    run -1 --separate-stderr "$BIN/14-uring-link" --keep --break rename
    assert_equal "$stderr" \
        '14-uring-link: replacing the file: rename: Not a directory'
    assert_line 'the name leads to: the old file, 64 KiB'
    assert_equal "$(there)" old

    run -1 --separate-stderr "$BIN/14-uring-link" --keep --break folder
    assert_equal "$stderr" \
        '14-uring-link: replacing the file: fsync the folder: Invalid argument'
    assert_equal "$(there)" new
    # Without --keep nothing stays, failed or not.
    run -1 "$BIN/14-uring-link" --break folder
    assert_equal "$(ls -A "$TMPDIR")" ''
}

# The wrong twin: the fsync as a request of its own.
# bats test_tags=deep
@test "behind an fsync of its own that fails, the rename is done all the same" {
    need_deaf_chains
    run -1 --separate-stderr "$BIN/14-uring-link" --keep --break fsync
    assert_equal "$(table 'Replace')" '1 write LINK 1 524288
2 fsync LINK 2 -22 -EINVAL
3 rename LINK 3 0
4 fsync the folder - 4 0
the name leads to: the new file, 512 KiB'
    assert_equal "$stderr" \
        '14-uring-link: replacing the file: fsync: Invalid argument'
    assert_equal "$(there)" new
}

# A disk that fails, as in chapter 02.
# bats test_tags=deep
@test "on a disk that fails, the old file is whole; with --fsync it is lost" {
    need_deaf_chains
    export BIN
    failing_disk '
        for option in --keep --fsync; do
            TMPDIR=$DISK "$BIN/14-uring-link" --keep $option | tail -n 7
            file=$(echo "$DISK"/uring-link.*/file)
            dd if="$file" iflag=nocache count=0 status=none
            echo "in the folder: $(ls -A "${file%/*}")"
            echo "begins with: $(head -c 3 "$file" | tr "\\0" 0)"
            echo "zeros: $(tr -dc "\\0" <"$file" | wc -c)"
            rm -r "${file%/*}"
        done'
    assert_regex "$(tr -s ' ' <<<"$output")" '1 write and sync LINK 1 -[0-9]+ -E(NOSPC|IO)
2 rename LINK 2 -125 -ECANCELED
3 fsync the folder - 3 -125 -ECANCELED
the name leads to: the old file, 64 KiB

kept: [^
]*
in the folder: file
begins with: old
zeros: 65533
1 write LINK 1 524288
2 fsync LINK 2 -[0-9]+ -E(NOSPC|IO)
3 rename LINK 3 0
4 fsync the folder - 4 (0|-[0-9]+ -E(NOSPC|IO))
the name leads to: the new file, 512 KiB

kept: [^
]*
in the folder: file
begins with: 000
zeros: 524288$'
}

# --- What it asks of the kernel -----------------------------------------------

# replacing FILE: the calls from the temporary file's creation to its end, of the
# last replacement in the log; not those that only look.
replacing() {
    perl -ne '
        my ($call, $about) = /^\d+ +(\w+)\((.*)/ or next;
        if ($call eq "openat" && $about =~ m{/\.file\.}) { @calls = (); $on = 1 }
        push @calls, $call if $on && $call !~ /stat|^syscall_/;
        $on = 0 if $call eq "close" && $about =~ m{/file>|/\.file\.};
        END { print "@calls\n" }' "$STRACE_LOG"
}

# The chapter's program, but for the wait: it prints how often the submit of a
# replacement slept. $1 is the flag that the write gets besides.
without_wait() {
    perl -0pe '
        s/submit\(steps, n, n\);/long before = sleeps(); submit(steps, n, 0);
            if (steps->sqe.rw_flags)
                printf("sleeps: %ld\\n", sleeps() - before);/ or die;
        s/(sqe\.rw_flags = RWF_SYNC;)/$1 all[1].sqe.flags |= '"$1"';/ or die;
        s/(#include <unistd.h>)/$1
            static long sleeps(void) { struct rusage r;
                getrusage(RUSAGE_THREAD, &r); return r.ru_nvcsw; }/ or die' \
        "$ROOT/chapters/14-uring-link/uring-link.c" |
        cc -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" -x c - \
            "$ROOT"/common/*.c -lz -o "$BATS_TEST_TMPDIR/without-wait-$1"
}

# bats test_tags=deep
@test "on XFS the submit waits for the disk, but for IOSQE_ASYNC" {
    command -v mkfs.xfs >/dev/null || skip 'mkfs.xfs is not installed'
    unshare -m true || skip 'this user may not mount, or not here'
    without_wait 0
    without_wait IOSQE_ASYNC
    mkdir "$BATS_TEST_TMPDIR/xfs"
    run --separate-stderr unshare -m bash -c '
        truncate -s 400M "$1/image"
        mkfs.xfs -q "$1/image" && mount -o loop "$1/image" "$1/xfs" || exit 77
        export TMPDIR=$1/xfs
        for _ in {1..5}; do
            "$1/without-wait-0" | sed -n "s/^sleeps/as it is/p" | tail -n 1
            "$1/without-wait-IOSQE_ASYNC" | sed -n "s/^sleeps/async/p" | tail -n 1
        done' - "$BATS_TEST_TMPDIR"
    [[ $status != 77 ]] || skip "no XFS here: $(one_line "$stderr")"
    assert_success
    # A busy machine may interrupt either.
    assert_line --regexp '^as it is: [1-9]'
    assert_line 'async: 0'
    [[ $(grep -c '^as it is: 0$' <<<"$output") -lt 3 ]]
    [[ $(grep -c '^async: 0$' <<<"$output") -ge 3 ]]
}

@test "strace: a replacement takes 7 calls in 02; here 4" {
    need_strace
    calls=openat,fchmod,pwrite64,write,fsync,fdatasync,rename,renameat,renameat2,close,unlink,io_uring_enter,newfstatat,fstat
    strace_calls $calls "$BIN/02-replace" --keep
    assert_success
    # Between its steps it looks what the name leads to: that is not replacing.
    perl -i -ne '$look = /O_RDONLY/ if / openat\(/;
        print unless $look && / (openat|close)\(/ || / write\(1</;
        $look = 0 if / close\(/' "$STRACE_LOG"
    assert_equal "$(replacing)" 'openat write fchmod fsync renameat fsync close'
    strace_calls $calls "$BIN/14-uring-link"
    assert_success
    assert_equal "$(replacing)" 'openat fchmod io_uring_enter close'
    assert_regex "$(calls io_uring_enter | tail -n 1)" \
        'io_uring]>, 3, 3, IORING_ENTER_GETEVENTS, NULL, [0-9]+\) = 3$'
}

# bats test_tags=deep
@test "strace: each chain is one submit, and the cut one two" {
    need_strace
    strace_calls io_uring_enter "$BIN/14-uring-link"
    assert_success
    submits=$(calls io_uring_enter | awk '{ split($0, a, ", ")
        if (a[2] > 0) print a[2] }' | paste -sd ' ')
    # The first finds out whether this machine can show it.
    assert_equal "$submits" '1 2 3 3 4 1 1 3 3 3 3 3 2 2 3 3'
}

# bats test_tags=deep
@test "without IORING_OP_RENAMEAT the rename is a system call" {
    need_strace
    # A probe that finds nothing.
    strace_calls io_uring_register,io_uring_enter,renameat,fsync \
        -e inject=io_uring_register:retval=0 "$BIN/14-uring-link" --keep
    assert_success
    assert_line \
        'IORING_OP_RENAMEAT: it needs Linux 5.11. Done by system calls.'
    assert_equal "$(table 'Replace')" '1 write and sync LINK 1 524288
2 rename LINK - 0
3 fsync the folder - - 0
the name leads to: the new file, 512 KiB'
    assert_equal "$(table 'Replace, the write fails' | tail -n 1)" \
        'the name leads to: the old file, 64 KiB'
    assert_equal "$(count_calls renameat)" 1
    assert_equal "$(count_calls fsync)" 1
    assert_equal "$(there)" new

    for step in write fsync rename folder; do
        run -1 strace -o /dev/null -e signal=none \
            -e inject=io_uring_register:retval=0 \
            "$BIN/14-uring-link" --keep --break $step
        wanted=old
        [[ $step != folder ]] || wanted=new
        assert_equal "$(there)" $wanted
    done
}

# bats test_tags=deep
@test "where the kernel may make no thread: 77, before anything is shown" {
    limited 14-uring-link
    for arguments in '' --check; do
        # shellcheck disable=SC2086 # a word or none
        run --separate-stderr "${limited[@]}" "$here/14-uring-link" $arguments
        assert_equal "$status, '$output'" "77, ''"
        assert_equal "${stderr_lines[0]}" "14-uring-link: an fsync or a rename in the\
 ring: the kernel could make no thread for it: the limit of processes and threads is\
 reached."
        assert_regex "${stderr_lines[1]}" 'ulimit -u, or pids.max'
    done
    rm -r "$here"
}

# bats test_tags=deep
@test "enter is made again after EINTR; half a chain is not" {
    need_strace
    run -0 "$BIN/14-uring-link"
    right=$(sed '/^pages/d' <<<"$output")
    for when in 1 2 3 7 15; do
        run -0 strace -o /dev/null -e signal=none \
            -e inject=io_uring_enter:error=EINTR:when=$when "$BIN/14-uring-link"
        assert_equal "$(sed '/^pages/d' <<<"$output")" "$right"
    done
}

# How many calls wait is up to the kernel: what is complete need not be waited
# for. So the last call of one run may be another one in the next.
# bats test_tags=deep
@test "of a chain that was taken in part, the rest is not submitted" {
    need_strace
    for _ in {1..20}; do
        strace_calls io_uring_enter "$BIN/14-uring-link"
        last=$(count_calls io_uring_enter)
        strace_calls io_uring_enter \
            -e inject=io_uring_enter:retval=1:when="$last" \
            "$BIN/14-uring-link" --keep
        if [[ $status == 1 && $output == *'Replace, the write fails'* ]]; then
            assert_equal "$stderr" \
                '14-uring-link: submitting 3 requests: only 1 were taken'
            assert_equal "$(count_calls io_uring_enter)" "$last"
            assert_equal "$(there)" old
            return 0
        fi
        rm -rf "${TMPDIR:?}"/*
    done
    fail "$output$stderr"
}

# bats test_tags=deep
@test "nothing is left: done, failed, interrupted" {
    need_strace
    # Its submits are 15, and there may be calls that wait.
    for at in mkdir:1 fchmod:1 fchmod:2 io_uring_enter:15; do
        call=${at%:*} nth=${at#*:}
        run -1 strace -o /dev/null -e signal=none \
            -e inject="$call":error=EIO:when="$nth" "$BIN/14-uring-link"
        assert_equal "$(ls -A "$TMPDIR")" ''
        # Ctrl-C, which waits until the replacement is over.
        run -130 strace -o /dev/null -e signal=none \
            -e inject="$call":signal=INT:when="$nth" "$BIN/14-uring-link"
        assert_equal "$(ls -A "$TMPDIR")" ''
    done
}
