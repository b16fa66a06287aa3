/*
 * 07 · POSIX AIO
 *
 * Reads the eight blocks with aio_read(3): first all through one descriptor,
 * then each through one of its own. Before that it has requests wait at an
 * empty pipe, and takes one back; after that it writes and syncs, and counts
 * what it costs to be told of results.
 *
 * Watch for: threads that nobody here has started. For one descriptor only one
 * of them works, and the staircase of chapter 01 is back. For eight
 * descriptors of the same file, bars lie side by side.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/07-posix-aio/posix-aio.c \
 *           common/?*.c -lz -o 07-posix-aio
 *
 * Needs: glibc 2.34; an older one keeps these functions in librt (-lrt).
 * Manual pages: aio(7), aio_suspend(3), aio_cancel(3), lio_listio(3),
 * sigevent(7), proc(5).
 */
#define _GNU_SOURCE /* pipe2() */
#include "args.h"
#include "blocks.h"
#include "ready.h"
#include "scratch.h"
#include "timeline.h"
#include "why.h"

#include <aio.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WAITING = 8 /* Reads of the pipe. */ };

static void ready(const struct args *args)
{
    (void)args;
#ifdef __SANITIZE_THREAD__
    cannot_show("ThreadSanitizer crashes in the threads that glibc starts");
#endif
#ifndef __GLIBC__
    cannot_show("this C library is not glibc, and has no queue for each "
                "descriptor.\nBuild it where glibc is: Debian, Fedora, Arch");
#endif
    if (access("/proc/thread-self/syscall", R_OK))
        cannot_show("/proc/thread-self/syscall can't be read (%s): it tells"
                    " in which call a thread waits",
                    strerror(errno));
    ready_threads(WAITING);
}

static const struct program program = {

    .name = "07-posix-aio",
    .ready = ready,
    .does = "Reads blocks of a file with aio_read(3), then writes and syncs.",
    .reads_blocks = true,
    .takes_file = true,
};

/* --- One request ---------------------------------------------------------- */

static struct aiocb request_for(int fd, const struct block *block, size_t done)
{
    /* What is not named here is 0, glibc's own fields as well. */
    return (struct aiocb){
        .aio_fildes = fd,
        .aio_buf = block->data + done,
        .aio_nbytes = block->length - done,
        .aio_offset = block->offset + (off_t)done,
        .aio_sigevent.sigev_notify = SIGEV_NONE, /* We shall ask. */
    };
}

/* Wait until it is complete. A signal may end the wait before that. */
static void wait_for(const struct aiocb *cb)
{
    while (aio_error(cb) == EINPROGRESS)
        if (aio_suspend(&cb, 1, NULL) && errno != EINTR)
            err(1, "waiting for a request");
}

/* What came of it: bytes, or -errno. aio_error() returns the error itself;
   errno is not involved. aio_return() may be called once: with that the request
   is forgotten. */
static int64_t result_of(struct aiocb *cb)
{
    int error = aio_error(cb);
    ssize_t n = aio_return(cb);

    return error ? -error : n;
}

/* --- What glibc's threads are doing --------------------------------------- */

struct sight {
    unsigned threads;                 /* Of this process, in all. */
    unsigned inside;                  /* How many of them wait in `call`. */
    unsigned long offset[MAX_BLOCKS]; /* With this as its fourth argument. */
};

/* glibc does not tell when a thread takes a request up. But of a thread that
   waits in a system call, /proc tells which call it is, with its arguments. */
static struct sight look(long call)
{
    struct sight sight = {0};
    DIR *tasks = opendir("/proc/self/task");

    if (!tasks)
        err(1, "opening /proc/self/task");
    errno = 0;
    for (struct dirent *task; (task = readdir(tasks)); errno = 0) {
        char path[300];
        long number;

        if (task->d_name[0] == '.')
            continue;
        sight.threads++;
        if (atoi(task->d_name) == getpid())
            continue; /* That is us, and we don't wait. */
        snprintf(path, sizeof(path), "/proc/self/task/%s/syscall",
                 task->d_name);
        FILE *file = fopen(path, "re");
        if (!file && errno == ENOENT)
            continue; /* It has just ended. */
        if (!file)
            err(1, "opening %s", path);
        /* Of a thread that does not wait it says "running", and no number. */
        if (fscanf(file, "%ld %*x %*x %*x %lx", &number,
                   &sight.offset[sight.inside]) == 2 &&
            number == call && sight.inside < MAX_BLOCKS - 1)
            sight.inside++;
        fclose(file);
    }
    if (errno)
        err(1, "reading /proc/self/task");
    closedir(tasks);
    return sight;
}

