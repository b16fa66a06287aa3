#!/usr/bin/env bats
# 17 · An echo server on one ring: multishot, provided buffers, traps.

# shellcheck disable=SC2030,SC2031 # $output is bats'.

setup() {
    load ../../common/test/helpers
    load ../../common/test/server
    load ../../common/test/rings
    needs 17-liburing-server
    SERVE=("$BIN/17-liburing-server" --serve 0)
    CLIENT_FUNCTIONS+=(resident at_once trickle)
}

teardown() { server_kill; }

# --- The request alone --------------------------------------------------------

@test "one recv brings two messages, ends without a buffer, is armed again" {
    run -0 --separate-stderr "$BIN/17-liburing-server"
    assert_line --index 1 '  res 3, in buffer 0: one, F_MORE'
    assert_line --index 2 '  res 3, in buffer 1: two, F_MORE'
    assert_line --index 3 '  res ENOBUFS, no F_MORE: it has ended'
    assert_line --index 5 '  res 5, in buffer 0: three, F_MORE'
    assert_line --index 7 '  res 0, no F_MORE: it has ended'
    assert_equal "$(fact submits)" 2
    assert_equal "$stderr" ''
}

@test "system calls for each message, one client and eight, beside 10's three" {
    run -0 "$BIN/17-liburing-server"
    assert_equal "$(calls_for 'one ring')" '1.00 0.12'
    run -0 "$BIN/10-io-submit-poll"
    there=$(calls_for aio)/$(calls_for epoll)/$(calls_for poll)
    run -0 "$BIN/17-liburing-server"
    assert_equal "$(calls_for aio)/$(calls_for epoll)/$(calls_for poll)" "$there"
}

# bats test_tags=source,deep
@test "the lines of code are those of the sources" {
    run -0 "$BIN/17-liburing-server"
    for file in chapters/17-liburing-server/echo common/server/server \
        common/server/events-epoll; do
        code=$(code_lines "$ROOT/$file.c")
        assert_regex "$(fact 'lines of code')" "(^| )$code in ${file##*/}.c"
    done
}

# --- The server: the tests of chapter 10's ------------------------------------

@test "200 connections at once" { echoes_at_once 200 "${SERVE[@]}"; }

# bats test_tags=deep
@test "1 MiB through each of 20 connections at once, byte for byte" {
    echoes_bytes 20 $((1 << 20)) "${SERVE[@]}"
}

# bats test_tags=deep
@test "a client that never reads stops being read from" {
    survives_who_never_reads "${SERVE[@]}"
}

# bats test_tags=deep
@test "a client that reads late gets it all" {
    echoes_to_who_reads_late "${SERVE[@]}"
}

# bats test_tags=deep
@test "a client that resets is lost, and nobody else" {
    survives_a_reset "${SERVE[@]}"
}

# bats test_tags=deep
@test "without a descriptor for the next client it goes on with the others" {
    began=$(now)
    survives_few_descriptors "${SERVE[@]}"
    # Once before anybody closes, once for each that does, and every 10 ms.
    pauses=$(fact pauses)
    assert [ "$pauses" -gt 0 ]
    assert [ "$pauses" -le $((51 + ($(now) - began) / 10)) ]
    # And it did not ask over and over: a connection takes a handful of turns.
    assert [ "$(fact 'system calls')" -lt $((1000 + 2 * pauses)) ]
}

