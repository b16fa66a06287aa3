# Tests for an echo server, with real clients. A test.bats loads this behind
# helpers.bash and calls them with the command that starts the server:
#
#     load ../../common/test/server
#     echoes_in_sequence 1000 "$BIN/10-io-submit-poll" --serve 0 --with poll
#
# The server listens on 127.0.0.1, picks a port, prints "port: N", and ends by
# SIGINT or SIGTERM with status 0 and facts: connections, lost (by an error),
# messages, bytes. Each test starts one and stops it again.
#
# A client is bash's /dev/tcp, in a bash of its own: bats looks at each command
# of a test, which makes them slow. Where that is not enough, it is socat.
# shellcheck shell=bash

# server_start COMMAND...: start it and wait for its port. Sets $SERVER, its
# process, and $PORT. Descriptor 3 is bats', which would wait for the server.
server_start() {
    SERVER_LOG=$BATS_TEST_TMPDIR/server
    rm -f "$SERVER_LOG".*
    mkfifo "$SERVER_LOG.fifo"
    "$@" >"$SERVER_LOG.fifo" 2>"$SERVER_LOG.err" </dev/null 3>&- &
    SERVER=$!
    exec {SERVER_SAYS}<"$SERVER_LOG.fifo"
    if ! read -r -t 60 -u "$SERVER_SAYS" PORT || [[ $PORT != 'port: '* ]]; then
        kill -KILL "$SERVER" 2>/dev/null || :
        fail "no port from: $* $(cat "$SERVER_LOG.err")"
    fi
    PORT=${PORT#port: }
}

# server_stop [SIGNAL]: stop it. Sets $output and $stderr, as `run` does, so that
# `fact` finds what the server says at its end; fails if its status is not 0.
server_stop() {
    local status=0
    kill -"${1:-TERM}" "$SERVER"
    # shellcheck disable=SC2034 # It is for `fact`.
    output=$(timeout 60 cat <&"$SERVER_SAYS") || kill -KILL "$SERVER"
    wait "$SERVER" || status=$?
    SERVER=''
    stderr=$(<"$SERVER_LOG.err")
    exec {SERVER_SAYS}<&-
    assert_equal "$status" 0
    assert_equal "$stderr" ''
}

# server_kill: for teardown. A test that has failed leaves its server behind.
server_kill() { [[ ! ${SERVER:-} ]] || kill -KILL "$SERVER" 2>/dev/null || :; }

# client FUNCTION [ARGUMENTS]: in a bash of its own, which also has the functions
# in CLIENT_FUNCTIONS; a hang being a failure.
CLIENT_FUNCTIONS=(dial in_sequence until_stuck)
client() {
    PORT=$PORT timeout --kill-after=5 100 bash -c \
        "set -e; $(declare -f "$1" "${CLIENT_FUNCTIONS[@]}")"$'\n"$@"' \
        client "$@" 3>&-
}

# dial: connect. Sets $fd.
dial() { exec {fd}<>"/dev/tcp/127.0.0.1/$PORT"; }

# --- One after the other, and at once -----------------------------------------

in_sequence() {
    local i
    for ((i = 0; i < $1; i++)); do
        dial
        echo "number $i" >&"$fd"
        read -r -u "$fd" answer
        [[ $answer == "number $i" ]]
        exec {fd}>&-
    done
}

# echoes_in_sequence N COMMAND...
echoes_in_sequence() {
    server_start "${@:2}"
    client in_sequence "$1"
    server_stop
    assert_equal "$(fact connections)" "$1"
    assert_equal "$(fact lost)" 0
}

# All are open before the first one speaks, and speak before the first listens.
at_once() {
    local i fds=()
    for ((i = 0; i < $1; i++)); do
        dial
        fds[i]=$fd
    done
    for ((i = 0; i < $1; i++)); do echo "number $i" >&"${fds[i]}"; done
    for ((i = $1 - 1; i >= 0; i--)); do
        read -r -u "${fds[i]}" answer
        [[ $answer == "number $i" ]]
    done
}

# echoes_at_once N COMMAND...
echoes_at_once() {
    server_start "${@:2}"
    client at_once "$1"
    server_stop
    assert_equal "$(fact connections)" "$1"
    assert_equal "$(fact lost)" 0
    assert_equal "$(fact messages)" "$1"
}

# --- Much, byte for byte ------------------------------------------------------

# echoes_bytes N SIZE COMMAND...: through N connections at once. socat says that
# its input is at an end (a half-closed connection), and gets the rest all the
# same. Each sends other bytes.
echoes_bytes() {
    local n=$1 size=$2 i pids=()
    server_start "${@:3}"
    for ((i = 0; i < n; i++)); do
        seq $((i * 1000000)) $((i * 1000000 + 999999)) 2>/dev/null |
            head -c "$size" >"$BATS_TEST_TMPDIR/sent.$i"
        timeout 100 socat -t 60 - "TCP:127.0.0.1:$PORT" \
            <"$BATS_TEST_TMPDIR/sent.$i" >"$BATS_TEST_TMPDIR/back.$i" 3>&- &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    server_stop
    for ((i = 0; i < n; i++)); do
        assert_equal "$(stat -c %s "$BATS_TEST_TMPDIR/back.$i")" "$size"
        cmp "$BATS_TEST_TMPDIR/sent.$i" "$BATS_TEST_TMPDIR/back.$i"
    done
    assert_equal "$(fact bytes)" $((n * size))
    assert_equal "$(fact lost)" 0
}

# --- Clients that do not behave -----------------------------------------------

# until_stuck PROCESS...: wait until all have written, and none can any more: they
# have written nothing while another client was echoed a hundred messages. Fails
# if one has finished.
until_stuck() {
    local before='' now counts=("${@/#//proc/}")
    while
        now=$(grep -h wchar "${counts[@]/%//io}")
        [[ $now != "$before" || $now == *'wchar: 0'* ]]
    do
        before=$now
        in_sequence 100
    done
    kill -0 "$@"
}

# One sends 64 MiB and reads none of it. The kernel's buffers take a part; then
# nothing more must be taken from it. Prints the server's peak of memory, in KiB.
never_reads() {
    dial
    head -c 64M /dev/zero >&"$fd" &
    until_stuck $!
    sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"
    kill $!
    wait $! || :
}

# One sends 63 MB, and begins to read when it can send no more.
reads_late() {
    local late
    dial
    late=$fd # until_stuck dials, too.
    seq 10000000 16999999 >&"$late" &
    until_stuck $!
    [[ $(head -c 63000000 <&"$late" | cksum) == \
        "$(seq 10000000 16999999 | cksum)" ]]
    wait $!
}

# echoes_to_who_reads_late COMMAND...
echoes_to_who_reads_late() {
    server_start "$@"
    client reads_late
    server_stop
    assert_equal "$(fact lost)" 0
}

# lost_one: has the server lost one connection? False if it has not yet heard of
# the reset: the news may be a kernel worker's to bring, on a busy machine after
# all the rest, and then the connection is still open at the end.
lost_one() {
    [[ $(fact lost) != 1 ]] || return 0
    assert_equal "$(fact lost), $(fact 'open at the end') open" '0, 1 open'
    return 1
}

# survives_who_never_reads COMMAND...
survives_who_never_reads() {
    local peak
    for _ in {1..20}; do
        server_start "$@"
        peak=$(client never_reads "$SERVER")
        # It has gone away with much unread: a reset. Whoever comes after it is
        # served after that.
        client in_sequence 1
        server_stop
        # A sanitizer has its own ideas of memory.
        built_with address || assert [ "$peak" -lt 16384 ] # KiB
        assert [ "$(fact bytes)" -lt $((64 << 20)) ]
        if lost_one; then return 0; fi
    done
    fail "$output"
}

# Who closes a connection without having read all that came through it resets
# it. "read -t 0" only says whether there is something.
resets() {
    dial
    echo gone >&"$fd"
    until read -r -t 0 -u "$fd"; do :; done
    exec {fd}>&-
}

# survives_a_reset COMMAND...
survives_a_reset() {
    for _ in {1..20}; do
        server_start "$@"
        client resets
        client in_sequence 1
        server_stop
        assert_equal "$(fact connections)" 2
        if lost_one; then return 0; fi
    done
    fail "$output"
}

# crowd N ROOM: so many clients have come and spoken before the first closes, and
# so many of them must be served by then. Each one that closes lets in one of
# those for whom there was no room.
crowd() {
    local i fds=()
    for ((i = 0; i < $1; i++)); do
        dial
        fds[i]=$fd
        echo "number $i" >&"$fd"
    done
    for ((i = 0; i < $1; i++)); do
        if ((i == $2)); then
            for fd in "${fds[@]:0:$2}"; do exec {fd}>&-; done
        fi
        read -r -u "${fds[i]}" answer
        [[ $answer == "number $i" ]]
        fd=${fds[i]}
        ((i < $2)) || exec {fd}>&-
    done
}

# crowd_for_few: fifty, for a server whose descriptors must be below 32. It can
# serve as many as are left of these, and the next one fails for certain.
crowd_for_few() {
    local open room=32
    for open in "/proc/$SERVER/fd"/*; do
        ((${open##*/} >= 32)) || ((--room))
    done
    client crowd 50 "$room"
}

