#define _GNU_SOURCE /* pipe2() */
#include "ready.h"

#include "ring.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool left_to_the_run(const struct args *args)
{
    return args && !args->check;
}

/* A request that does nothing, through a ring of its own. Returns its result, and
   the ring's features. */
static int run_nop(unsigned char flags, unsigned *features)
{
    struct ring ring;
    unsigned taken = 0, interrupted = 0;

    if (ring_open(&ring, 1))
        refused(URING_SETUP, errno);
    *features = ring.features;
    ring.sqes[0] =
        (struct io_uring_sqe){.opcode = IORING_OP_NOP, .flags = flags};
    ring.sq_array[0] = 0;
    atomic_store_explicit(ring.sq_tail, 1, memory_order_release);
    while (atomic_load_explicit(ring.cq_tail, memory_order_acquire) == 0) {
        int result = ring_enter(&ring, 1 - taken, 1);
        /* No signal comes so often. A filter may answer so, and for ever. */
        if (result < 0 && (errno != EINTR || ++interrupted == 100))
            refused(URING_ENTER, errno);
        taken += result > 0 ? (unsigned)result : 0;
    }
    int res = ring.cqes[0].res;
    ring_close(&ring);
    return res;
}

void ready_uring(const struct args *args)
{
    unsigned features;

    if (left_to_the_run(args))
        return;
    run_nop(0, &features);
}

void ready_to_read(unsigned features)
{
    /* This feature came with the same kernel as the two requests. */
    if (!(features & IORING_FEAT_RW_CUR_POS))
        cannot_show("IORING_OP_READ: it needs Linux 5.6 or later");
}

void ready_uring_read(const struct args *args)
{
    unsigned features;

    if (left_to_the_run(args))
        return;
    run_nop(0, &features);
    ready_to_read(features);
}

void ready_enter(int fd)
{
    if (syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0UL) < 0 &&
        why_refused(URING_ENTER, errno))
        refused(URING_ENTER, errno);
}

void ready_uring_register(void)
{
    struct io_uring_probe probe = {0};
    struct ring ring;

    if (ring_open(&ring, 1))
        refused(URING_SETUP, errno);
    if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PROBE, &probe,
                0))
        refused(URING_REGISTER, errno);
    ring_close(&ring);
}

void ready_uring_worker(const char *what)
{
    unsigned features;

    /* With this flag it goes to a thread of the kernel's, whatever it is. */
    if (run_nop(IOSQE_ASYNC, &features) == -ECANCELED)
        cannot_show("%s: %s", what, request_error(ECANCELED));
    ready_to_read(features);
}

/* Make a child that lives until it is killed, or we are: then the pipe ends. */
static pid_t make_child(const int pipe[2])
{
    char byte;
    pid_t child = fork();

    if (child == 0) {
        close(pipe[1]);
        while (read(pipe[0], &byte, 1) < 0 && errno == EINTR)
            continue;
        _exit(0); /* Not exit(): stdout's buffer is the parent's. */
    }
    return child;
}

/* Not by closing the pipe: if that failed, they would live on, and we would wait
   for ever. (When this program ends, the pipe ends.) */
static void end_children(const pid_t *children, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (kill(children[i], SIGKILL))
            err(1, "ending a child");
        while (waitpid(children[i], NULL, 0) < 0)
            if (errno != EINTR)
                err(1, "waiting for a child");
    }
}

void ready_threads(unsigned threads)
{
    pid_t children[READY_MAX_THREADS];
    unsigned made = 0;
    int pipe[2], error = 0;

    if (pipe2(pipe, O_CLOEXEC))
        err(1, "making a pipe");
    while (made < threads && error == 0) {
        children[made] = make_child(pipe);
        if (children[made] < 0)
            error = errno;
        else
            made++;
    }
    end_children(children, made);
    if (close(pipe[0]) || close(pipe[1]))
        err(1, "closing a pipe");
    if (error == EAGAIN)
        cannot_show("%u threads: %s", threads, NO_MORE_THREADS);
    if (error)
        errx(1, "making a process: %s", strerror(error));
}

void ready_advice(const struct args *args)
{
    (void)args;
    /* Elsewhere this is EBADF. */
    if (posix_fadvise(-1, 0, 0, POSIX_FADV_NORMAL) == ENOSYS)
        cannot_show("posix_fadvise(): %s.\n"
                    "This needs a kernel with CONFIG_ADVISE_SYSCALLS",
                    strerror(ENOSYS));
}

void ready_aio(const struct args *args)
{
    aio_context_t context = 0;

    if (left_to_the_run(args))
        return;
    if (syscall(SYS_io_setup, 1, &context))
        refused(AIO_SETUP, errno);
    /* No request: a filter that refuses the call refuses this one too. */
    if (syscall(SYS_io_submit, context, 0L, NULL) < 0)
        refused(AIO_SUBMIT, errno);
    if (syscall(SYS_io_destroy, context))
        err(1, "destroying the AIO context");
}

void ready_submit(unsigned long context)
{
    if (syscall(SYS_io_submit, context, 0L, NULL) < 0 &&
        why_refused(AIO_SUBMIT, errno))
        refused(AIO_SUBMIT, errno);
}
