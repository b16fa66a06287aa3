#!/usr/bin/env bats
# 19 · Time, and giving up: each outcome by its name, none of them by luck.

setup() {
    load ../../common/test/helpers
    load ../../common/test/rings
    needs 19-liburing-cancel
}

# part TITLE: keep of $output the lines below that title, blanks squeezed.
part() {
    output=$(sed -n "/^$1/,/^\$/p" <<<"$output" | sed -E 's/ +/ /g; s/^ //')
    mapfile -t lines <<<"$output"
}

# shows TITLE LINE...: that part is there, and is these lines.
shows() {
    run -0 --separate-stderr "$BIN/19-liburing-cancel"
    assert_equal "$stderr" ''
    part "$1"
    shift
    run -0 sed '1d; /^$/d' <<<"$output"
    assert_output "$(printf '%s\n' "$@")"
}

# by_descriptor: skip before 5.19, where the program takes the longer way.
by_descriptor() {
    ! "$BIN/19-liburing-cancel" | grep -q "this kernel can't" ||
        skip 'this kernel (before 5.19) does not cancel by descriptor'
}

@test "a timeout ends by time, or early by its count" {
    shows 'Time: ' \
        '1 timeout, 1 ms -ETIME its time is up' \
        '1 timeout, 1 h or 1 completion 0 so many have completed' \
        '2 NOP 0 done'
}

@test "of a read and its limit one is called off, never both or none" {
    shows 'Time for one request' \
        '1 read, silent pipe -ECANCELED called off' \
        '2 its limit, 1 ms -ETIME its time is up' \
        '1 read, 8 bytes in the pipe 8 bytes, in the buffer' \
        '2 its limit, 1 h -ECANCELED called off'
}

@test "a cancel by name, one that finds nothing, and one by descriptor" {
    by_descriptor
    shows 'Calling off: ' \
        '1 read, silent pipe -ECANCELED called off' \
        '2 cancel user_data 1 0 found, and called off' \
        '3 cancel user_data 1 once more -ENOENT there is no such request' \
        '1 read, silent pipe -ECANCELED called off' \
        '2 read, the same pipe -ECANCELED called off' \
        '3 cancel all of the descriptor 2 so many, called off'
}

@test "too late: the read has its bytes, the splice has moved a part" {
    ((PAGE <= 16384)) || skip 'so few pages go into the socket as one'
    run -0 "$BIN/19-liburing-cancel"
    part 'Calling off too late'
    assert_line --index 1 '1 read, silent pipe 8 bytes, in the buffer'
    assert_line --index 2 \
        '2 8 bytes written; cancel -ENOENT there is no such request'
    assert_line --index 5 \
        '3 cancel user_data 1 -EALREADY it runs: told it to stop'
    # What is moved has arrived, the rest is still there, and nothing is lost.
    moved=$(sed -nE 's/^1 splice, pipe to socket ([0-9]+) bytes moved$/\1/p' \
        <<<"$output")
    assert [ "$moved" -gt 0 ]
    assert [ "$moved" -lt 524288 ]
    assert_line --index 6 \
        "at the far end: $moved, still in the pipe: $((524288 - moved))"
}

# The wrong twin must go wrong every time.
@test "a buffer given back before the CQE is written to; after it, it is not" {
    for _ in {1..20}; do
        shows "Whose buffer" \
            "wrong: forget the read" \
            '1 read, silent pipe 8 bytes, in the buffer' \
            'the next owner wrote "my words", has "intruder"; still in the pipe: 0' \
            "right: cancel, and wait for the read's CQE" \
            '1 read, silent pipe -ECANCELED called off' \
            '2 cancel user_data 1 0 found, and called off' \
            'the next owner wrote "my words", has "my words"; still in the pipe: 8'
    done
}

# bats test_tags=deep
@test "a read in flight keeps its pipe open, and the closed ring lets go of it" {
    shows 'Closing a ring' \
        'read end closed, its read in flight: readers: one' \
        '1 ring closed; poll, write end 8 POLLERR' \
        '2 its limit, 10 s -ECANCELED called off' \
        'readers: none'
}

# bats test_tags=deep
@test "strace: every ring, pipe and socket is closed, and each only once" {
    need_strace
    strace_calls io_uring_setup,pipe2,socketpair,close "$BIN/19-liburing-cancel"
    assert_success
    # Two find out whether this machine can show it.
    assert_equal "$(count_calls io_uring_setup)" 5
    made=$((5 + 2 * $(count_calls pipe2) + 2 * $(count_calls socketpair)))
    closed=$(sed -n '/io_uring_setup/,$p' "$STRACE_LOG" |
        grep -cE 'close\(([3-9]|[0-9]{2,})<.*(io_uring|pipe:|socket:|UNIX).*\) += 0$')
    assert_equal "$closed" "$made"
}

