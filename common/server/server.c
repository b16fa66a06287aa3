/*
 * 10 · The echo server
 *
 * What comes from a client goes back to it. The server never waits for one
 * client while others are there, never keeps more than a buffer for each, and
 * knows nothing of its event source but the interface.
 */
#define _GNU_SOURCE /* accept4() */
#include "server.h"

#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 4 << 10, MAX_CONNECTIONS = MAX_WATCHES - 2 };

struct connection {
    struct watch watch; /* First, so that a watch leads to its connection. */
    LIST_ENTRY(connection) link;
    size_t begin, end; /* What is to go back: buffer[begin] to buffer[end]. */
    char buffer[BUFFER];
};

static const struct events *source;
static LIST_HEAD(, connection) connections;
static struct watch listener, stop;
static bool paused, running;
struct counts counts;
unsigned long calls;

/* --- Connections --------------------------------------------------------- */

static void hang_up(struct connection *connection)
{
    source->remove(&connection->watch);
    if (COUNTED(close(connection->watch.fd)))
        warn("closing a connection"); /* Closed it is, all the same. */
    LIST_REMOVE(connection, link);
    free(connection);
    counts.open--;
    if (paused) { /* Now there is a descriptor for the next one. */
        paused = false;
        source->add(&listener);
    }
}

/* An error ends a connection, and never the server. */
static void lose(struct connection *connection)
{
    counts.lost++;
    hang_up(connection);
}

/* The socket was not ready after all, which poll(2) allows, or there was a
   signal: the event source will tell us again. */
static bool not_now(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* One recv() and one send(), no more: the others want their turn as well, and
   if there is more, the event source will tell us again.

   We read only when all has been sent. That is the whole of the backpressure:
   who does not read is not read from, and TCP tells its client to stop. It is
   also why the end of the input can only come when nothing is left to send. */
static void connection_ready(struct watch *watch)
{
    struct connection *connection = (struct connection *)watch;

    if (connection->begin == connection->end) {
        ssize_t n = COUNTED(recv(watch->fd, connection->buffer, BUFFER, 0));
        if (n == 0)
            hang_up(connection);
        else if (n < 0 && !not_now())
            lose(connection); /* ECONNRESET, as a rule. */
        if (n <= 0)
            return;
        connection->begin = 0;
        connection->end = (size_t)n;
        counts.messages++;
    }

    /* MSG_NOSIGNAL: without it, a client that has gone away would end the
       server by SIGPIPE. */
    ssize_t n =
        COUNTED(send(watch->fd, connection->buffer + connection->begin,
                     connection->end - connection->begin, MSG_NOSIGNAL));
    if (n < 0 && !not_now()) {
        lose(connection);
        return;
    }
    if (n > 0) {
        connection->begin += (size_t)n;
        counts.bytes += (uint64_t)n;
    }
    short want = connection->begin == connection->end ? POLLIN : POLLOUT;
    if (want != watch->want)
        source->change(watch, want);
}

void server_adopt(int fd)
{
    struct connection *connection = malloc(sizeof(*connection));

    if (!connection) {
        warn("allocating a connection");
        COUNTED(close(fd));
        return;
    }
    connection->watch =
        (struct watch){.fd = fd, .want = POLLIN, .ready = connection_ready};
    connection->begin = connection->end = 0;
    LIST_INSERT_HEAD(&connections, connection, link);
    counts.connections++;
    counts.open++;
    source->add(&connection->watch);
}

/* --- The listener -------------------------------------------------------- */

/* Who comes now waits in the kernel's queue. To go on watching would be a busy
   loop: the listener is ready, and accept4() fails, over and over. */
static void pause_accepting(void)
{
    source->remove(&listener);
    paused = true;
    counts.pauses++;
}

static void listener_ready(struct watch *watch)
{
    int fd =
        COUNTED(accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));

    if (fd >= 0) {
        server_adopt(fd);
        if (counts.open == MAX_CONNECTIONS)
            pause_accepting();
        return;
    }
    switch (errno) {
    case EMFILE: /* Our limit of descriptors; the system's; memory. */
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (counts.open > 0)
            pause_accepting();
        else /* None to close, and nobody is kept waiting: try again soon. */
            COUNTED(poll(NULL, 0, 10));
        break;
    case EAGAIN:
    case EINTR:
    case ECONNABORTED: /* The client has gone while it was in the queue. */
    case EPERM:        /* A firewall's rule. */
    case EPROTO: /* On a network, others of accept(2) belong here as well. */
        break;
    default:
        err(1, "accepting a connection");
    }
}