# survives_few_descriptors COMMAND...
survives_few_descriptors() {
    server_start bash -c 'ulimit -n 32; exec "$@"' bash "$@"
    crowd_for_few
    server_stop
    assert_equal "$(fact connections)" 50
    assert_equal "$(fact lost)" 0
}

# survives_a_crowd COMMAND...: more than the 1,024 that it has room for. Those
# wait, as they do without a descriptor.
survives_a_crowd() {
    server_start "$@"
    client crowd 1100 1024
    server_stop
    assert_equal "$(fact connections)" 1100
    assert_equal "$(fact lost)" 0
    assert [ "$(fact pauses)" -gt 0 ]
}

# stops_cleanly COMMAND...: by either signal, with clients there.
stops_cleanly() {
    local signal fd
    for signal in INT TERM; do
        server_start "$@"
        dial
        echo hello >&"$fd"
        read -r -u "$fd"
        server_stop "$signal"
        assert_equal "$REPLY" hello
        assert_equal "$(fact connections)" 1
        # The client finds the end, and not a reset.
        assert_equal "$(cat <&"$fd")" ''
        exec {fd}>&-
    done
}

# refuses_a_port_that_is_taken COMMAND... --serve 0
refuses_a_port_that_is_taken() {
    server_start "$@"
    run -1 --separate-stderr "${@:1:$#-1}" "$PORT"
    assert_equal "$stderr" "${1##*/}: binding port $PORT of 127.0.0.1:\
 Address already in use"
    server_stop
}

# --- What a server does, message by message ------------------------------------

# ping_pong N: one message at a time, so that the server waits for each.
ping_pong() {
    dial
    for ((i = 0; i < $1; i++)); do
        echo "number $i" >&"$fd"
        read -r -u "$fd"
    done
}

# server_traced COMMAND...: server_start, and its calls go to a log. With -D the
# server is our child, and strace is not.
server_traced() {
    STRACE_LOG=$BATS_TEST_TMPDIR/strace.log
    server_start strace -D -f -o "$STRACE_LOG" -e signal=none "$@"
}

# calls_for NAME: the line of a table of calls for each message.
calls_for() { grep "^$1  " <<<"$output" | sed "s/^$1  *//; s/  */ /"; }
