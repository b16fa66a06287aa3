/*
 * 19 · Time, and giving up
 *
 * Asks for reads that may never complete, and gives up on them: after a time,
 * by request, and by closing the ring. Then completes more than the completion
 * queue has room for.
 *
 * Watch for: who calls a request off gets two CQEs. What became of the work is
 * said by its own CQE only, and until that has come the buffer is the kernel's.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/19-liburing-cancel/liburing-cancel.c common/?*.c -lz \
 *           -luring -o 19-liburing-cancel
 *
 * Needs: Linux 5.4 for timeouts, 5.5 for the overflow, 5.6 for the reads, 5.7
 * for splice, 5.19 to cancel by descriptor; what the kernel lacks is named, and
 * the rest runs. liburing 2.3.
 * Manual pages: io_uring_prep_timeout(3), io_uring_prep_cancel(3),
 * io_uring_cq_has_overflow(3), io_uring_enter(2).
 */
#define _GNU_SOURCE /* pipe2(), F_SETPIPE_SZ. */
#include "args.h"
#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void ready(const struct args *args)
{
    struct io_uring ring;

    (void)args;
    ready_uring(NULL);
    int result = io_uring_queue_init(1, &ring, 0);
    if (result < 0)
        refused(URING_SETUP, -result);
    /* Came with the same kernel as IORING_OP_TIMEOUT. */
    if (!(ring.features & IORING_FEAT_SINGLE_MMAP))
        cannot_show("IORING_OP_TIMEOUT: it needs Linux 5.4 or later");
    io_uring_queue_exit(&ring);
}

static const struct program program = {
    .name = "19-liburing-cancel",
    .does = "Gives up on requests, by time and by name; overflows a ring.",
    .ready = ready,
};

enum { BYTES = 8, REQUESTS = 8, NOPS = 5 };

struct request {
    const char *what, *means; /* For the output; the latter if res >= 0. */
    bool completed;
    int res;
};

/* Requests get numbers as they are asked for, from 1. The number is the
   user_data. report() waits for them all, and the next one is 1 again. */
struct scene {
    struct io_uring ring;
    struct request requests[REQUESTS];
    unsigned asked;
};

/* --- Asking, and waiting for answers -------------------------------------- */

/* liburing returns -errno, as in chapter 15. */
static void check(int result, const char *what)
{
    if (result >= 0 || result == -EINTR) /* All callers come back. */
        return;
    errno = -result;
    err(1, "%s", what);
}

static struct io_uring open_ring(unsigned entries)
{
    struct io_uring ring;
    int result = io_uring_queue_init(entries, &ring, 0);

    if (result < 0)
        refused(URING_SETUP, -result);
    return ring;
}

static struct io_uring_sqe *entry(struct scene *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

    if (!sqe || s->asked == REQUESTS)
        errx(1, "more than %d requests at once", REQUESTS);
    return sqe;
}

/* Give an entry its number. Last: prep may clear the user_data. */
static struct request *label(struct scene *s, struct io_uring_sqe *sqe,
                             const char *what, const char *means)
{
    struct request *request = &s->requests[s->asked++];

    *request = (struct request){.what = what, .means = means};
    io_uring_sqe_set_data64(sqe, s->asked);
    return request;
}

static void submit(struct scene *s)
{
    while (io_uring_sq_ready(&s->ring) > 0)
        check(io_uring_submit(&s->ring), "submitting requests");
}

/* Wait for the next CQE, whose it may be. */
static void take_one(struct scene *s)
{
    struct io_uring_cqe *cqe;
    int result = io_uring_wait_cqe(&s->ring, &cqe);

    check(result, "waiting for a completion");
    if (result < 0) /* EINTR */
        return;
    struct request *whose = &s->requests[io_uring_cqe_get_data64(cqe) - 1];
    whose->res = cqe->res;
    whose->completed = true;
    io_uring_cqe_seen(&s->ring, cqe);
}

/* Wait for the CQE of this request, and take others that come before it. */
static int result_of(struct scene *s, const struct request *request)
{
    submit(s);
    while (!request->completed)
        take_one(s);
    return request->res;
}

static void print(unsigned number, const struct request *request)
{
    static const struct {
        int res;
        const char *name, *means;
    } errors[] = {
        {-ETIME, "-ETIME", "its time is up"},
        {-ECANCELED, "-ECANCELED", "called off"},
        {-ENOENT, "-ENOENT", "there is no such request"},
        {-EALREADY, "-EALREADY", "it runs: told it to stop"},
        {-EINVAL, "-EINVAL", "this kernel can't"},
    };
    char name[20];
    const char *means = request->means, *res = name;

    snprintf(name, sizeof(name), "%d", request->res);
    if (request->res < 0)
        means = strerror(-request->res);
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
        if (errors[i].res == request->res) {
            res = errors[i].name;
            means = errors[i].means;
        }
    printf("%4u  %-33s %-11s %s\n", number, request->what, res, means);
}

