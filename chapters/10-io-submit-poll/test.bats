#!/usr/bin/env bats
# 10 · Sockets through io_submit: readiness as an event, and a server from it.

# shellcheck disable=SC2030,SC2031 # $output is bats'.

setup() {
    load ../../common/test/helpers
    load ../../common/test/server
    needs 10-io-submit-poll
}

teardown() { server_kill; }

# each TEST [ARGUMENTS]: the server's, with each of the three event sources.
each() {
    local with
    for with in aio epoll poll; do
        "$@" "$BIN/10-io-submit-poll" --serve 0 --with "$with"
    done
}

# --- The request alone --------------------------------------------------------

@test "a request completes once, and must be submitted again" {
    run -0 --separate-stderr "$BIN/10-io-submit-poll"
    assert_line --index 1 '  no event'
    assert_line --index 3 --regexp '^  event: request 1, res 0x[0-9a-f]+: POLLIN'
    assert_line --index 4 'Another byte:'
    assert_line --index 5 '  no event'
    assert_line --index 7 '  event: request 1, res 0x1: POLLIN'
    assert_equal "$stderr" ''
}

@test "a request in flight keeps a closed socket open, until it is canceled" {
    run -0 "$BIN/10-io-submit-poll"
    assert_line --index 9 '  recv() at the other end: -1, EAGAIN'
    assert_line --index 11 '  io_cancel(): -1, EINPROGRESS'
    assert_line --index 12 '  event: request 2, res 0x0: nothing'
    assert_line --index 13 '  recv() at the other end: 0, the end'
}

@test "strace: two sockets in one submit, and a cancel" {
    need_strace
    strace_calls io_submit,io_cancel "$BIN/10-io-submit-poll"
    assert_success
    run -0 calls io_submit IOCB_CMD_POLL
    assert_line --index 0 --regexp ', 2, \[\{.*IOCB_CMD_POLL.*, \{.*POLL.*\]\) = 2$'
    assert_equal "$(calls io_cancel | head -n 1 | grep -c EINPROGRESS)" 1
}

# --- The table ----------------------------------------------------------------

@test "system calls for each message, one client and eight" {
    run -0 "$BIN/10-io-submit-poll"
    assert_equal "$(calls_for aio)" '3.00 2.12'
    assert_equal "$(calls_for 'aio, ring not read')" '4.00 2.25'
    assert_equal "$(calls_for epoll)" '3.00 2.12'
    assert_equal "$(calls_for poll)" '3.00 2.12'
}

