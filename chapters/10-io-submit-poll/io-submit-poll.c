/*
 * 10 · Sockets through io_submit
 *
 * IOCB_CMD_POLL asks io_submit(2) whether a socket is ready, and the answer
 * comes as an event, like that of a read. First the request alone, on two
 * socket pairs. Then an echo server made of it, next to the same server on
 * epoll(7) and on poll(2): each echoes the same messages, and the system calls
 * are counted. With --serve, that server is on a port of 127.0.0.1.
 *
 * Watch for: a second byte brings no second event. And closing a socket does
 * not close it, while a request is in flight.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/10-io-submit-poll/io-submit-poll.c common/?*.c \
 *           common/server/?*.c -lz -o 10-io-submit-poll
 *
 * Needs: Linux 4.19 for IOCB_CMD_POLL; glibc 2.32.
 * Manual pages: io_submit(2), io_cancel(2), epoll(7), poll(2), accept(2),
 * eventfd(2).
 */
#define _GNU_SOURCE /* strerrorname_np() */
#include "args.h"
#include "count.h"
#include "ready.h"
#include "server/aio.h"
#include "server/server.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_PORT = 65535, CLIENTS = 8, ROUNDS = 5 };

static unsigned port = MAX_PORT + 1; /* Not given. */
static unsigned with;
static const char *const words[] = {"aio", "epoll", "poll", NULL};
static const struct events *const sources[] = {&events_aio, &events_epoll,
                                               &events_poll};

static void ready(const struct args *args);

static const struct program program = {
    .name = "10-io-submit-poll",
    .does = "Asks io_submit(2) which sockets are ready, and serves with that.",
    .ready = ready,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("serve", "echo what comes to this port, 0 picks one",
                          &port, 0, MAX_PORT),
            OPTION_WORD("with", "--serve with this event source", &with, words),
            OPTION_SWITCH("no-ring", "--serve, and never read the ring of aio",
                          &events_aio_no_ring),
            OPTION_END},
};

/* --- The request alone --------------------------------------------------- */

static aio_context_t context;

/* Print the events that are there; with `min` 1, wait for one. */
static void collect(long min)
{
    struct io_event events[2];
    struct timespec zero = {0};
    int n;

    do
        n = io_getevents(context, min, 2, events, min ? NULL : &zero);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "collecting events");
    if (n == 0)
        puts("  no event");
    for (int k = 0; k < n; k++)
        printf("  event: request %u, res 0x%x: %s\n", (unsigned)events[k].data,
               (unsigned)events[k].res,
               events[k].res == POLLIN  ? "POLLIN"
               : events[k].res & POLLIN ? "POLLIN and more"
                                        : "nothing");
}

static void submit(struct iocb **iocbs, long n)
{
    int taken = io_submit(context, n, iocbs);

    if (taken < 0)
        poll_refused();
    if (taken < n)
        errx(1, "submitting %ld poll requests: %d taken", n, taken);
}

static void send_byte(int fd)
{
    if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
        err(1, "sending a byte");
}

static void show_requests(void)
{
    int pair[2][2]; /* We watch [0] of each, and are the client at [1]. */
    struct iocb requests[2];
    char byte;

    for (unsigned i = 0; i < 2; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair[i]))
            err(1, "making a socket pair");
        requests[i] = (struct iocb){
            .aio_data = i + 1,
            .aio_lio_opcode = IOCB_CMD_POLL,
            .aio_fildes = (uint32_t)pair[i][0],
            .aio_buf = POLLIN, /* No buffer: what to wait for. */
        };
    }
    puts("Two socket pairs, a request for each:");
    submit((struct iocb *[]){&requests[0], &requests[1]}, 2);
    collect(0);

    puts("A byte comes to the first:");
    send_byte(pair[0][1]);
    collect(1);

    puts("Another byte:");
    send_byte(pair[0][1]);
    collect(0); /* One-shot: request 1 is complete, and nobody asks. */

    puts("Request 1 submitted again:");
    submit((struct iocb *[]){&requests[0]}, 1);
    collect(1);

    puts("The second socket is closed, request 2 is in flight:");
    if (close(pair[1][0]))
        err(1, "closing a socket");
    ssize_t n = recv(pair[1][1], &byte, 1, MSG_DONTWAIT);
    printf("  recv() at the other end: %zd, %s\n", n,
           n < 0 ? strerrorname_np(errno) : "the end");

    struct io_event unused;
    puts("Request 2 canceled:");
    int result = io_cancel(context, &requests[1], &unused);
    printf("  io_cancel(): %d, %s\n", result,
           result < 0 ? strerrorname_np(errno) : "no error");
    if (result < 0 && errno != EINPROGRESS)
        err(1, "canceling request 2");
    collect(1);
    n = recv(pair[1][1], &byte, 1, 0); /* Waits, if it has to. */
    printf("  recv() at the other end: %zd, %s\n", n,
           n < 0 ? strerrorname_np(errno) : "the end");

    if (close(pair[1][1]) || close(pair[0][0]) || close(pair[0][1]))
        err(1, "closing a socket");
}

/* --- System calls for each message --------------------------------------- */

/* Let the server echo for `clients` at once, and count. We are the clients as
   well: all send, the server has its turn, all receive. So it finds every
   message waiting, and each round takes the same calls; but one that a signal
   interrupts is made again, so the least count is taken. */
static double calls_for_each(const struct events *events, unsigned clients)
{
    int client[CLIENTS];
    char byte;

    server_open(events);
    for (unsigned i = 0; i < clients; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                       pair))
            err(1, "making a socket pair");
        server_adopt(pair[0]);
        client[i] = pair[1];
    }

    unsigned long min = ULONG_MAX;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < clients; i++)
            send_byte(client[i]);
        unsigned long before = calls;
        while (counts.messages < round * clients && counts.lost == 0)
            server_turn();
        if (calls - before < min)
            min = calls - before;
        for (unsigned i = 0; i < clients; i++)
            if (recv(client[i], &byte, 1, 0) != 1)
                errx(1, "a message was not echoed");
    }

    server_close();
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

static void show_servers(void)
{
    puts("\nSystem calls for each message echoed:\n"
         "                    1 client    8 clients");
    events_aio_no_ring = 0;
    compare("aio", &events_aio);
    events_aio_no_ring = 1;
    compare("aio, ring not read", &events_aio);
    compare("epoll", &events_epoll);
    compare("poll", &events_poll);
    putchar('\n');
    count_print(__FILE__,
                (const char *[]){"../../common/server/events-aio.c",
                                 "../../common/server/events-epoll.c",
                                 "../../common/server/events-poll.c", NULL});
}

static void ready(const struct args *args)
{
    int pair[2];

    if (!args->check)
        return;
    ready_aio(NULL);
    if (io_setup(2, &context))
        refused(AIO_SETUP, errno);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        err(1, "making a socket pair");
    submit(&(struct iocb *){&(struct iocb){
               .aio_lio_opcode = IOCB_CMD_POLL,
               .aio_fildes = (uint32_t)pair[0],
               .aio_buf = POLLIN,
           }},
           1);
    if (io_destroy(context) || close(pair[0]) || close(pair[1]))
        err(1, "destroying the AIO context");
    context = 0; /* Must be 0 before io_setup(). */
}

int main(int argc, char **argv)
{
    args_parse(argc, argv, &program);
    if (port <= MAX_PORT) {
        server_run(sources[with], port);
        return 0;
    }
    if (io_setup(2, &context))
        refused(AIO_SETUP, errno);
    try_submit(context);
    show_requests();
    if (io_destroy(context))
        err(1, "destroying the AIO context");
    show_servers();
    return 0;
}