/* In the order in which they were asked for; the CQEs may come in another. */
static void report(struct scene *s)
{
    for (unsigned i = 0; i < s->asked; i++) {
        result_of(s, &s->requests[i]);
        print(i + 1, &s->requests[i]);
    }
    s->asked = 0;
}

static struct request *start_read(struct scene *s, const int pipe[2],
                                  char *data, unsigned flags, const char *what)
{
    struct io_uring_sqe *sqe = entry(s);

    io_uring_prep_read(sqe, pipe[0], data, BYTES, 0);
    io_uring_sqe_set_flags(sqe, flags);
    return label(s, sqe, what, "bytes, in the buffer");
}

static struct request *start_cancel(struct scene *s, uint64_t user_data,
                                    const char *what)
{
    struct io_uring_sqe *sqe = entry(s);

    io_uring_prep_cancel64(sqe, user_data, 0);
    return label(s, sqe, what, "found, and called off");
}

/* --- A pipe: silent until somebody writes --------------------------------- */

static void open_pipe(int pipe[2])
{
    if (pipe2(pipe, O_CLOEXEC))
        err(1, "creating a pipe");
}

static void close_both(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

static void put(const int pipe[2], const char *data)
{
    /* So few bytes go in as one (pipe(7)), and there is room. */
    if (write(pipe[1], data, BYTES) != BYTES)
        err(1, "writing to a pipe");
}

static int bytes_in(int fd)
{
    int n;

    if (ioctl(fd, FIONREAD, &n))
        err(1, "counting the bytes in a pipe or socket");
    return n;
}

static const char *readers_of(const int pipe[2])
{
    struct pollfd end = {.fd = pipe[1]};

    if (poll(&end, 1, 0) < 0) /* 0: it only looks. */
        err(1, "looking at a pipe");
    return end.revents & POLLERR ? "none" : "one";
}

/* --- Time ----------------------------------------------------------------- */

/* The kernel copies them in submit (since 5.5), and needs them no longer. */
static struct __kernel_timespec soon = {.tv_nsec = 1000000};
static struct __kernel_timespec late = {.tv_sec = 3600};

static void timeouts(struct scene *s)
{
    struct io_uring_sqe *sqe = entry(s);

    io_uring_prep_timeout(sqe, &soon, 0, 0);
    label(s, sqe, "timeout, 1 ms", "");
    report(s);

    /* Whichever is first: an hour, or 1 completion of another request. */
    sqe = entry(s);
    io_uring_prep_timeout(sqe, &late, 1, 0);
    label(s, sqe, "timeout, 1 h or 1 completion", "so many have completed");
    sqe = entry(s);
    io_uring_prep_nop(sqe);
    label(s, sqe, "NOP", "done");
    report(s);
}

static void limit(struct scene *s, struct __kernel_timespec *time,
                  const char *what)
{
    struct io_uring_sqe *sqe = entry(s);

    io_uring_prep_link_timeout(sqe, time, 0);
    label(s, sqe, what, "");
}

static void link_timeouts(struct scene *s)
{
    int pipe[2];
    char data[BYTES];

    open_pipe(pipe);
    /* IOSQE_IO_LINK binds an entry to the one after it. The timeout is for this
       read alone, as long as no other has its user_data. */
    start_read(s, pipe, data, IOSQE_IO_LINK, "read, silent pipe");
    limit(s, &soon, "its limit, 1 ms");
    report(s);

    put(pipe, "in there");
    start_read(s, pipe, data, IOSQE_IO_LINK, "read, 8 bytes in the pipe");
    limit(s, &late, "its limit, 1 h");
    report(s);
    close_both(pipe);
}

/* --- Calling off ---------------------------------------------------------- */

static void cancels(struct scene *s)
{
    int pipe[2];
    char data[2][BYTES];

    open_pipe(pipe);
    struct request *read = start_read(s, pipe, data[0], 0, "read, silent pipe");
    start_cancel(s, 1, "cancel user_data 1");
    result_of(s, read);
    start_cancel(s, 1, "cancel user_data 1 once more");
    report(s);

    start_read(s, pipe, data[0], 0, "read, silent pipe");
    start_read(s, pipe, data[1], 0, "read, the same pipe");
    struct io_uring_sqe *sqe = entry(s);
    io_uring_prep_cancel_fd(sqe, pipe[0], IORING_ASYNC_CANCEL_ALL);
    struct request *all =
        label(s, sqe, "cancel all of the descriptor", "so many, called off");
    /* Before 5.19 the flags are unknown, and the names are the way. */
    if (result_of(s, all) == -EINVAL) {
        start_cancel(s, 1, "cancel user_data 1");
        start_cancel(s, 2, "cancel user_data 2");
    }
    report(s);
    close_both(pipe);
}

/* The bytes come first, the cancel after. */
static void cancel_too_late(struct scene *s)
{
    int pipe[2];
    char data[BYTES];

    open_pipe(pipe);
    start_read(s, pipe, data, 0, "read, silent pipe");
    submit(s);
    put(pipe, "in there"); /* This completes the read. */
    start_cancel(s, 1, "8 bytes written; cancel");
    report(s);
    close_both(pipe);
}

/* The splice has ended before anything arrived. So the poll would wait for ever:
   call it off. Canceled, though nobody has asked for that: there was no thread. */
static void no_splice(struct scene *s, int res)
{
    if (res != -ECANCELED)
        errx(1, "splicing from a pipe to a socket: %s",
             res < 0 ? strerror(-res) : "nothing was moved");
    result_of(s, start_cancel(s, 2, ""));
    result_of(s, &s->requests[1]);
    puts("      missing: a thread of the kernel's for the splice. No more\n"
         "      threads may be made: see ulimit -u, or pids.max of the\n"
         "      cgroup (Docker, Podman: --pids-limit)");
}

/* A splice has no way to wait but to block: a thread of the kernel's does it.
   This one fills the socket, and waits for someone to empty it. Rarely that
   thread, told to stop, has stopped before the kernel looks what to answer:
   -ENOENT. Then this is false, and prints nothing unless it is the last try. */
static bool cancel_half_done(struct scene *s, bool last)
{
    static const char load[512 << 10];
    const int bytes = sizeof(load), small = 1;
    int pipe[2], socket[2];

    open_pipe(pipe);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket) ||
        setsockopt(socket[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)))
        err(1, "creating two sockets with a small buffer");
    /* Up to 16 pages go over at once, whatever the buffer. This is more. */
    if (fcntl(pipe[1], F_SETPIPE_SZ, bytes) < 0 ||
        write(pipe[1], load, sizeof(load)) != bytes)
        err(1, "filling a pipe with %d bytes", bytes);

    struct io_uring_sqe *sqe = entry(s);
    io_uring_prep_splice(sqe, pipe[0], -1, socket[0], -1, (unsigned)bytes, 0);
    struct request *splice =
        label(s, sqe, "splice, pipe to socket", "bytes moved");
    /* Something has arrived: so the thread is at it, and stuck. */
    sqe = entry(s);
    io_uring_prep_poll_add(sqe, socket[1], POLLIN);
    struct request *arrived =
        label(s, sqe, "poll, far end of the socket", "POLLIN");
    submit(s);
    while (!arrived->completed && !(splice->completed && splice->res <= 0))
        take_one(s);

    bool running = true;
    if (arrived->completed) {
        running =
            result_of(s, start_cancel(s, 1, "cancel user_data 1")) != -ENOENT;
        result_of(s, splice);
        if (running || last) {
            report(s);
            printf("      at the far end: %d, still in the pipe: %d\n",
                   bytes_in(socket[1]), bytes_in(pipe[0]));
        }
    } else {
        no_splice(s, splice->res);
    }
    s->asked = 0;
    close_both(socket);
    close_both(pipe);
    return running;
}