# A line for each context: how many submits it saw, and how many waits. The first
# is the minimal run's. Then aio, for one client and for eight, five rounds
# each: a submit each, and the events are there. Then the same without the ring.
@test "strace: io_getevents is not called when events wait in the ring" {
    need_strace
    strace_calls io_submit,io_getevents,io_destroy "$BIN/10-io-submit-poll"
    assert_success
    run -0 awk '
        / io_submit\(/ && !/, 0, NULL\)/ { submits++ }
        / io_getevents\(/ { waits++ }
        / io_destroy\(/ {
            print submits + 0, waits + 0
            submits = waits = 0
        }' "$STRACE_LOG"
    assert_line --index 1 '5 0'
    assert_line --index 2 '5 0'
    assert_line --index 3 '5 5'
    assert_line --index 4 '5 5'
}

# The kernel lets us write to the ring, and does not look at the magic itself.
@test "strace: a ring with another magic is left alone" {
    need_strace
    cc -shared -fPIC -o "$BATS_TEST_TMPDIR/libmagic.so" -x c - <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/syscall.h>

long syscall(long number, ...)
{
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list more;
    long a[5];

    va_start(more, number);
    for (int i = 0; i < 5; i++)
        a[i] = va_arg(more, long);
    va_end(more);
    long result = real(number, a[0], a[1], a[2], a[3], a[4]);
    if (number == SYS_io_setup && result == 0)
        (*(unsigned **)a[1])[4] ^= 1;
    return result;
}
END
    ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 \
        strace_calls io_getevents -E LD_PRELOAD=libmagic.so \
        -E LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" \
        "$BIN/10-io-submit-poll"
    assert_success
    assert_equal "$(calls_for aio)" '4.00 2.25'
}

# bats test_tags=source,deep
@test "the lines of code are those of the sources" {
    run -0 "$BIN/10-io-submit-poll"
    for file in events-aio events-epoll events-poll; do
        code=$(code_lines "$ROOT/common/server/$file.c")
        assert_regex "$(fact 'lines of code')" "(^| )$code in $file.c"
    done
}

# --- The server ---------------------------------------------------------------

@test "1,000 connections in sequence" {
    each echoes_in_sequence 1000
}

# bats test_tags=deep
@test "200 connections at once" {
    each echoes_at_once 200
}

# bats test_tags=deep
@test "1 MiB through each of 20 connections at once, byte for byte" {
    each echoes_bytes 20 $((1 << 20))
}

# bats test_tags=deep
@test "a client that never reads stops being read from" {
    each survives_who_never_reads
}

# bats test_tags=deep
@test "a client that reads late gets it all" {
    each echoes_to_who_reads_late
}

# bats test_tags=deep
@test "a client that resets is lost, and nobody else" {
    each survives_a_reset
}

# bats test_tags=deep
@test "without a descriptor for the next client it goes on with the others" {
    each survives_few_descriptors
}

# bats test_tags=deep
@test "1,100 connections at once, of which 1,024 have room" {
    ulimit -Sn 4096 2>/dev/null || skip "no more than $(ulimit -Hn) descriptors"
    each survives_a_crowd
}

# bats test_tags=deep
@test "SIGINT and SIGTERM end it, with its counts" {
    each stops_cleanly
}

# bats test_tags=deep
@test "all of that without the ring" {
    server=("$BIN/10-io-submit-poll" --serve 0 --no-ring)
    echoes_in_sequence 100 "${server[@]}"
    echoes_at_once 100 "${server[@]}"
    echoes_bytes 5 $((1 << 20)) "${server[@]}"
    survives_who_never_reads "${server[@]}"
    survives_a_reset "${server[@]}"
    stops_cleanly "${server[@]}"
}

# --- The server, under strace -------------------------------------------------

# bats test_tags=deep
@test "strace: the server's count of system calls is right" {
    need_strace
    for with in aio epoll poll; do
        server_traced "$BIN/10-io-submit-poll" --serve 0 --with $with
        client at_once 20
        server_stop
        said=$(fact 'system calls')
        run -0 awk '
            / write\(1, "port:/ { on = 1; next }
            / write\(1, "connections:/ { on = 0 }
            on && $2 ~ /^(accept4|recvfrom|sendto|read|write|close|poll|io_|epoll_)/ {
                n++
            }
            END { print n + 0 }' "$STRACE_LOG"
        assert_equal "$output" "$said"
        assert [ "$said" -gt 60 ]
    done
}

# Every second send finds the socket not ready, though the source said it was.
# bats test_tags=deep
@test "strace: a send that finds no room is made again, and none can kill" {
    need_strace
    for with in aio epoll poll; do
        server_traced -e inject=sendto:error=EAGAIN:when=1+2 \
            "$BIN/10-io-submit-poll" --serve 0 --with $with
        client in_sequence 20
        server_stop
        assert_equal "$(count_calls sendto EAGAIN)" 20
        # Else the first client that has gone away would end it by SIGPIPE.
        assert_equal "$(count_calls sendto MSG_NOSIGNAL)" 40
        assert_equal "$(count_calls sendto)" 40
    done
}

# bats test_tags=deep
@test "strace: no descriptor left, and it does not ask over and over" {
    need_strace
    for with in aio epoll poll; do
        server_traced bash -c 'ulimit -n 32; exec "$@"' bash \
            "$BIN/10-io-submit-poll" --serve 0 --with $with
        crowd_for_few
        server_stop
        assert [ "$(fact pauses)" -gt 0 ]
        # Once before anybody closes, and once for each that does, at the most.
        assert [ "$(fact pauses)" -le 51 ]
        assert_equal "$(count_calls accept4 EMFILE)" "$(fact pauses)"
    done
}

# The listener's and three clients' are in flight. Under AddressSanitizer this
# also shows that none of them comes back to memory that is free.
# bats test_tags=deep
@test "strace: at the end each request in flight is canceled, and awaited" {
    need_strace
    server_traced "$BIN/10-io-submit-poll" --serve 0
    for _ in 1 2 3; do
        dial
        echo hello >&"$fd"
        read -r -u "$fd"
    done
    server_stop
    run -0 calls io_cancel
    assert_equal "${#lines[@]}" 4
    assert_equal "$(grep -cE ' = -1 (EINPROGRESS|EINVAL) ' <<<"$output")" 4
}

# Here the ring is empty when the server looks, so it must wait by a system call.
# A busy machine may have the message there by then: once in twenty runs will do.
@test "a server that waits for each message makes one call more with aio" {
    for _ in {1..20}; do
        found=()
        for with in aio epoll poll; do
            server_start "$BIN/10-io-submit-poll" --serve 0 --with $with
            client ping_pong 100
            server_stop
            # The few for the connection, and for the end, round down.
            found+=($(($(fact 'system calls') / 100)))
        done
        [[ ${found[*]} != '4 3 3' ]] || return 0
    done
    fail "aio, epoll, poll: ${found[*]}"
}

# bats test_tags=deep
@test "what is too old, or refused, is told, with status 77" {
    need_strace
    run -77 --separate-stderr strace -o /dev/null -e signal=none \
        -e inject=io_submit:error=EINVAL "$BIN/10-io-submit-poll"
    assert_equal "$stderr" "10-io-submit-poll: IOCB_CMD_POLL: Invalid argument:\
 it needs Linux 4.19 or later"
    for serve in '' '--serve 0'; do
        # shellcheck disable=SC2086 # none, or two
        run -77 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=io_setup:error=ENOSYS "$BIN/10-io-submit-poll" $serve
        assert_regex "$stderr" 'this kernel has no Linux AIO'
    done
}

# Whom it can't accept waits, although there is no connection that could close.
# bats test_tags=deep
@test "strace: without a descriptor for the first client it tries again" {
    need_strace
    for with in aio epoll poll; do
        server_traced -e inject=accept4:error=ENFILE:when=1..3 \
            "$BIN/10-io-submit-poll" --serve 0 --with $with
        client in_sequence 1
        server_stop
        assert_equal "$(count_calls accept4 ENFILE)" 3
        assert_equal "$(fact connections)" 1
    done
}

# bats test_tags=deep
@test "a port that is taken is an error" {
    refuses_a_port_that_is_taken "$BIN/10-io-submit-poll" --serve 0
}
