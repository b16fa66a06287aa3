/*
 * 17 · The echo server on one ring
 *
 * Everything the server waits for is a request on the ring: clients, their
 * bytes, room in their sockets, a signal, the time. Each turn fills entries for
 * what is wanted, makes one system call, and handles the completions.
 */
#include "echo.h"

#include "args.h"
#include "server/server.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BUFFER = 4 << 10,
    SLOTS = 256,  /* In the buffer ring; a power of two. */
    MAX_HELD = 8, /* Buffers of one connection; then its recv is canceled. */
    MAX_CONNECTIONS = 1024,
    RETRY = 10000000 /* Nanoseconds until what was short is asked for again. */
};

/* What user_data points to: whom to tell. It must stay where it is until its
   last completion has come. */
struct request {
    struct connection *connection; /* NULL: the server's own. */
    void (*done)(struct connection *connection, int res, unsigned flags);
    bool in_flight;
};

/* What one recv has brought, until all of it has gone back. */
struct buffer {
    STAILQ_ENTRY(buffer) link;
    size_t begin, end;
    char data[BUFFER];
};

struct connection {
    int fd;
    unsigned in_flight; /* Requests that will still come back to us. */
    unsigned held;      /* Buffers that have not gone back to the client. */
    bool eof, closing, is_due;
    int64_t used; /* When something last moved, nanoseconds. */
    struct request recv, send, cancel, close;
    STAILQ_HEAD(, buffer) buffers;
    TAILQ_ENTRY(connection) link; /* All, the longest idle first. */
    TAILQ_ENTRY(connection) due_link;
};

static const struct echo_settings *set;
static struct io_uring ring;
static unsigned in_flight;    /* Requests on the ring, of all kinds. */
static bool stopping, paused; /* Paused: the last accept has failed. */
static struct {
    unsigned long starved, overflows, idle, held, max_held;
} traps;

static TAILQ_HEAD(, connection) connections, due;

/* --- Requests ------------------------------------------------------------ */

void check(int result, const char *what)
{
    if (result >= 0)
        return;
    errno = -result;
    err(1, "%s", what);
}

/* fill() has made sure that there is room. */
static struct io_uring_sqe *entry(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (!sqe)
        errx(1, "the submission queue is full");
    return sqe;
}

/* The entry is filled. From here on the request is the kernel's. */
static void launch(struct io_uring_sqe *sqe, struct request *request)
{
    io_uring_sqe_set_data(sqe, request);
    request->in_flight = true;
    in_flight++;
    if (request->connection)
        request->connection->in_flight++;
}

/* Something has changed: the next turn looks at what this one wants. */
static void look_at(struct connection *connection)
{
    if (!connection->is_due)
        TAILQ_INSERT_TAIL(&due, connection, due_link);
    connection->is_due = true;
}

/* --- The buffer ring ----------------------------------------------------- */

static struct io_uring_buf_ring *buffer_ring;
static struct buffer *slots[SLOTS];
static unsigned empty; /* Slots without a buffer. */

/* Fill the slots up. A buffer stays with the connection that received into it
   until it has been sent, however long that takes; its slot gets another one.
   So those who do not read can't use up what all the others receive into. */
static void provide(void)
{
    int added = 0;

    for (unsigned short i = 0; empty > 0 && i < set->buffers; i++) {
        if (slots[i])
            continue;
        slots[i] = malloc(sizeof(**slots));
        if (!slots[i])
            break; /* The others have to do, until there is memory. */
        io_uring_buf_ring_add(buffer_ring, slots[i]->data, BUFFER, i,
                              io_uring_buf_ring_mask(SLOTS), added++);
        empty--;
    }
    io_uring_buf_ring_advance(buffer_ring, added);
}

static struct buffer *take_buffer(unsigned flags)
{
    unsigned i = flags >> IORING_CQE_BUFFER_SHIFT;
    struct buffer *buffer = slots[i];