# Milliseconds.
now() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# wakes SERVER: wait until it has slept and woken up ten times more.
wakes() {
    local count first=''
    while
        count=$(sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$1/status")
        ((count < ${first:=$count} + 10))
    do
        [[ -e /proc/$1/exe ]] # It has not ended.
    done
}

# until_there_is_one SERVER N: so many are served at once, and the next one only
# when the limit is higher.
until_there_is_one() {
    local i
    for ((i = 0; i <= $2; i++)); do
        dial
        echo "number $i" >&"$fd"
        ((i == $2)) || read -r -u "$fd"
    done
    wakes "$1"
    prlimit --pid "$1" --nofile=64:
    read -r -u "$fd" answer
    [[ $answer == "number $2" ]]
}

# start_with_room N: for so many connections.
start_with_room() {
    local used=0
    server_start "${SERVE[@]}"
    # shellcheck disable=SC2153 # server_start sets it.
    while [[ -e /proc/$SERVER/fd/$used ]]; do ((++used)); done
    server_stop
    server_start bash -c 'ulimit -Sn "$0"; exec "$@"' $((used + $1)) \
        "${SERVE[@]}"
}

# bats test_tags=deep
@test "without a descriptor it tries again, with others connected or without" {
    CLIENT_FUNCTIONS+=(wakes)
    for others in 0 1; do
        began=$(now)
        start_with_room $others
        client until_there_is_one "$SERVER" $others
        server_stop
        assert_equal "$(fact connections)" $((others + 1))
        assert_equal "$(fact lost)" 0
        assert [ "$(fact pauses)" -gt 1 ]
        assert [ "$(fact pauses)" -le $((2 + ($(now) - began) / 10)) ]
    done
}

# bats test_tags=deep
@test "without a descriptor and without a client it waits, and can be stopped" {
    start_with_room 0
    client wakes "$SERVER"
    server_stop
    assert_equal "$(fact connections)" 0
    assert [ "$(fact pauses)" -gt 1 ]
}

# bats test_tags=deep
@test "1,100 connections at once, of which 1,024 have room" {
    ulimit -Sn 4096 2>/dev/null || skip "no more than $(ulimit -Hn) descriptors"
    survives_a_crowd "${SERVE[@]}"
}

# The signal comes through the ring: no handler, and no call is interrupted.
@test "SIGINT and SIGTERM end it, with its counts" {
    stops_cleanly "${SERVE[@]}"
}

# bats test_tags=deep
@test "a port that is taken is an error" {
    refuses_a_port_that_is_taken "${SERVE[@]}"
}

# --- Nothing stays behind -----------------------------------------------------

# left_by SERVER N: let so many come and go. Prints the server's descriptors and
# KiB of memory, before and behind.
left_by() {
    in_sequence 100
    resident "$1"
    in_sequence "$2"
    resident "$1"
}

resident() {
    echo "$(find "/proc/$1/fd" -mindepth 1 | wc -l)" \
        "$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status")"
}

# bats test_tags=deep
@test "10,000 connections in sequence leave no descriptor and no memory" {
    server_start "${SERVE[@]}"
    run -0 client left_by "$SERVER" 10000
    read -r fds_before kib_before <<<"${lines[0]}"
    read -r fds_after kib_after <<<"${lines[1]}"
    server_stop
    assert_equal "$(fact connections)" 10100
    assert_equal "$(fact lost)" 0
    # The last few may be about to be closed when we look.
    assert [ "$fds_after" -le $((fds_before + 5)) ]
    # A connection's own memory, without a buffer, is 1,600 KiB in 10,000.
    built_with address || assert [ "$kib_after" -lt $((kib_before + 800)) ]
}

# --- Slow, silent, and too many at once ---------------------------------------

# A hundred that send and never read. Once the server takes no more from them,
# others are served as if they were alone.
while_stuck() {
    local i pids=()
    for ((i = 0; i < 100; i++)); do
        socat -u OPEN:/dev/zero "TCP:127.0.0.1:$PORT,rcvbuf=4096,sndbuf=4096" &
        pids+=($!)
    done
    until_stuck "${pids[@]}"
    at_once 100
    dial
    seq 100000 >&"$fd" &
    [[ $(head -c 588895 <&"$fd" | cksum) == "$(seq 100000 | cksum)" ]]
    kill "${pids[@]}"
    wait "${pids[@]}" || :
}

# bats test_tags=deep
@test "a hundred slow readers do not stop a fast one" {
    server_start "${SERVE[@]}"
    client while_stuck 2>"$BATS_TEST_TMPDIR/err"
    client in_sequence 1
    server_stop
    assert_equal "$(fact lost)" 100
    # They had more buffers than the ring has slots; and no more than each of
    # them may: seven, and what two turns can bring.
    assert [ "$(fact 'most buffers held')" -gt 64 ]
    assert [ "$(fact 'most buffers held')" -le $((110 * (7 + 2 * 64))) ]
}

# 64 KiB at a time, and a word with another connection in between. So each turn
# of the server finds a few buffers' worth, and the slots never run out.
trickle() {
    local i block other
    printf -v block '%65536s' ''
    dial
    other=$fd
    dial
    for ((i = 0; i < 1024; i++)); do
        printf '%s' "$block" >&"$fd"
        echo >&"$other"
        read -r -u "$other"
    done
}

trickle_until_stuck() {
    trickle &
    until_stuck $!
    kill $!
}

# bats test_tags=deep
@test "who sends little at a time and never reads is not read from either" {
    server_start "${SERVE[@]}"
    client trickle_until_stuck
    server_stop
    # Seven, and what two turns can bring; and the other connection's.
    assert [ "$(fact 'most buffers held')" -le $((7 + 2 * 64 + 1)) ]
}