# bats test_tags=deep
@test "overflow: seen by the flag, nothing lost, all in their order" {
    shows 'More completions' \
        'in the CQ: 2, IORING_SQ_CQ_OVERFLOW: set, lost: 0' \
        'reaped: NOP 1 NOP 2' \
        'reaped: NOP 3 NOP 4' \
        'reaped: NOP 5' \
        'in the CQ: 0, IORING_SQ_CQ_OVERFLOW: not set, lost: 0'
}

# The ring made last has 5 submits. Only then does the flush enter the kernel.
# bats test_tags=deep
@test "strace: the flush is a call that waits for one completion, twice" {
    need_strace
    strace_calls io_uring_enter,io_uring_setup "$BIN/19-liburing-cancel"
    assert_success
    run -0 perl -ne '@last = () if /io_uring_setup\(1, /; push @last, $_;
        END { print @last }' "$STRACE_LOG"
    assert_equal "$(grep -cE '\]>, 1, 0, [^,]*, NULL, [0-9]+\) = 1$' <<<"$output")" 5
    assert_equal "$(grep -cE '\]>, 0, 1, IORING_ENTER_GETEVENTS' <<<"$output")" 2
}

# bats test_tags=deep
@test "a submit that is refused with EBUSY is made again after reaping" {
    need_strace
    # Which number has it? The fourth submit of the last ring. How often the
    # program waits before that varies a little, so it may take a few tries.
    for _ in {1..20}; do
        strace_calls io_uring_enter,io_uring_setup "$BIN/19-liburing-cancel"
        last=$(grep -n io_uring_setup "$STRACE_LOG" | tail -n 1 | cut -d: -f1)
        before=$(head -n "$last" "$STRACE_LOG" | grep -c 'io_uring_enter(')
        run --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=io_uring_enter:error=EBUSY:when=$((before + 4)) \
            "$BIN/19-liburing-cancel"
        [[ $status != 0 || $output != *-EBUSY* ]] || break
    done
    part 'More completions'
    assert_line --index 1 -- '-EBUSY'
    # Nothing has been lost, and nothing came twice.
    assert_equal "$(grep -o 'NOP .*' <<<"$output" | paste -sd ' ')" \
        'NOP 1 NOP 2 NOP 3 NOP 4 NOP 5'
}

# bats test_tags=deep
@test "EINTR: a submit or a wait that a signal cut short is made again" {
    need_strace
    run -0 "$BIN/19-liburing-cancel"
    right=$(perl "$ROOT/common/test/normalize.pl" <<<"$output")
    for when in 1 2 3 5 7 9 11 13 15 17 {19..26}; do
        run -0 --separate-stderr strace -o /dev/null -e signal=none \
            -e inject=io_uring_enter:error=EINTR:when="$when" \
            "$BIN/19-liburing-cancel"
        assert_equal "$(perl "$ROOT/common/test/normalize.pl" <<<"$output")" \
            "$right"
    done
}

# Nothing arrives at the far end then, and who only waits for that waits for ever.
# bats test_tags=deep
@test "without a thread for the splice it says so, and shows the rest" {
    limited 19-liburing-cancel
    run -0 --separate-stderr "${limited[@]}" "$here/19-liburing-cancel"
    rm -r "$here"
    assert_equal "$stderr" ''
    assert_line "      missing: a thread of the kernel's for the splice. No more"
    refute_line --partial 'splice, pipe to socket'
    assert_line --partial 'readers: none'
    assert_line --partial 'reaped: NOP 5'
}

# bats test_tags=deep
@test "a splice that fails for another reason is an error, and no wait for ever" {
    with_rings RINGS_BREAK=30 "$BIN/19-liburing-cancel" # IORING_OP_SPLICE
    assert_equal "$status" 1
    assert_equal "$stderr" \
        '19-liburing-cancel: splicing from a pipe to a socket: Bad file descriptor'
}

