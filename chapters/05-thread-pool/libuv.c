/*
 * 05-libuv · libuv's pool
 *
 * uv_fs_read() hands a read to libuv's own pool of threads. All of the process shares
 * that pool. This program keeps its threads busy with something else, and hands over a
 * read. Then it does something to that read before a thread gets to it.
 *
 * Watch for: the lines with close(). The read waits, and has nothing but the number of a
 * descriptor.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/05-thread-pool/libuv.c \
 *           common/?*.c -lz -luv -o 05-libuv
 *
 * Needs: libuv 1.18 or later; Linux 3.17, for memfd_create(2).
 * Manual pages: close(2), memfd_create(2); https://docs.libuv.org has libuv's.
 */
#define _GNU_SOURCE /* memfd_create() */
#include "args.h"
#include "blocks.h"
#include "ready.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

enum { THREADS = 4 }; /* In libuv's pool. It is libuv's own default. */

/* For --check: may this process have so many threads? If not, it says so and ends. */
static void ready(const struct args *args)
{
    (void)args;
    ready_threads(THREADS);
}

static const struct program program = {
    .name = "05-libuv",
    .page = "05-thread-pool",
    .does = "Shows what can become of a read that waits in libuv's pool.",
    .takes_file = true,
    .ready = ready,
};

static uv_loop_t loop;
static struct blocks blocks; /* One block only: what is to be read. */

/* libuv returns -errno, as the kernel does. */
static void must(int result, const char *doing)
{
    if (result < 0)
        errx(1, "%s: %s", doing, uv_strerror(result));
}

/* --- One read ---------------------------------------------------------------- */

static struct {
    uv_fs_t fs; /* libuv's request. It is libuv's until on_read() is called. */
    int fd;     /* The file, or -1: it was closed meanwhile. */
    size_t wanted;   /* Bytes. */
    size_t done;     /* Bytes read so far. */
    ssize_t error;   /* -errno, or 0. */
    bool over;       /* on_read() was called for the last time. */
    bool close_then; /* ... and that closes the file. */
} request;

static void on_read(uv_fs_t *fs);

/* This call only puts the request into the queue of the pool. libuv copies `rest`, but
   not the memory that it names. And it copies the number of the descriptor. A thread
   looks up that number only when it calls pread(). By then it may name another file. */
static void ask(void)
{
    const struct block *block = &blocks.block[0];
    uv_buf_t rest = uv_buf_init((char *)block->data + request.done,
                                (unsigned)(request.wanted - request.done));

    must(uv_fs_read(&loop, &request.fs, request.fd, &rest, 1,
                    block->offset + (off_t)request.done, on_read),
         "handing a read to libuv");
}

static void close_file(void)
{
    if (close(request.fd))
        err(1, "closing %s", blocks.path);
    request.fd = -1;
}

/* A thread has read, and the loop has been woken: this runs in the main thread. It is the
   first moment in which nobody needs the descriptor any more. */
static void on_read(uv_fs_t *fs)
{
    ssize_t n = fs->result;

    uv_fs_req_cleanup(fs);
    if (n > 0)
        request.done += (size_t)n;
    if ((n > 0 && request.done < request.wanted) || n == UV_EINTR) {
        ask(); /* For the rest, or once more: chapter 01. */
        return;
    }
    request.error = n < 0 ? n : 0;
    request.over = true;
    if (request.close_then)
        close_file();
}

/* --- The other work of the process ------------------------------------------- */

/* A pool does not ask what a request is for. Whatever holds a thread for long keeps files
   waiting: a computation, a slow network disk, a name server that does not answer. Here
   each of these jobs says that it has a thread, and keeps it until it is let go. */
static uv_work_t jobs[THREADS];
static uv_sem_t has_thread, let_go;

static void keep_thread(uv_work_t *job)
{
    (void)job;
    uv_sem_post(&has_thread);
    uv_sem_wait(&let_go);
}

static void keep_busy(unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        must(uv_queue_work(&loop, &jobs[k], keep_thread, NULL),
             "keeping a thread busy");
    for (unsigned k = 0; k < n; k++)
        uv_sem_wait(&has_thread);
}

/* Let n threads go, and turn the loop until nothing is left to come. */
static void finish(unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        uv_sem_post(&let_go);
    uv_run(&loop, UV_RUN_DEFAULT);
}

/* At exit libuv waits for its threads. So after an error, too, they have to be let go. */
static void let_all_go(void)
{
    for (unsigned k = 0; k < THREADS; k++)
        uv_sem_post(&let_go);
}

/* --- What can be done to a read that waits ------------------------------------- */

/* Another file, no byte of which is as in ours; and the CRC-32 of both. */
static int other;
static uint32_t sum_of_file, sum_of_other;

/* A thread is idle, and gets to it while the others are still busy. */
static void let_it_run(void)
{
    while (!request.over)
        uv_run(&loop, UV_RUN_ONCE);
}

