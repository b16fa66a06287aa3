#!/usr/bin/env bats
# 07 · POSIX AIO: glibc's threads do the reading; for one descriptor, only one
# of them.

setup() {
    load ../../common/test/helpers
    needs 07-posix-aio
    FILE=$(make_file $((4 << 20)))
}

# reads PASS: of the reads of $FILE in that pass, by strace's account: how many,
# by how many threads, and the most that had begun and not returned. The second
# pass is told by its other descriptors. Behind it comes a third, through the
# first one again.
reads() {
    FILE=$FILE perl -ne '
        my ($by) = /^(\d+)/;
        delete $in{$by} if /<\.\.\. pread64 resumed>/;
        my ($fd) = / pread64\((\d+)<\Q$ENV{FILE}\E>/ or next;
        $first //= $fd;
        $pass ||= 1;
        $pass++ if $pass == 1 ? $fd != $first : $pass == 2 && $fd == $first;
        $reads{$pass}++;
        $threads{$pass}{$by} = 1;
        $in{$by} = 1;
        $most{$pass} = keys %in if keys %in > ($most{$pass} // 0);
        delete $in{$by} if !/<unfinished \.\.\.>/;
        END {
            my $p = '"$1"';
            print "$reads{$p} ", scalar(keys %{$threads{$p}}), " $most{$p}\n";
        }' "$STRACE_LOG"
}

# main_thread: the first one that strace saw.
main_thread() { sed -n '1s/ .*//p' "$STRACE_LOG"; }

# row TEXT: the numbers in that row of a table.
row() { sed -nE "s/^$1 +([0-9 ]+)$/\1/p" <<<"$output" | tr -s ' '; }

@test "the same bytes as 01 in both passes; one in flight with one descriptor" {
    run -0 --separate-stderr "$BIN/07-posix-aio" "$FILE"
    for pass in 1 2; do
        assert_equal "$(fact checksum $pass)" "$(checksum_of_01)"
        assert [ "$(fact threads $pass)" -le 9 ]
        assert [ "$(fact 'most in flight' $pass)" -le 8 ]
        order=$(fact 'completed in the order' $pass | tr ' ' '\n' | sort -n |
            paste -sd ' ')
        assert_equal "$order" '0 1 2 3 4 5 6 7'
    done
    assert_equal "$(fact 'most in flight' 1)" 1
    assert_equal "$(fact 'completed in the order' 1)" '0 1 2 3 4 5 6 7'
    assert_equal "$stderr" ''
}

@test "threads before and after: one descriptor gets one, eight get eight" {
    run -0 "$BIN/07-posix-aio" "$FILE"
    assert_equal "$(row none)" '1 0'
    assert_equal "$(row '8 through one descriptor')" '2 1'
    assert_equal "$(row '8 through eight')" '9 8'
}

@test "the three answers of aio_cancel" {
    run -0 "$BIN/07-posix-aio" "$FILE"
    assert_line 'aio_cancel of one that a thread is at: AIO_NOTCANCELED'
    assert_line 'aio_cancel of one that is queued: AIO_CANCELED'
    assert_line 'aio_cancel of one that is complete: AIO_ALLDONE'
}

# A busy machine may let the threads run one after the other, and us look late.
# So: never more than one in the first pass, and half of them once in twenty runs
# is enough for the second. That there are eight threads the pipe has shown.
@test "cold, eight descriptors have several reads in flight at once" {
    need_cold
    for _ in {1..20}; do
        run -0 "$BIN/07-posix-aio" -s 512K "$FILE"
        assert_line --index 0 --partial ', cold: 0 of '
        assert_equal "$(fact 'most in flight' 1)" 1
        early=$(in_submit 2)
        if (($(fact 'most in flight' 2) >= 4 && ${early% of 8} < 8)); then
            return 0
        fi
    done
    fail "$output"
}

@test "strace: one thread reads through one descriptor, several through eight" {
    need_strace
    need_cold
    for _ in {1..20}; do
        strace_calls execve,pread64 "$BIN/07-posix-aio" -s 512K "$FILE"
        assert_success
        # By one thread; another one may take over, but never help.
        read -r count by most <<<"$(reads 1)"
        assert_equal "$count $most" '8 1'
        ((by == 1)) || continue
        read -r count by most <<<"$(reads 2)"
        assert_equal "$count" 8
        if ((by >= 4 && most >= 4)); then return 0; fi
    done
    fail "$(cat "$STRACE_LOG")"
}

# bats test_tags=deep
@test "strace: no AIO of the kernel's, and the main thread reads nothing" {
    need_strace
    strace_calls execve,io_setup,io_submit,io_uring_setup,pread64,read,fsync \
        "$BIN/07-posix-aio" "$FILE"
    assert_success
    run ! grep -E ' io_(setup|submit|uring_setup)\(' "$STRACE_LOG"
    run ! grep -E "^$(main_thread) +(pread64|read)\([0-9]+<$(as_regex "$FILE")>" "$STRACE_LOG"
    run ! grep -E "^$(main_thread) +fsync\(" "$STRACE_LOG"
}

@test "more than twenty: that is as many threads as glibc starts" {
    for _ in {1..20}; do
        run -0 "$BIN/07-posix-aio" -n 64 "$FILE"
        assert_equal "$(fact checksum 2)" "$(checksum_of_01 -n 64)"
        assert_equal "$(fact 'most in flight' 1)" 1
        assert [ "$(fact 'most in flight' 2)" -le 20 ]
        assert [ "$(fact threads 2)" -le 21 ]
        if [[ $(fact threads 2) == 21 ]]; then return 0; fi
    done
    fail "$output"
}

# bats test_tags=deep
@test "the sync begins when the write before it has returned" {
    need_strace
    strace_calls pwrite64,fsync "$BIN/07-posix-aio" "$FILE"
    assert_success
    assert_line 'aio_write of 65536 bytes: 65536'
    assert_line 'aio_fsync: 0, and the write was complete'
    # strace cuts a line in two where another thread comes in between.
    run -0 perl -ne 'print "written: $1\n"
            if / (?:pwrite64\(|<\.\.\. pwrite64 resumed>).*= (\d+)$/;
        print "sync\n" if / fsync\(/;
        print "synced: $1\n"
            if / (?:fsync\(|<\.\.\. fsync resumed>).*= (\d+)$/' "$STRACE_LOG"
    assert_output $'written: 65536\nsync\nsynced: 0'
}

# A pipe that is full keeps the write waiting. To sync a pipe is an error: but
# that is known only once the sync has begun.
# bats test_tags=deep
@test "a sync waits for the writes of its descriptor, and for no duplicate's" {
    cc -x c -o "$BATS_TEST_TMPDIR/order" - -lrt <<'END'
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    static char bytes[1 << 20];
    int ends[2];

    if (pipe2(ends, O_NONBLOCK) || write(ends[1], bytes, sizeof(bytes)) < 0 ||
        fcntl(ends[1], F_SETFL, 0))
        return 1;
    struct aiocb one = {.aio_fildes = ends[1],
                        .aio_buf = bytes,
                        .aio_nbytes = 1,
                        .aio_sigevent.sigev_notify = SIGEV_NONE},
                 same = one, other = one;
    const struct aiocb *list[] = {&other};
    other.aio_fildes = dup(ends[1]);
    if (aio_write(&one) || aio_fsync(O_SYNC, &same) ||
        aio_fsync(O_SYNC, &other))
        return 1;
    while (aio_error(&other) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    printf("duplicate: begun %d, write in progress %d\n",
           aio_error(&other) == EINVAL, aio_error(&one) == EINPROGRESS);
    printf("same: queued %d\n", aio_cancel(ends[1], &same) == AIO_CANCELED);
    return 0;
}
END
    run -0 timeout 60 "$BATS_TEST_TMPDIR/order"
    assert_output 'duplicate: begun 1, write in progress 1
same: queued 1'
}

@test "what tells of the reads: a signal each, one for all, a thread each" {
    need_strace
    strace_calls execve,clone,clone3,rt_sigqueueinfo "$BIN/07-posix-aio" "$FILE"
    assert_success
    assert_equal "$(row 'a signal for each')" '8 0 0'
    assert_equal "$(row 'a signal for all')" '1 0 0'
    assert_equal "$(row 'a thread for each')" '0 8 0'
    assert_equal "$(count_calls rt_sigqueueinfo 'SI_ASYNCIO')" 9
    # Eight to read, at least, and eight to tell.
    assert [ "$(grep -cE ' clone3?\(.*CLONE_THREAD' "$STRACE_LOG")" -ge 16 ]
}

# bats test_tags=deep
@test "no room for a signal: reads that were good are reported as failed" {
    run -0 bash -c 'ulimit -i 0 && "$1" "$2"' - "$BIN/07-posix-aio" "$FILE"
    assert_equal "$(row 'a signal for each')" '0 0 8'
    assert_equal "$(row 'a signal for all')" '0 0 0'
    assert_equal "$(row 'a thread for each')" '0 8 0'
}

# bats test_tags=deep
@test "an error comes back with the result: which read, and why" {
    need_strace
    strace_calls pread64 -P "$FILE" -e inject=pread64:error=EIO:when=1 \
        "$BIN/07-posix-aio" "$FILE"
    assert_failure 1
    assert_regex "$stderr" \
        "^07-posix-aio: reading $FILE at byte [0-9]+: Input/output error\$"
}

# bats test_tags=deep
@test "a read that a signal interrupts is made again, by glibc" {
    need_strace
    strace_calls pread64 -P "$FILE" -e inject=pread64:error=EINTR:when=1 \
        "$BIN/07-posix-aio" "$FILE"
    assert_success
    assert [ "$(grep -c ' EINTR ' "$STRACE_LOG")" -gt 0 ]
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
    assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
}

# Reads are made to take 20 ms, so the main thread waits for them many times:
# no other thread calls futex() that often. (Where the call is one that wakes a
# thread, and it can't really be interrupted, libc aborts.)
# bats test_tags=deep
@test "a wait that a signal interrupts is made again" {
    need_strace
    local when
    for when in {100..110}; do
        strace_calls futex,pread64 \
            -e inject=pread64:delay_enter=20000 \
            -e inject=futex:error=EINTR:when="$when" "$BIN/07-posix-aio" "$FILE"
        grep -q 'FUTEX_WAIT_BITSET.* EINTR .*(INJECTED)' "$STRACE_LOG" || continue
        assert_success
        assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
        assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
        return 0
    done
    fail 'no wait was interrupted'
}

# bats test_tags=deep
@test "a short read is finished, not taken for the whole" {
    need_strace
    strace_short execve,pread64 "$BIN/07-posix-aio" "$FILE"
    assert_success
    read -r count _ <<<"$(reads 1)"
    assert_equal "$count" 16
    read -r count _ <<<"$(reads 2)"
    assert_equal "$count" 16
    assert_equal "$(fact checksum 1)" "$(checksum_of_01)"
    assert_equal "$(fact checksum 2)" "$(checksum_of_01)"
}

# bats test_tags=deep
@test "no scratch file is left" {
    export TMPDIR=$BATS_TEST_TMPDIR/scratch
    mkdir "$TMPDIR"
    run -0 "$BIN/07-posix-aio" "$FILE"
    assert_equal "$(ls -A "$TMPDIR")" ''
}

# bats test_tags=deep
@test "where /proc does not tell what a thread waits in, it says so" {
    need_strace
    run -77 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=access,faccessat,faccessat2:error=ENOENT \
        "$BIN/07-posix-aio" "$FILE"
    assert_regex "$stderr" '^07-posix-aio: .*/proc/thread-self/syscall'
    assert_equal "$output" ''
}

# bats test_tags=deep
@test "where eight threads can't be made: 77, before anything is shown" {
    limited 07-posix-aio
    limited=("${limited[@]/ulimit -u 1/ulimit -u 5}")
    cp "$FILE" "$here/file"
    chmod a+r "$here/file"
    for arguments in --check ''; do
        run --separate-stderr "${limited[@]}" "$here/07-posix-aio" $arguments \
            "$here/file"
        assert_equal "$status, '$output'" "77, ''"
        assert_regex "$stderr" '8 threads: the limit of .*ulimit -u'
    done
    rm -r "$here"
}