    slots[i] = NULL;
    empty++;
    return buffer;
}

struct io_uring_buf_ring *buffer_ring_open(struct io_uring *of,
                                           unsigned entries)
{
    /* The kernel wants whole pages, which mmap() gives. */
    struct io_uring_buf_ring *buffers =
        mmap(NULL, entries * sizeof(struct io_uring_buf),
             PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct io_uring_buf_reg as = {
        .ring_addr = (uintptr_t)buffers, .ring_entries = entries, .bgid = 0};

    if (buffers == MAP_FAILED)
        err(1, "mapping the buffer ring");
    int result = io_uring_register_buf_ring(of, &as, 0);
    if (result == -EINVAL)
        cannot_show("registering a buffer ring: %s: it needs Linux 5.19 or "
                    "later, and multishot recv 6.0",
                    strerror(EINVAL));
    if (result < 0)
        refused(URING_REGISTER, -result);
    io_uring_buf_ring_init(buffers);
    return buffers;
}

void buffer_ring_close(struct io_uring_buf_ring *buffers, unsigned entries)
{
    if (munmap(buffers, entries * sizeof(struct io_uring_buf)))
        err(1, "unmapping the buffer ring");
}

/* --- Connections --------------------------------------------------------- */

static void touch(struct connection *connection)
{
    if (set->idle == 0 || connection->closing)
        return;
    connection->used = timeline_now();
    TAILQ_REMOVE(&connections, connection, link);
    TAILQ_INSERT_TAIL(&connections, connection, link);
}

/* Begin to end it. There may be requests in flight with pointers into it, and
   into its buffers: it is freed behind the last of them, in closed(). */
static void hang_up(struct connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    TAILQ_REMOVE(&connections, connection, link);
    look_at(connection);
}

/* An error ends a connection, and never the server. */
static void lose(struct connection *connection)
{
    counts.lost += !connection->closing;
    hang_up(connection);
}

static void received(struct connection *c, int res, unsigned flags)
{
    struct buffer *buffer =
        flags & IORING_CQE_F_BUFFER ? take_buffer(flags) : NULL;

    if (res > 0 && buffer && !c->closing) {
        buffer->begin = 0;
        buffer->end = (size_t)res;
        STAILQ_INSERT_TAIL(&c->buffers, buffer, link);
        c->held++;
        if (++traps.held > traps.max_held)
            traps.max_held = traps.held;
        counts.messages++;
        touch(c);
        return;
    }
    free(buffer);
    switch (-res) {
    case 0:
        c->eof = true;
        break;
    case ENOBUFS: /* All slots were empty. provide() comes before the next. */
        traps.starved++;
        break;
    case ECANCELED: /* By us. */
    case EINTR:
        break;
    case EINVAL:
        cannot_show("multishot recv: %s: it needs Linux 6.0 or later",
                    strerror(EINVAL));
    default:
        if (res < 0)
            lose(c); /* ECONNRESET, as a rule. */
    }
}

static void free_first(struct connection *c)
{
    struct buffer *buffer = STAILQ_FIRST(&c->buffers);

    STAILQ_REMOVE_HEAD(&c->buffers, link);
    free(buffer);
    c->held--;
    traps.held--;
}

static void sent(struct connection *c, int res, unsigned flags)
{
    struct buffer *buffer = STAILQ_FIRST(&c->buffers);

    (void)flags;
    if (res < 0 && res != -EINTR && res != -ECANCELED)
        lose(c);
    if (res <= 0)
        return;
    counts.bytes += (uint64_t)res;
    touch(c);
    buffer->begin += (size_t)res; /* A short send: the rest goes next. */
    if (buffer->begin == buffer->end)
        free_first(c);
}

/* The last completion: nothing points here any more. */
static void closed(struct connection *c, int res, unsigned flags)
{
    (void)flags;
    if (res < 0)
        warnx("closing a connection: %s", strerror(-res));
    while (c->held > 0)
        free_first(c);
    free(c);
    counts.open--;
    paused = false; /* Now there is a descriptor for the next one. */
}

/* Fill entries, two at most, for what the connection wants by now. */
static void drive(struct connection *c)
{
    struct io_uring_sqe *sqe;

    if (!c->closing && c->eof && c->held == 0) {
        hang_up(c); /* It is due again. */
    } else if (c->closing && c->in_flight == 0) {
        io_uring_prep_close(sqe = entry(), c->fd);
        launch(sqe, &c->close);
    } else if (c->closing) {
        if (c->cancel.in_flight || stopping)
            return;
        io_uring_prep_cancel_fd(sqe = entry(), c->fd, IORING_ASYNC_CANCEL_ALL);
        launch(sqe, &c->cancel);
    } else {
        struct buffer *buffer = STAILQ_FIRST(&c->buffers);
        if (buffer && !c->send.in_flight) {
            /* MSG_NOSIGNAL: without it, a client that has gone away would end
               the server by SIGPIPE. */
            io_uring_prep_send(sqe = entry(), c->fd,
                               buffer->data + buffer->begin,
                               buffer->end - buffer->begin, MSG_NOSIGNAL);
            launch(sqe, &c->send);
        }
        if (!c->recv.in_flight && !c->eof && c->held == 0 &&
            empty < set->buffers) {
            io_uring_prep_recv_multishot(sqe = entry(), c->fd, NULL, 0, 0);
            sqe->flags |= IOSQE_BUFFER_SELECT; /* From group 0. */
            launch(sqe, &c->recv);
        } else if (c->recv.in_flight && c->held >= MAX_HELD &&
                   !c->cancel.in_flight) {
            io_uring_prep_cancel(sqe = entry(), &c->recv, 0);
            launch(sqe, &c->cancel);
        }
    }
}

void echo_adopt(int fd)
{
    struct connection *c = calloc(1, sizeof(*c));

    if (!c) {
        warn("allocating a connection");
        COUNTED(close(fd));
        return;
    }
    c->fd = fd;
    c->recv = (struct request){c, received, false};
    c->send = (struct request){c, sent, false};
    c->cancel = (struct request){c, NULL, false};
    c->close = (struct request){c, closed, false};
    STAILQ_INIT(&c->buffers);
    TAILQ_INSERT_TAIL(&connections, c, link);
    touch(c);
    counts.connections++;
    counts.open++;
    look_at(c);
}

/* --- The server's own requests ------------------------------------------- */

static int listener = -1, signals = -1;
static struct signalfd_siginfo signal_info;
static struct __kernel_timespec deadline, moment = {.tv_nsec = RETRY};

static void accepted(struct connection *c, int res, unsigned flags)
{
    (void)c, (void)flags;
    if (res >= 0) {
        echo_adopt(res);
        return;
    }
    switch (-res) {
    case EMFILE: /* Our limit of descriptors; the system's; memory. */
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        paused = true; /* Another accept would fail as fast. */
        counts.pauses++;
        break;
    case ECANCELED: /* By us: there are enough. */
        counts.pauses += !stopping;
        break;
    case EINTR:
    case ECONNABORTED: /* The client has gone while it was in the queue. */
    case EPERM:        /* A firewall's rule. */
    case EPROTO: /* On a network, others of accept(2) belong here as well. */
        break;
    default:
        errx(1, "accepting a connection: %s", strerror(-res));
    }
}

static void signaled(struct connection *c, int res, unsigned flags)
{
    (void)c, (void)flags;
    if (res == -EINTR || res == -ECANCELED)
        return;
    if (res < 0)
        errx(1, "reading the signalfd: %s", strerror(-res));
    stopping = true;
}

/* The time has come for the connection that was the longest idle when the timer
   was set. Something may have moved there since; it has another place then. */
static void timed(struct connection *c, int res, unsigned flags)
{
    int64_t late = timeline_now() - (int64_t)set->idle * 1000000000;

    (void)flags;
    if (res != -ETIME && res != -ECANCELED && res != -EINTR)
        errx(1, "waiting for the time: %s", strerror(-res));
    while ((c = TAILQ_FIRST(&connections)) && c->used <= late) {
        traps.idle++;
        hang_up(c);
    }
}

/* Accept again, and look at those who had no buffer to receive into. */
static void retried(struct connection *c, int res, unsigned flags)
{
    (void)res, (void)flags;
    paused = false;
    for (c = TAILQ_FIRST(&connections); c; c = TAILQ_NEXT(c, link))
        look_at(c);
}

static struct request accepting = {.done = accepted},
                      stop_read = {.done = signaled}, timer = {.done = timed},
                      retry = {.done = retried}, server_cancel;

/* Four entries at most. */
static void drive_server(void)
{
    const struct connection *oldest = TAILQ_FIRST(&connections);
    bool full = counts.open >= MAX_CONNECTIONS;
    struct io_uring_sqe *sqe;

    if (stopping) {
        if (in_flight > 0 && !server_cancel.in_flight) {
            io_uring_prep_cancel(sqe = entry(), NULL,
                                 IORING_ASYNC_CANCEL_ANY |
                                     IORING_ASYNC_CANCEL_ALL);
            launch(sqe, &server_cancel);
        }
        return;
    }
    if (listener >= 0 && !paused && !full && !accepting.in_flight) {
        io_uring_prep_multishot_accept(sqe = entry(), listener, NULL, NULL,
                                       SOCK_CLOEXEC);
        launch(sqe, &accepting);
    } else if (full && accepting.in_flight && !server_cancel.in_flight) {
        io_uring_prep_cancel(sqe = entry(), &accepting, 0);
        launch(sqe, &server_cancel);
    }
    if (signals >= 0 && !stop_read.in_flight) {
        io_uring_prep_read(sqe = entry(), signals, &signal_info,
                           sizeof(signal_info), 0);
        launch(sqe, &stop_read);
    }
    if (set->idle > 0 && oldest && !timer.in_flight) {
        deadline.tv_sec = oldest->used / 1000000000 + set->idle;
        deadline.tv_nsec = oldest->used % 1000000000;
        io_uring_prep_timeout(sqe = entry(), &deadline, 0, IORING_TIMEOUT_ABS);
        launch(sqe, &timer);
    }
    /* Short of descriptors, or of memory for a single buffer: what helps may be
       done elsewhere, and then no completion tells. So ask again, soon. */
    if ((paused || empty == set->buffers) && !retry.in_flight) {
        io_uring_prep_timeout(sqe = entry(), &moment, 0, 0);
        launch(sqe, &retry);
    }
}

/* --- A turn -------------------------------------------------------------- */

/* Fill entries for all that is wanted, and say whether all found room. */
static bool fill(void)
{
    struct connection *c;

    provide();
    if (io_uring_sq_space_left(&ring) < 4)
        return false;
    drive_server();
    while ((c = TAILQ_FIRST(&due)) && io_uring_sq_space_left(&ring) >= 2) {
        TAILQ_REMOVE(&due, c, due_link);
        c->is_due = false;
        drive(c);
    }
    return !c;
}

/* The one system call. */
static void enter(bool wait)
{
    traps.overflows += io_uring_cq_has_overflow(&ring);
    int result = COUNTED(io_uring_submit_and_wait(&ring, wait ? 1 : 0));

    /* No room in the kernel just now. After an error the call has not waited,
       and to make it again at once would be a loop that never sleeps. A completion
       makes room; or others do, elsewhere, and then none tells. */
    if ((result == -EAGAIN || result == -EBUSY) &&
        in_flight > io_uring_sq_ready(&ring)) {
        struct io_uring_cqe *cqe;
        calls += io_uring_cq_ready(&ring) == 0;
        result = io_uring_wait_cqe_timeout(&ring, &cqe, &moment);
    }
    if (result != -EINTR && result != -ETIME)
        check(result, "submitting and waiting");
}

static void reap(void)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&ring, head, cqe)
    {
        struct request *request = io_uring_cqe_get_data(cqe);
        struct connection *c = request->connection;

        /* With this flag the request goes on, and will be back. */
        if (!(cqe->flags & IORING_CQE_F_MORE)) {
            request->in_flight = false;
            in_flight--;
            if (c)
                c->in_flight--;
        }
        if (c && request != &c->close)
            look_at(c);
        /* A cancel has nothing to say: what it hit comes back by itself. */
        if (request->done)
            request->done(c, cqe->res, cqe->flags);
        n++;
    }
    io_uring_cq_advance(&ring, n);
}