/* uv_cancel() works as long as no thread has begun with the request. If it succeeds, the
   request was still in the queue. */
static void cancel(void)
{
    must(uv_cancel((uv_req_t *)&request.fs), "canceling a read");
}

/* open(2) takes the lowest number that is free. All lower ones are taken here, and no other
   thread opens a file meanwhile. So the new file gets the number that we have just closed,
   and the read that waits has the number of another file. */
static void close_and_open(void)
{
    char name[32];

    close_file();
    snprintf(name, sizeof(name), "/proc/self/fd/%d", other);
    request.fd = open(name, O_RDONLY | O_CLOEXEC);
    if (request.fd < 0)
        err(1, "opening another file");
}

/* The callback closes, when the read is over: on_read(). */
static void close_later(void)
{
    request.close_then = true;
}

static const struct {
    const char *title;
    void (*meanwhile)(void); /* It is done once the read was handed over. */
    unsigned idle;           /* So many threads have nothing else to do. */
} tries[] = {
    {"nothing", let_it_run, 1},
    {"uv_cancel()", cancel, 0},
    {"close()", close_file, 0},
    {"close(), open another file", close_and_open, 0},
    {"close() in the callback", close_later, 0},
};

static void try(unsigned busy, void (*meanwhile)(void))
{
    blocks_clear(&blocks);
    memset(&request, 0, sizeof(request));
    request.wanted = blocks.block[0].length;
    request.fd = fcntl(blocks.fd, F_DUPFD_CLOEXEC, 0);
    if (request.fd < 0)
        err(1, "duplicating the descriptor of %s", blocks.path);

    keep_busy(busy);
    ask();
    meanwhile();
    finish(busy);
    if (request.fd >= 0)
        close_file();
}

static void try_all(void)
{
    printf("%-14s%-30s%s\n", "busy threads", "meanwhile", "the read");
    for (size_t k = 0; k < sizeof(tries) / sizeof(tries[0]); k++) {
        unsigned busy = THREADS - tries[k].idle;
        char of[32];

        try(busy, tries[k].meanwhile);
        snprintf(of, sizeof(of), "%u of %d", busy, THREADS);
        printf("%-14s%-30s", of, tries[k].title);
        uint32_t sum = blocks_checksum(&blocks);
        if (request.error < 0)
            puts(uv_strerror((int)request.error));
        else
            printf("%zu bytes of %s\n", request.done,
                   sum == sum_of_file    ? "the file"
                   : sum == sum_of_other ? "another file"
                                         : "no file");
    }
}

/* Read the file right here, once. Then make the other one. */
static void make_other(void)
{
    const struct block *block = &blocks.block[0];
    int64_t res = blocks_read(&blocks, 0);

    if (res <= 0)
        blocks_failed(&blocks, 0, res);
    sum_of_file = blocks_checksum(&blocks);
    for (size_t i = 0; i < block->length; i++)
        block->data[i] ^= 0xff;
    sum_of_other = blocks_checksum(&blocks);
    other = memfd_create("other", MFD_CLOEXEC);
    if (other < 0)
        err(1, "making another file");
    for (size_t done = 0; done < block->length;) {
        ssize_t n = pwrite(other, block->data + done, block->length - done,
                           block->offset + (off_t)done);

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            err(1, "writing another file");
    }
}

/* libuv calls abort() where it can't go on: where the kernel refuses what it can't do
   without, or where something is not as it should be. In a signal handler only a few
   functions are safe: signal-safety(7). */
static void gave_up(int number)
{
    static const char text[] =
        "05-libuv: libuv has given up: abort() was called. If a system call "
        "has failed, strace will say which\n";

    (void)number;
    _exit(write(STDERR_FILENO, text, sizeof(text) - 1) > 0 ? 1 : 3);
}

int main(int argc, char **argv)
{
    signal(SIGABRT, gave_up);

    struct args args = args_parse(argc, argv, &program);

    /* Newer versions can read through io_uring. Here the pool is to do it. */
    if (setenv("UV_USE_IO_URING", "0", 1) ||
        setenv("UV_THREADPOOL_SIZE", "4", 1)) /* THREADS */
        err(1, "setting how libuv reads");
    args.count = 1;
    blocks_open(&blocks, &args);
    must(uv_loop_init(&loop), "setting up libuv's loop");
    must(uv_sem_init(&has_thread, 0), "making a semaphore");
    must(uv_sem_init(&let_go, 0), "making a semaphore");
    if (atexit(let_all_go))
        errx(1, "registering a function for the end");

    make_other();
    printf("libuv %s, threads in its pool: %d\n\n", uv_version_string(),
           THREADS);
    try_all();

    must(uv_loop_close(&loop), "closing libuv's loop");
    if (close(other))
        err(1, "closing the other file");
    blocks_close(&blocks);
    return 0;
}