/* --- Whose buffer is it? -------------------------------------------------- */

/* A pool of one buffer. What is given back is lent to the next who asks. */
static char pool[BYTES];

/* Read into a buffer from the pool, lose patience, give the buffer back. That
   is right only once the read's own CQE has come. */
static void lose_patience(struct scene *s, const int pipe[2], bool rightly)
{
    struct request *read = start_read(s, pipe, pool, 0, "read, silent pipe");

    submit(s);
    if (rightly) {
        start_cancel(s, 1, "cancel user_data 1");
        result_of(s, read);
    }
}

static void owners(struct scene *s)
{
    for (int rightly = 0; rightly <= 1; rightly++) {
        int pipe[2];

        puts(rightly ? "right: cancel, and wait for the read's CQE"
                     : "wrong: forget the read");
        open_pipe(pipe);
        lose_patience(s, pipe, rightly);
        memcpy(pool, "my words", BYTES); /* The next owner. */
        put(pipe, "intruder");
        report(s);
        printf("      the next owner wrote \"my words\", has \"%.8s\"; "
               "still in the pipe: %d\n",
               pool, bytes_in(pipe[0]));
        close_both(pipe);
    }
}

/* --- Closing a ring with work in flight ----------------------------------- */

static void closing(struct scene *s)
{
    static char data[BYTES]; /* Nobody will say when it is ours again. */
    static struct __kernel_timespec patience = {.tv_sec = 10};
    struct scene doomed = {.ring = open_ring(1)};
    int pipe[2];

    open_pipe(pipe);
    start_read(&doomed, pipe, data, 0, "");
    submit(&doomed);
    if (close(pipe[0]))
        err(1, "closing the read end of a pipe");
    printf("      read end closed, its read in flight: readers: %s\n",
           readers_of(pipe));

    /* It does not wait: the kernel lets go of the read in its own time, and
       then the pipe has no reader. We wait for that, though not for ever. */
    io_uring_queue_exit(&doomed.ring);
    struct io_uring_sqe *sqe = entry(s);
    io_uring_prep_poll_add(sqe, pipe[1], POLLERR);
    io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
    struct request *gone =
        label(s, sqe, "ring closed; poll, write end", "POLLERR");
    limit(s, &patience, "its limit, 10 s");
    report(s);
    printf("      readers: %s\n",
           gone->res < 0 ? "can't be told after 10 s" : readers_of(pipe));
    close(pipe[1]);
}