# A stand-in for older kernels: it takes features away, and adds a flag that no
# kernel knows to cancels by descriptor, so that they are refused as by those.
older_kernel() {
    cc -shared -fPIC -x c -o "$BATS_TEST_TMPDIR/older.so" - -ldl <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <liburing.h>
#include <stdlib.h>
int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    int (*real)(unsigned, struct io_uring *, unsigned) =
        dlsym(RTLD_NEXT, "io_uring_queue_init");
    int result = real(entries, ring, flags);
    ring->features &= strtoul(getenv("FEATURES"), NULL, 0);
    return result;
}
int io_uring_submit(struct io_uring *ring)
{
    int (*real)(struct io_uring *) = dlsym(RTLD_NEXT, "io_uring_submit");
    for (unsigned i = 0; i < ring->sq.ring_entries; i++)
        if (ring->sq.sqes[i].opcode == IORING_OP_ASYNC_CANCEL &&
            ring->sq.sqes[i].cancel_flags != 0)
            ring->sq.sqes[i].cancel_flags |= 1u << 31;
    return real(ring);
}
END
    run --separate-stderr env FEATURES="$1" \
        ASAN_OPTIONS="$ASAN_OPTIONS:verify_asan_link_order=0" \
        LD_LIBRARY_PATH="$BATS_TEST_TMPDIR" LD_PRELOAD=older.so "$BIN/19-liburing-cancel" "${@:2}"
}

# bats test_tags=deep
@test "5.18: refused by descriptor, both reads are called off by their names" {
    older_kernel 0xffffffff
    assert_success
    part 'Calling off: '
    run -0 sed -n '5,$p' <<<"$output"
    assert_line --index 0 '1 read, silent pipe -ECANCELED called off'
    assert_line --index 1 '2 read, the same pipe -ECANCELED called off'
    assert_line --index 2 \
        "3 cancel all of the descriptor -EINVAL this kernel can't"
    assert_line --index 3 '4 cancel user_data 1 0 found, and called off'
    assert_line --index 4 '5 cancel user_data 2 0 found, and called off'
}

# IORING_FEAT_: SINGLE_MMAP 1, NODROP 2, RW_CUR_POS 8, FAST_POLL 32.
# bats test_tags=deep
@test "on less it names what is missing, and shows the rest" {
    older_kernel $((1 + 2 + 8)) # 5.6
    assert_success
    assert_line '      missing: IORING_OP_SPLICE: it needs Linux 5.7'
    assert_line --partial 'called off'
    older_kernel $((1 + 2)) # 5.5
    assert_success
    assert_line 'missing: IORING_OP_READ, to be called off: it needs Linux 5.6'
    assert_line --partial 'its time is up'
    assert_line --partial 'NOP 5'
    older_kernel 1 # 5.4
    assert_success
    assert_line '      missing: it needs Linux 5.5'
    assert_line --partial 'its time is up'
    refute_line --partial 'NOP 5'
    for check in '' --check; do
        older_kernel 0 $check # 5.3
        assert_equal "$status" 77
        assert_equal "$output" ''
        assert_equal "$stderr" "19-liburing-cancel: IORING_OP_TIMEOUT: it needs\
 Linux 5.4 or later"
    done
}

# --- What the page says of limits, and the program does not show -------------------