# bats test_tags=deep
@test "it stops with slow readers there, and none is awaited" {
    server_start "${SERVE[@]}"
    for i in 1 2 3; do
        socat -u OPEN:/dev/zero "TCP:127.0.0.1:$PORT,rcvbuf=4096" \
            2>/dev/null 3>&- &
        slow[i]=$!
    done
    client until_stuck "${slow[@]}"
    server_stop
    assert_equal "$(fact 'open at the end')" 3
    wait "${slow[@]}" || :
}

# bats test_tags=deep
@test "who is silent too long is closed, be it a slow reader, and nobody else" {
    for _ in {1..5}; do
        server_start "${SERVE[@]}" --idle 2
        dial
        silent=$fd
        # Neither says anything: what they hold is at its end when both are gone.
        exec {both}< <(
            exec 3>&-
            socat -u OPEN:/dev/zero "TCP:127.0.0.1:$PORT,rcvbuf=4096" 2>/dev/null &
            cat <&"$silent" &
        )
        dial
        # This one speaks until then.
        until read -r -t 0 -u "$both"; do
            echo hello >&"$fd"
            read -r -u "$fd" || break
        done
        exec {fd}>&- {silent}>&- {both}<&-
        server_stop
        assert_equal "$(fact connections)" 3
        # A machine that stood still for two seconds has closed the third.
        [[ $(fact idle) == 2 && $(fact lost) == 0 ]] || continue
        return 0
    done
    fail "$output"
}

# bats test_tags=deep
@test "nobody is closed for silence without --idle" {
    server_start "${SERVE[@]}"
    client at_once 20
    server_stop
    assert_equal "$(fact idle)" 0
}

# burst N: so many are there, and all speak while the server is stopped. What
# they have said is there all at once when it goes on.
burst() {
    local i fds=()
    for ((i = 0; i < $1; i++)); do
        dial
        fds[i]=$fd
        echo "hello" >&"$fd"
        read -r -u "$fd"
    done
    kill -STOP "$2"
    for fd in "${fds[@]}"; do echo "number $fd" >&"$fd"; done
    kill -CONT "$2"
    for fd in "${fds[@]}"; do
        read -r -u "$fd" answer
        [[ $answer == "number $fd" ]]
    done
}

# bats test_tags=deep
@test "with one buffer for a hundred the recvs end, and are armed again" {
    server_start "${SERVE[@]}" --buffers 1
    client burst 100 "$SERVER"
    server_stop
    assert_equal "$(fact messages)" 200
    assert_equal "$(fact lost)" 0
    assert [ "$(fact 'out of buffers')" -gt 0 ]
}

# bats test_tags=deep
@test "with sixteen places for a hundred completions none is lost" {
    server_start "${SERVE[@]}" --entries 8
    client burst 100 "$SERVER"
    server_stop
    assert_equal "$(fact messages)" 200
    assert_equal "$(fact lost)" 0
    assert [ "$(fact overflows)" -gt 0 ]
}

# bats test_tags=deep
@test "all of it with the smallest rings" {
    small=("${SERVE[@]}" --entries 8 --buffers 1)
    echoes_in_sequence 100 "${small[@]}"
    echoes_at_once 200 "${small[@]}"
    echoes_bytes 5 $((1 << 20)) "${small[@]}"
    survives_a_reset "${small[@]}"
    survives_few_descriptors "${small[@]}"
    stops_cleanly "${small[@]}"
}

# without_memory SERVER SHORT: as long as there is the file SHORT, malloc() gives
# no buffer, and writes a byte to it.
without_memory() {
    local one other
    dial
    one=$fd
    dial
    other=$fd
    for fd in $one $other; do
        echo hello >&"$fd"
        read -r -u "$fd"
    done
    : >"$2"
    echo 'into the last buffer' >&"$one"
    read -r -u "$one" answer
    [[ $answer == 'into the last buffer' ]]
    for fd in $one $other; do echo "number $fd" >&"$fd"; done
    while (($(stat -c %s "$2") < 10)); do [[ -e /proc/$1/exe ]]; done
    rm "$2"
    for fd in $one $other; do
        read -r -u "$fd" answer
        [[ $answer == "number $fd" ]]
    done
}

# bats test_tags=deep
@test "without memory for a single buffer it waits until there is some" {
    cc -shared -fPIC -o "$BATS_TEST_TMPDIR/libshort-of.so" -x c - <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void *malloc(size_t size)
{
    static void *(*real)(size_t);
    int fd;

    if (!real)
        real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    /* A buffer: 4 KiB and a little. */
    if (size <= 4096 || size > 4200 ||
        (fd = open(getenv("SHORT"), O_WRONLY | O_APPEND)) < 0)
        return real(size);
    if (write(fd, "x", 1) != 1 || close(fd))
        abort();
    return NULL;
}
END
    began=$(now)
    server_start env LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" LD_PRELOAD=libshort-of.so \
        ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" \
        SHORT="$BATS_TEST_TMPDIR/short" "${SERVE[@]}" --buffers 1
    client without_memory "$SERVER" "$BATS_TEST_TMPDIR/short"
    server_stop
    assert_equal "$(fact messages)" 5
    assert_equal "$(fact lost)" 0
    # Every 10 ms, and not over and over.
    assert [ "$(fact 'system calls')" -lt $((100 + ($(now) - began) / 10)) ]
}