void echo_turn(void)
{
    bool all = fill();

    if (io_uring_sq_ready(&ring) > 0 || io_uring_cq_ready(&ring) == 0)
        enter(all);
    reap();
}

/* --- The server ---------------------------------------------------------- */

void echo_open(const struct echo_settings *settings)
{
    set = settings;
    counts = (struct counts){0};
    memset(&traps, 0, sizeof(traps));
    stopping = paused = false;
    TAILQ_INIT(&connections);
    TAILQ_INIT(&due);
    int result = io_uring_queue_init(set->entries, &ring, 0);
    if (result < 0)
        refused(URING_SETUP, -result);
    buffer_ring = buffer_ring_open(&ring, SLOTS);
    empty = set->buffers;
    provide();
    if (empty == set->buffers)
        err(1, "allocating a buffer");
}

void echo_close(void)
{
    stopping = true;
    for (;;) { /* While it is canceled, accept may bring another one. */
        while (!TAILQ_EMPTY(&connections))
            hang_up(TAILQ_FIRST(&connections));
        if (in_flight == 0 && TAILQ_EMPTY(&due))
            break;
        echo_turn();
    }
    io_uring_queue_exit(&ring);
    buffer_ring_close(buffer_ring, SLOTS);
    for (unsigned i = 0; i < SLOTS; i++) {
        free(slots[i]);
        slots[i] = NULL;
    }
}