int server_listen(unsigned port, int flags)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof(address);

    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        err(1, "making a socket");
    /* Else the port is taken for a minute after the last connection. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)))
        err(1, "setting SO_REUSEADDR");
    if (bind(fd, (struct sockaddr *)&address, length))
        err(1, "binding port %u of 127.0.0.1", port);
    if (listen(fd, SOMAXCONN))
        err(1, "listening on port %u", port);
    if (getsockname(fd, (struct sockaddr *)&address, &length))
        err(1, "asking for the port");
    printf("port: %u\n", ntohs(address.sin_port));
    return fd;
}

/* --- Signals ------------------------------------------------------------- */

/* A handler writes to an eventfd, and that wakes all three sources. (A signalfd
   would not wake aio: the chapter's page says why.) */
static void on_signal(int signal)
{
    int before = errno;
    (void)signal;
    if (eventfd_write(stop.fd, 1))
        _exit(1);
    errno = before;
}

static void stop_ready(struct watch *watch)
{
    eventfd_t writes;

    if (COUNTED(eventfd_read(watch->fd, &writes)))
        err(1, "reading the eventfd");
    /* Each handler's eventfd_write() has added one. */
    calls += (unsigned long)writes;
    running = false;
}

static void stop_on_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0)
        err(1, "making an eventfd");
    stop = (struct watch){.fd = fd, .want = POLLIN, .ready = stop_ready};
    source->add(&stop);
    if (sigaction(SIGINT, &action, NULL) || sigaction(SIGTERM, &action, NULL))
        err(1, "installing a signal handler");
}

/* --- The server ---------------------------------------------------------- */

void server_open(const struct events *events)
{
    source = events;
    counts = (struct counts){0};
    source->open();
}

void server_turn(void)
{
    struct watch *ready[MAX_WATCHES];
    unsigned n = source->wait(ready);

    for (unsigned i = 0; i < n; i++)
        ready[i]->ready(ready[i]);
}

void server_close(void)
{
    while (!LIST_EMPTY(&connections))
        hang_up(LIST_FIRST(&connections));
    source->close();
}

void server_run(const struct events *events, unsigned port)
{
    server_open(events);
    stop_on_signals();
    listener = (struct watch){.fd = server_listen(port, SOCK_NONBLOCK),
                              .want = POLLIN,
                              .ready = listener_ready};
    source->add(&listener);
    if (fflush(stdout)) /* Somebody may be waiting for the port. */
        err(1, "writing the port");

    calls = 0;
    running = true;
    while (running)
        server_turn();

    if (!paused)
        source->remove(&listener);
    paused = false;
    source->remove(&stop);
    if (COUNTED(close(listener.fd)))
        warn("closing the listener");
    unsigned long closed = counts.open;
    server_close();
    unsigned long made = calls;

    printf("connections: %lu\nlost: %lu\nopen at the end: %lu\npauses: %lu\n"
           "messages: %lu\nbytes: %ju\nsystem calls: %lu\n",
           counts.connections, counts.lost, closed, counts.pauses,
           counts.messages, (uintmax_t)counts.bytes, made);
    if (counts.messages > 0)
        printf("system calls for each message: %.2f\n",
               (double)made / (double)counts.messages);
    else
        puts("system calls for each message: unknown, there was none");
}
