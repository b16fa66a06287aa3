/*
 * 17 · An echo server on one ring
 *
 * A receive that is asked for once and completes for each message, into buffers
 * that the kernel picks. First that alone, on a socket pair, until the buffers
 * run out. Then chapter 10's echo server made of it: each of four servers echoes
 * the same messages, and the system calls are counted. With --serve, it is on a
 * port of 127.0.0.1.
 *
 * Watch for: two submits bring three messages and the end. And one server needs
 * fewer system calls than it echoes messages.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/17-liburing-server/?*.c \
 *           common/?*.c common/server/?*.c -lz -luring -o 17-liburing-server
 *
 * Needs: Linux 6.0, for multishot recv; liburing 2.3.
 * Manual pages: io_uring_prep_recv_multishot(3), io_uring_register_buf_ring(3),
 * io_uring_prep_multishot_accept(3), io_uring_prep_cancel(3), signalfd(2).
 */
#define _GNU_SOURCE /* strerrorname_np() */
#include "args.h"
#include "count.h"
#include "echo.h"
#include "ready.h"
#include "server/aio.h"
#include "server/server.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_PORT = 65535, CLIENTS = 8, ROUNDS = 20, BUFFERS = 2, SIZE = 16 };

static unsigned port = MAX_PORT + 1; /* Not given. */
static struct echo_settings settings = {.entries = 256, .buffers = 64};
static const struct echo_settings small = {.entries = 32, .buffers = 16};

static double calls_for_each(const struct events *events, unsigned clients);

/* Whether all of it is there is best found out by doing it. */
static void ready(const struct args *args)
{
    (void)args;
    ready_uring(NULL);
    calls_for_each(NULL, 1);
}

static const struct program program = {
    .name = "17-liburing-server",
    .does = "Receives by multishot requests, and serves with one ring.",
    .ready = ready,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("serve", "echo what comes to this port, 0 picks one",
                          &port, 0, MAX_PORT),
            OPTION_NUMBER("idle", "seconds until a silent client goes, 0 never",
                          &settings.idle, 0, 86400),
            OPTION_NUMBER("entries", "slots in the submission queue",
                          &settings.entries, 8, 4096),
            OPTION_NUMBER("buffers", "slots in the buffer ring",
                          &settings.buffers, 1, 256),
            OPTION_END},
};

/* --- One receive, several messages --------------------------------------- */

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static char buffers[BUFFERS][SIZE];
static unsigned submits;

/* Put both buffers into the ring. A buffer that has been received into is taken
   out, and comes back in no other way. */
static void give_buffers(void)
{
    for (unsigned short i = 0; i < BUFFERS; i++)
        io_uring_buf_ring_add(buffer_ring, buffers[i], SIZE, i,
                              io_uring_buf_ring_mask(BUFFERS), i);
    io_uring_buf_ring_advance(buffer_ring, BUFFERS);
}

/* No buffer and no length: which one it is comes with the completion. */
static void submit_recv(int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    int result;

    if (!sqe)
        errx(1, "the submission queue is full");
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    do
        result = io_uring_submit(&ring);
    while (result == -EINTR);
    check(result, "submitting a recv");
    submits++;
}

/* Print one completion, and say whether there will be more. */
static bool collect(void)
{
    struct io_uring_cqe *cqe;
    int result;

    do
        result = io_uring_wait_cqe(&ring, &cqe);
    while (result == -EINTR);
    check(result, "waiting for a recv");
    bool more = cqe->flags & IORING_CQE_F_MORE;
    unsigned i = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    if (cqe->res < 0)
        printf("  res %s", strerrorname_np(-cqe->res));
    else if (cqe->res == 0)
        printf("  res 0");
    else
        printf("  res %d, in buffer %u: %.*s", cqe->res, i, cqe->res,
               buffers[i]);
    puts(more ? ", F_MORE" : ", no F_MORE: it has ended");
    io_uring_cqe_seen(&ring, cqe);
    return more;
}