/* Blocked, a signal interrupts nobody: it waits to be read. */
static void watch_signals(void)
{
    sigset_t set_of;

    sigemptyset(&set_of);
    sigaddset(&set_of, SIGINT);
    sigaddset(&set_of, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &set_of, NULL))
        err(1, "blocking signals");
    signals = signalfd(-1, &set_of, SFD_CLOEXEC);
    if (signals < 0)
        err(1, "making a signalfd");
}

void echo_run(const struct echo_settings *settings, unsigned port)
{
    echo_open(settings);
    watch_signals();
    listener = server_listen(port, 0); /* The ring waits, and we don't. */
    if (fflush(stdout)) /* Somebody may be waiting for the port. */
        err(1, "writing the port");

    calls = 0;
    while (!stopping)
        echo_turn();

    unsigned long open = counts.open;
    echo_close();
    if (COUNTED(close(listener)))
        warn("closing the listener");
    if (COUNTED(close(signals)))
        warn("closing the signalfd");

    printf("connections: %lu\nlost: %lu\nidle: %lu\nopen at the end: %lu\n"
           "pauses: %lu\nmessages: %lu\nbytes: %ju\n"
           "out of buffers: %lu\nmost buffers held: %lu\noverflows: %lu\n"
           "system calls: %lu\n",
           counts.connections, counts.lost, traps.idle, open, counts.pauses,
           counts.messages, (uintmax_t)counts.bytes, traps.starved,
           traps.max_held, traps.overflows, calls);
    if (counts.messages > 0)
        printf("system calls for each message: %.2f\n",
               (double)calls / (double)counts.messages);
    else
        puts("system calls for each message: unknown, there was none");
}