/* --- More completions than room ------------------------------------------- */

/* Take what is in the CQ. io_uring_for_each_cqe() sees no further: it does not
   enter the kernel. */
static unsigned reap(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    fputs("      reaped:", stdout);
    io_uring_for_each_cqe(ring, head, cqe)
    {
        printf(" NOP %d", (int)io_uring_cqe_get_data64(cqe));
        n++;
    }
    putchar('\n');
    io_uring_cq_advance(ring, n);
    return n;
}

static void print_state(const struct io_uring *ring)
{
    printf("      in the CQ: %u, IORING_SQ_CQ_OVERFLOW: %s, lost: %u\n",
           io_uring_cq_ready(ring),
           io_uring_cq_has_overflow(ring) ? "set" : "not set",
           *ring->cq.koverflow);
}

static void overflow(void)
{
    struct io_uring ring = open_ring(1); /* Its CQ has room for 2. */
    struct io_uring_cqe *cqe;
    unsigned reaped = 0;

    for (unsigned i = 1; i <= NOPS; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data64(sqe, i);

        int result;
        while ((result = io_uring_submit(&ring)) < 0) {
            /* The first kernels that drop nothing take no more until there is
               room. Without any CQE to reap it would not pass. */
            if (result == -EBUSY && io_uring_cq_ready(&ring) > 0) {
                puts("      -EBUSY");
                reaped += reap(&ring);
            } else
                check(result, "submitting a NOP");
        }
    }
    print_state(&ring);

    while (reaped < NOPS) {
        /* Once the CQ is empty this enters the kernel, and that fills it with
           what waits. io_uring_get_events() does it without a wait. */
        int result = io_uring_wait_cqe(&ring, &cqe);
        check(result, "waiting for a NOP");
        if (result == 0)
            reaped += reap(&ring);
    }
    print_state(&ring);
    io_uring_queue_exit(&ring);
}

/* --- All of it ------------------------------------------------------------ */

static void show(struct scene *s)
{
    puts("user_data, request                    res         what it means");

    puts("\nTime: IORING_OP_TIMEOUT (Linux 5.4)");
    timeouts(s);

    /* This feature came with the same kernel as IORING_OP_READ. */
    if (s->ring.features & IORING_FEAT_RW_CUR_POS) {
        puts("\nTime for one request: IORING_OP_LINK_TIMEOUT (5.5)");
        link_timeouts(s);
        puts("\nCalling off: IORING_OP_ASYNC_CANCEL (5.5, a descriptor 5.19)");
        cancels(s);
        puts("\nCalling off too late");
        cancel_too_late(s);
        /* And this one with IORING_OP_SPLICE. */
        if (s->ring.features & IORING_FEAT_FAST_POLL) {
            int tries = 1;
            while (!cancel_half_done(s, tries == 20) && tries < 20)
                tries++;
            printf("      tries: %d\n", tries);
        } else {
            puts("      missing: IORING_OP_SPLICE: it needs Linux 5.7");
        }
        puts("\nWhose buffer is it?");
        owners(s);
        puts("\nClosing a ring with work in flight");
        closing(s);
    } else
        puts("\nmissing: IORING_OP_READ, to be called off: it needs Linux 5.6");

    puts("\nMore completions than room: IORING_FEAT_NODROP (5.5)");
    if (s->ring.features & IORING_FEAT_NODROP)
        overflow();
    else
        puts("      missing: it needs Linux 5.5");
}

int main(int argc, char **argv)
{
    args_parse(argc, argv, &program);

    struct scene s = {.ring = open_ring(REQUESTS)};

    show(&s);
    io_uring_queue_exit(&s.ring);
    return 0;
}