/* --- Requests that wait, and how to take them back ------------------------ */

static void nap(int naps, const char *waiting_for)
{
    if (naps == 500) /* A thread could not be started, say. */
        errx(1, "waiting for %s: there are too few", waiting_for);
    nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
}

/* Print a line of the table, once so many threads are in read(2). */
static void print_threads(const char *reads, unsigned inside)
{
    struct sight sight;
    int naps = 0;

    do {
        nap(naps++, "threads to be in read(2)");
        sight = look(SYS_read);
    } while (sight.inside != inside);
    printf("%-26s%8u%11u\n", reads, sight.threads, inside);
}

static void print_cancel(const char *which, struct aiocb *cb)
{
    static const char *const answers[] = {[AIO_CANCELED] = "AIO_CANCELED",
                                          [AIO_NOTCANCELED] = "AIO_NOTCANCELED",
                                          [AIO_ALLDONE] = "AIO_ALLDONE"};
    int answer = aio_cancel(cb->aio_fildes, cb);

    if (answer < 0)
        err(1, "canceling a read");
    printf("aio_cancel of one that %s: %s\n", which, answers[answer]);
}

static void start_reads(struct aiocb *cbs, const int *fds)
{
    static unsigned char bytes[WAITING];

    for (int i = 0; i < WAITING; i++) {
        struct block byte = {.length = 1, .data = &bytes[i]};
        cbs[i] = request_for(fds[i], &byte, 0);
        if (aio_read(&cbs[i])) /* EAGAIN: no memory, or no thread. */
            errx(1, "submitting a read of the pipe: %s%s", strerror(errno),
                 why_no_thread(errno));
    }
}

/* Let them have a byte each, and wait for all. */
static void end_reads(struct aiocb *cbs, int pipe, size_t bytes)
{
    if (write(pipe, "12345678", bytes) != (ssize_t)bytes)
        err(1, "writing to the pipe");
    for (int i = 0; i < WAITING; i++) {
        wait_for(&cbs[i]);
        int64_t res = result_of(&cbs[i]);
        if (res != 1 && res != -ECANCELED)
            errx(1, "reading the pipe: %s", strerror((int)-res));
    }
}