# No memory in the kernel for another request, for fifty turns. Nothing that is in
# flight need complete meanwhile: a client's message must not have to wait for
# another client.
# bats test_tags=deep
@test "while the kernel takes no request it sleeps, and then serves again" {
    for error in 11 16; do
        with_rings "$BIN/17-liburing-server" --check
        assert_success
        from=$(($(grep -c ^submit "$RINGS_LOG") + 10))
        rm "$RINGS_LOG"
        server_start env LD_LIBRARY_PATH="$BUILD" LD_PRELOAD=librings.so \
            ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0" \
            RINGS_LOG="$RINGS_LOG" RINGS_REFUSE="$error $from 50" "${SERVE[@]}"
        client in_sequence 20
        server_stop
        assert_equal "$(fact messages), $(fact lost) lost" '20, 0 lost'
        assert_equal "$(spins)" 'none of 50'
    done
}

# --- System calls -------------------------------------------------------------

@test "strace: io_uring_enter serves, and no other call" {
    need_strace
    server_traced "${SERVE[@]}"
    client at_once 20
    server_stop
    said=$(fact 'system calls')
    # Besides, memory comes and goes; and at the end, what it has opened: the
    # ring, the listener and the signalfd.
    run -0 awk '
        / write\(1, "port:/ { on = 1; next }
        / write\(1, "connections:/ { on = 0 }
        $2 ~ /^(brk|mmap|munmap|mprotect|madvise)\(/ { next }
        on { sub(/\(.*/, "", $2); n[$2]++ }
        END { for (call in n) print call, n[call] }' "$STRACE_LOG"
    assert_equal "${#lines[@]}" 2
    assert_line 'close 3'
    assert_line "io_uring_enter $((said - 2))"
}

# A submit, which comes back with the send's completion, and a wait. A busy
# machine may have the next message there by then: once in twenty will do.
@test "a server that waits for each message makes two calls" {
    for _ in {1..20}; do
        server_start "${SERVE[@]}"
        client ping_pong 100
        server_stop
        # The few for the connection, and for the end, round down.
        [[ $(($(fact 'system calls') / 100)) != 2 ]] || return 0
    done
    fail "$output"
}

# --- What is too old ----------------------------------------------------------

# bats test_tags=deep
@test "a kernel before 5.19, or without rings, is told, with status 77" {
    need_strace
    for option in --check '--serve 0' ''; do
        # shellcheck disable=SC2086 # none, or two
        run -77 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=io_uring_register:error=EINVAL \
            "$BIN/17-liburing-server" $option
        assert_equal "$output" ''
        assert_equal "$stderr" "17-liburing-server: registering a buffer ring:\
 Invalid argument: it needs Linux 5.19 or later, and multishot recv 6.0"
        # shellcheck disable=SC2086
        run -77 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=io_uring_setup:error=ENOSYS \
            "$BIN/17-liburing-server" $option
        assert_regex "$stderr" 'setting up io_uring: .*no io_uring'
    done
}

# To a kernel that does not know the flag it is like this one, which none knows.
# bats test_tags=deep
@test "a kernel before 6.0 is told, with status 77" {
    cc -shared -fPIC -o "$BATS_TEST_TMPDIR/libold.so" -x c - <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <liburing.h>

int io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    int (*real)(struct io_uring *, unsigned) =
        (int (*)(struct io_uring *, unsigned))dlsym(RTLD_NEXT, __func__);

    for (unsigned i = 0; i < ring->sq.ring_entries; i++)
        if (ring->sq.sqes[i].opcode == IORING_OP_RECV)
            ring->sq.sqes[i].ioprio = 1 << 15;
    return real(ring, n);
}
END
    for option in --check '--serve 0' ''; do
        # shellcheck disable=SC2086 # none, or two
        ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 \
            run -77 --separate-stderr env \
            LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" LD_PRELOAD=libold.so \
            "$BIN/17-liburing-server" $option
        assert_equal "$output" ''
        assert_equal "$stderr" "17-liburing-server: multishot recv: Invalid\
 argument: it needs Linux 6.0 or later"
    done
}