# beyond MAIN: build this main() with the chapter's functions, and run it.
beyond() {
    ((PAGE <= 16384)) || skip 'so few pages go into the socket as one'
    printf '%s\n' '#define main chapter' '#include "liburing-cancel.c"' '#undef main
        /* A splice that blocks in a thread of the kernel. */
        static struct request *block(struct scene *s, int socket[2], int flags)
        {
            static const char load[512 << 10];
            const int bytes = sizeof(load), small = 1;
            int pipe[2];

            open_pipe(pipe);
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket) ||
                setsockopt(socket[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) ||
                fcntl(pipe[1], F_SETPIPE_SZ, bytes) < 0 ||
                write(pipe[1], load, sizeof(load)) != bytes)
                err(1, "filling a pipe");
            struct io_uring_sqe *sqe = entry(s);
            io_uring_prep_splice(sqe, pipe[0], -1, socket[0], -1, bytes, 0);
            io_uring_sqe_set_flags(sqe, flags);
            return label(s, sqe, "", "");
        }
        static void started(const int socket[2])
        {
            if (poll(&(struct pollfd){.fd = socket[1], .events = POLLIN}, 1, -1) < 0)
                err(1, "waiting for the splice");
        }' "$1" >"$BATS_TEST_TMPDIR/beyond.c"
    cc -D_FILE_OFFSET_BITS=64 -I"$ROOT/common" \
        -I"$ROOT/chapters/19-liburing-cancel" \
        "$BATS_TEST_TMPDIR/beyond.c" "$ROOT"/common/*.c -luring -lz \
        -o "$BATS_TEST_TMPDIR/beyond"
    run -0 timeout 60 "$BATS_TEST_TMPDIR/beyond"
}

# bats test_tags=deep
@test "a linked limit does not end a splice; a timeout and a cancel do" {
    beyond 'int main(void)
    {
        struct scene s = {.ring = open_ring(REQUESTS)};
        struct __kernel_timespec longer = {.tv_nsec = 200000000};
        int socket[2];
        struct request *splice = block(&s, socket, IOSQE_IO_LINK);
        struct request *linked = &s.requests[1];
        limit(&s, &soon, "");
        struct io_uring_sqe *sqe = entry(&s);
        io_uring_prep_timeout(sqe, &longer, 0, 0);
        int own = result_of(&s, label(&s, sqe, "", ""));
        printf("after 200 ms: %s, splice %d, limit of 1 ms %d\n", own == -ETIME
            ? "-ETIME" : "?", splice->completed, linked->completed);
        result_of(&s, start_cancel(&s, 1, ""));
        printf("canceled: %s\n", result_of(&s, splice) > 0 ? "some moved" : "?");
    }'
    [[ $output != *'splice 1'* ]] ||
        skip 'this kernel starts the clock before it tries (before Linux 6.16)'
    assert_output 'after 200 ms: -ETIME, splice 0, limit of 1 ms 0
canceled: some moved'
}

# bats test_tags=deep
@test "a cancel with ALL stops what runs, and counts only what waits" {
    beyond 'int main(void)
    {
        struct scene s = {.ring = open_ring(REQUESTS)};
        int socket[2], pipe[2];
        char data[BYTES];
        for (int waiting = 0; waiting <= 2; waiting++) {
            struct io_uring_sqe *sqe;
            s.asked = 0;
            block(&s, socket, 0);
            submit(&s);
            started(socket);
            open_pipe(pipe);
            for (int i = 0; i < waiting; i++) {
                sqe = entry(&s);
                io_uring_prep_read(sqe, pipe[0], data, BYTES, 0);
                label(&s, sqe, "", "");
                io_uring_sqe_set_data64(sqe, 1); /* As the splice has it. */
            }
            submit(&s);
            sqe = entry(&s);
            io_uring_prep_cancel64(sqe, 1, IORING_ASYNC_CANCEL_ALL);
            label(&s, sqe, "", "");
            submit(&s);
            int found = -1, moved = -1, gone = 0;
            for (int i = 0; i < waiting + 2; i++) {
                struct io_uring_cqe *cqe;
                if (io_uring_wait_cqe(&s.ring, &cqe))
                    return 1;
                if (io_uring_cqe_get_data64(cqe) != 1)
                    found = cqe->res;
                else if (cqe->res == -ECANCELED)
                    gone++;
                else
                    moved = cqe->res;
                io_uring_cqe_seen(&s.ring, cqe);
            }
            printf("found %d, canceled %d, moved %d\n", found, gone, moved > 0);
        }
    }'
    [[ $output != *'found -22'* ]] || skip 'IORING_ASYNC_CANCEL_ALL needs Linux 5.19'
    assert_output 'found 0, canceled 0, moved 1
found 1, canceled 1, moved 1
found 2, canceled 2, moved 1'
}

# bats test_tags=deep
@test "a linked limit ends another request of the same name" {
    beyond 'int main(void)
    {
        struct scene s = {.ring = open_ring(REQUESTS)};
        int pipe[2][2];
        char data[2][BYTES];
        open_pipe(pipe[0]);
        open_pipe(pipe[1]);
        start_read(&s, pipe[0], data[0], IOSQE_IO_LINK, "");
        limit(&s, &(struct __kernel_timespec){.tv_nsec = 200000000}, "");
        submit(&s);
        struct io_uring_sqe *sqe = entry(&s);
        io_uring_prep_read(sqe, pipe[1][0], data[1], BYTES, 0);
        io_uring_sqe_set_data64(sqe, 1);
        submit(&s);
        result_of(&s, &s.requests[0]); /* One of the two. */
        printf("%s\n", s.requests[0].res == -ECANCELED ? "canceled" : "?");
        put(pipe[0], "in there");
        put(pipe[1], "in there");
        s.requests[0].completed = false;
        result_of(&s, &s.requests[0]);
        printf("%d bytes, in the other pipe %d\n", s.requests[0].res,
               bytes_in(pipe[1][0]));
    }'
    assert_output 'canceled
8 bytes, in the other pipe 8'
}