static void send_text(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        err(1, "sending \"%s\"", text);
}

static void show_receive(void)
{
    int pair[2];

    int result = io_uring_queue_init(4, &ring, 0);
    if (result < 0)
        refused(URING_SETUP, -result);
    buffer_ring = buffer_ring_open(&ring, BUFFERS);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        err(1, "making a socket pair");

    puts("Two buffers in the ring, a multishot recv submitted once:");
    give_buffers();
    submit_recv(pair[0]);
    send_text(pair[1], "one");
    collect();
    send_text(pair[1], "two");
    send_text(pair[1], "three");
    while (collect())
        continue;
    puts("Both buffers given back, the recv submitted again:");
    give_buffers();
    submit_recv(pair[0]);
    collect();
    puts("The other end is closed:");
    if (close(pair[1]))
        err(1, "closing a socket");
    collect();
    printf("submits: %u\n", submits);

    io_uring_queue_exit(&ring);
    buffer_ring_close(buffer_ring, BUFFERS);
    if (close(pair[0]))
        err(1, "closing a socket");
}

/* --- System calls for each message --------------------------------------- */

/* As chapter 10 counts them: a server echoes for `clients` at once, and we are
   the clients as well. All send, it has its turns, all receive. A call that a
   signal interrupts is made again, so the least count is taken. NULL is the
   server on the ring, the others are chapter 10's. */
static double calls_for_each(const struct events *events, unsigned clients)
{
    int client[CLIENTS];
    char byte;

    if (events)
        server_open(events);
    else
        echo_open(&small);
    for (unsigned i = 0; i < clients; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
            err(1, "making a socket pair");
        if (events)
            server_adopt(pair[0]);
        else
            echo_adopt(pair[0]);
        client[i] = pair[1];
    }

    unsigned long min = ULONG_MAX;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < clients; i++)
            send_text(client[i], "x");
        unsigned long before = calls;
        while (counts.bytes < round * clients && counts.lost == 0)
            events ? server_turn() : echo_turn();
        if (calls - before < min)
            min = calls - before;
        for (unsigned i = 0; i < clients; i++)
            if (recv(client[i], &byte, 1, MSG_DONTWAIT) != 1)
                errx(1, "a message was not echoed");
    }

    events ? server_close() : echo_close();
    for (unsigned i = 0; i < clients; i++)
        if (close(client[i]))
            err(1, "closing a socket");
    return (double)min / clients;
}

static void compare(const char *name, const struct events *events)
{
    double one = calls_for_each(events, 1);
    double many = calls_for_each(events, CLIENTS);

    printf("%-19s %8.2f %12.2f\n", name, one, many);
}

/* Not every kernel that has rings has this, and lets us. 0, or the errno. */
static int without_aio(void)
{
    aio_context_t context = 0;

    if (io_setup(1, &context))
        return errno;
    int error = io_submit(context, 0, NULL) < 0 ? errno : 0;
    if (io_destroy(context))
        err(1, "destroying the AIO context");
    return error;
}

static void show_servers(void)
{
    int error = without_aio();

    puts("\nSystem calls for each message echoed:\n"
         "                    1 client    8 clients");
    compare("one ring", NULL);
    if (error)
        printf("%-19s can't be told: %s\n", "aio", strerrorname_np(error));
    else
        compare("aio", &events_aio);
    compare("epoll", &events_epoll);
    compare("poll", &events_poll);
    putchar('\n');
    count_print(__FILE__,
                (const char *[]){"echo.c", "../../common/server/server.c",
                                 "../../common/server/events-epoll.c", NULL});
}

int main(int argc, char **argv)
{
    args_parse(argc, argv, &program);
    if (port <= MAX_PORT) {
        echo_run(&settings, port);
        return 0;
    }
    show_receive();
    show_servers();
    return 0;
}