/* Descriptors of the same open file. To glibc these are different ones. */
static void duplicate(int fd, int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if ((fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
            err(1, "duplicating a descriptor");
}

static void close_all(const int *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (close(fds[i]))
            err(1, "closing a descriptor");
}

static void wait_at_a_pipe(void)
{
    struct aiocb cbs[WAITING];
    int ends[2], same[WAITING], own[WAITING];

    if (pipe2(ends, O_CLOEXEC))
        err(1, "making a pipe");
    for (int i = 0; i < WAITING; i++)
        same[i] = ends[0];
    duplicate(ends[0], own, WAITING);

    puts("reads of an empty pipe     threads  in read(2)");
    print_threads("none", 0);
    start_reads(cbs, same);
    print_threads("8 through one descriptor", 1);
    print_cancel("a thread is at", &cbs[0]);
    print_cancel("is queued", &cbs[1]);
    end_reads(cbs, ends[1], WAITING - 1); /* One has been taken back. */
    print_cancel("is complete", &cbs[0]);
    start_reads(cbs, own);
    print_threads("8 through eight", WAITING);
    end_reads(cbs, ends[1], WAITING);

    close_all(own, WAITING);
    close_all(ends, 2);
}

/* --- The job -------------------------------------------------------------- */

/* One block's way through glibc. */
struct request {
    struct aiocb cb; /* "AIO control block": glibc's until it is complete. */
    size_t done;     /* Bytes read so far. */
    bool seen;       /* A thread was in pread(2) with it. */
    bool finished;
};

struct reader {
    const struct blocks *blocks;
    struct timeline *timeline;
    struct request *requests; /* One for each block. */
    unsigned finished;
};

static void submit(struct reader *r, unsigned i, int fd)
{
    struct request *request = &r->requests[i];

    request->cb = request_for(fd, &r->blocks->block[i], request->done);
    if (aio_read(&request->cb))
        errx(1, "submitting the read of block %u: %s%s", i, strerror(errno),
             why_no_thread(errno));
}

/* What is complete? Nobody tells which: each is asked. */
static void collect(struct reader *r)
{
    for (unsigned i = 0; i < r->blocks->count; i++) {
        struct request *request = &r->requests[i];

        if (request->finished || aio_error(&request->cb) == EINPROGRESS)
            continue;
        int64_t res = result_of(&request->cb);
        if (res <= 0) /* Never EINTR: glibc's thread asks again by itself. */
            blocks_failed(r->blocks, i, res);
        request->done += (size_t)res;
        if (request->done < r->blocks->block[i].length) {
            submit(r, i, request->cb.aio_fildes); /* Short: chapter 01. */
            continue;
        }
        timeline_completed(r->timeline, i);
        if (!request->seen) /* Begun and ended between two looks. */
            r->timeline->block[i].begin = r->timeline->block[i].end;
        request->finished = true;
        r->finished++;
    }
}

/* A bar is to begin when a thread is in the kernel with the block, and not when
   the block is handed over. The completions are collected between the look and
   the beginnings: a read that begins when another one ends overlaps nothing. */
static void look_and_collect(struct reader *r)
{
    timeline_call(r->timeline, CALL_LOOK);
    struct sight sight = look(SYS_pread64);
    timeline_return(r->timeline);
    collect(r);

    for (unsigned i = 0; i < r->blocks->count; i++) {
        struct request *request = &r->requests[i];
        size_t offset = (size_t)r->blocks->block[i].offset + request->done;

        for (unsigned k = 0; k < sight.inside; k++) {
            if (sight.offset[k] != offset || request->seen || request->finished)
                continue;
            request->seen = true;
            r->timeline->block[i].begin = timeline_now() - r->timeline->start;
        }
    }
}

/* Until one of them is complete, but not for long: we want to look often. */
static void wait_for_any(struct reader *r)
{
    const struct aiocb *list[MAX_BLOCKS];
    struct timespec timeout = {.tv_nsec = 50 * 1000};

    for (unsigned i = 0; i < r->blocks->count; i++) /* NULL is passed over. */
        list[i] = r->requests[i].finished ? NULL : &r->requests[i].cb;
    timeline_call(r->timeline, CALL_WAIT);
    int failed = aio_suspend(list, (int)r->blocks->count, &timeout);
    timeline_return(r->timeline);
    /* EAGAIN: the time is over. EINTR: a signal came. Look, and wait again. */
    if (failed && errno != EAGAIN && errno != EINTR)
        err(1, "waiting for a read");
}

/* All handed over at once, block i through the descriptor fds[i]. */
static void read_all(const struct blocks *blocks, const int *fds,
                     struct timeline *timeline)
{
    struct reader r = {.blocks = blocks, .timeline = timeline};

    r.requests = calloc(blocks->count, sizeof(*r.requests));
    if (!r.requests)
        err(1, "allocating %u requests", blocks->count);
    blocks_clear(blocks);
    timeline_start(timeline);
    for (unsigned i = 0; i < blocks->count; i++)
        timeline_submitted(timeline, i);
    timeline_call(timeline, CALL_SUBMIT);
    for (unsigned i = 0; i < blocks->count; i++)
        submit(&r, i, fds[i]);
    timeline_return(timeline);
    collect(&r); /* What is complete already; to look takes longer. */
    look_and_collect(&r);
    while (r.finished < blocks->count) {
        wait_for_any(&r);
        look_and_collect(&r);
    }
    timeline_stop(timeline);
    timeline_threads(timeline);
    free(r.requests);
}

/* --- Write, then sync ---------------------------------------------------- */

static void write_and_sync(const struct block *block)
{
    struct block rest = {.length = block->length, .data = block->data};
    int fd = scratch_open(0);

    while (rest.length > 0) {
        struct aiocb write = request_for(fd, &rest, 0), sync = write;

        /* Both at once: a sync is for what was queued on its descriptor before,
           and glibc does not begin it until that is complete. */
        if (aio_write(&write) || aio_fsync(O_SYNC, &sync))
            err(1, "submitting a write and a sync");
        wait_for(&sync);
        bool ordered = aio_error(&write) != EINPROGRESS;
        wait_for(&write);
        int64_t written = result_of(&write), synced = result_of(&sync);
        if (written <= 0 || synced)
            errx(1, "writing and syncing the scratch file: %s",
                 strerror((int)-(written <= 0 ? written : synced)));
        printf("\naio_write of %zu bytes: %" PRId64 "\n", rest.length, written);
        printf("aio_fsync: %" PRId64 ", and the write was %s\n", synced,
               ordered ? "complete" : "still in progress");
        rest.data += written; /* It may be short, as in chapter 02. */
        rest.offset += (off_t)written;
        rest.length -= (size_t)written;
    }
    close_all(&fd, 1);
}

/* --- To be told ----------------------------------------------------------- */

static atomic_uint signals, threads;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
}

/* Runs in a thread that is made for this call. */
static void on_thread(union sigval value)
{
    (void)value;
    atomic_fetch_add(&threads, 1);
}

/* Read all blocks again, handed over as a list. `each` read tells of itself, or
   one thing tells of `all`. */
static void be_told(const struct blocks *blocks, const char *how,
                    struct sigevent each, struct sigevent *all)
{
    struct aiocb cbs[MAX_BLOCKS], *list[MAX_BLOCKS] = {NULL};
    unsigned failed, due = all ? 1 : blocks->count;
    int naps = 0;

    signals = threads = 0;
    for (unsigned i = 0; i < blocks->count; i++) {
        cbs[i] = request_for(blocks->fd, &blocks->block[i], 0);
        cbs[i].aio_lio_opcode = LIO_READ;
        cbs[i].aio_sigevent = each;
        list[i] = &cbs[i];
    }
    if (lio_listio(LIO_NOWAIT, list, (int)blocks->count, all))
        err(1, "submitting a list of reads");
    for (unsigned i = 0; i < blocks->count; i++)
        wait_for(&cbs[i]);
    /* glibc calls a read complete before it tells of it; if it can't tell, it
       calls the read failed. Of a list that it can't tell of we hear nothing. */
    do {
        nap(naps++, "news of the reads");
        failed = 0;
        for (unsigned i = 0; i < blocks->count; i++)
            failed += aio_error(&cbs[i]) != 0;
    } while (signals + threads + failed < due && !(all && naps == 100));
    for (unsigned i = 0; i < blocks->count; i++)
        aio_return(&cbs[i]);
    printf("%-26s%8u%8u%8u\n", how, signals, threads, failed);
}

static void be_told_in_three_ways(const struct blocks *blocks)
{
    struct sigevent nothing = {.sigev_notify = SIGEV_NONE},
                    a_signal = {.sigev_notify = SIGEV_SIGNAL,
                                .sigev_signo = SIGRTMIN},
                    a_thread = {.sigev_notify = SIGEV_THREAD,
                                .sigev_notify_function = on_thread};

    if (sigaction(SIGRTMIN, &(struct sigaction){.sa_handler = on_signal}, NULL))
        err(1, "setting a signal handler");
    puts("\nwhat tells of the reads    signals threads  failed");
    be_told(blocks, "a signal for each", a_signal, NULL);
    be_told(blocks, "a signal for all", nothing, &a_signal);
    be_told(blocks, "a thread for each", a_thread, NULL);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;
    int fds[MAX_BLOCKS];

    blocks_open(&blocks, &args);
    struct timeline *one = timeline_new("one fd", blocks.count);
    struct timeline *many = timeline_new("many fds", blocks.count);

    blocks_drop(&blocks);
    blocks_announce(&blocks);
    wait_at_a_pipe();

    putchar('\n');
    for (unsigned i = 0; i < blocks.count; i++)
        fds[i] = blocks.fd;
    read_all(&blocks, fds, one);
    uint32_t checksum = blocks_checksum(&blocks);
    blocks_drop(&blocks);
    duplicate(blocks.fd, fds, blocks.count);
    read_all(&blocks, fds, many);
    close_all(fds, blocks.count);

    timeline_draw(one, many); /* Both to one scale. */
    timeline_facts(one, checksum);
    putchar('\n');
    timeline_draw(many, one);
    timeline_facts(many, blocks_checksum(&blocks));

    write_and_sync(&blocks.block[0]);
    be_told_in_three_ways(&blocks);

    timeline_trace(args.trace, (struct timeline *[]){one, many, NULL});
    timeline_free(many);
    timeline_free(one);
    blocks_close(&blocks);
    return 0;
}
