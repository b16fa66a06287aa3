/*
 * 18 · The options of a ring
 *
 * Reads the eight blocks with a registered file, registered buffers and a ring
 * that only this thread uses. Then reads small blocks by the thousand, turns
 * one option after the other, and prints what each was worth.
 *
 * Watch for: "calls/read" goes down to 1/32 by batching, and to nothing at all
 * with SQPOLL. Look at the processor time of that row as well.
 *
 * reader.c, beside this file, is the lesson: what each option changes in the code.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/18-liburing-fast/?*.c \
 *           common/?*.c -lz -luring -o 18-liburing-fast
 *
 * Needs: Linux 5.6, for IORING_OP_READ; liburing 2.3. A option that needs more
 * says so in its row: SQPOLL 5.12, DEFER_TASKRUN 6.1.
 * Manual pages: io_uring_setup(2), io_uring_register_files(3),
 * io_uring_register_buffers(3), io_uring_prep_read_fixed(3).
 */
#define _GNU_SOURCE
#include "args.h"
#include "blocks.h"
#include "cost.h"
#include "disk.h"
#include "reader.h"
#include "ready.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { DEPTH = 32, MAX_ROUNDS = 99 };

static unsigned operations = 2048, rounds = 9, spin = 100000, direct;

static void ready(const struct args *args)
{
    (void)args;
    ready_uring_read(NULL);
}

static const struct program program = {
    .name = "18-liburing-fast",
    .does = "Turns the options of a ring, one by one, and measures each.",
    .ready = ready,
    .reads_blocks = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_NUMBER("operations", "small reads of a row in a round",
                          &operations, 1, 10000000),
            OPTION_NUMBER("rounds", "how often each row has its turn", &rounds,
                          1, MAX_ROUNDS),
            OPTION_NUMBER("spin", "SQPOLL: looks before it waits", &spin, 0,
                          2000000000),
            OPTION_SWITCH("direct", "small reads with O_DIRECT, from the disk",
                          &direct),
            OPTION_END},
};

/* --- The eight blocks, all options on --------------------------------------- */

static void read_blocks(const struct blocks *blocks, const char *trace)
{
    struct timeline *timeline = timeline_new("all on", blocks->count);
    struct request requests[MAX_BLOCKS] = {0};
    off_t offsets[MAX_BLOCKS];
    char why[WHY];
    struct reader r = {.options = REGISTERED | DEFER_TASKRUN,
                       .path = blocks->path,
                       .fd = blocks->fd,
                       .offsets = offsets,
                       .operations = blocks->count,
                       .requests = requests,
                       .batch = blocks->count,
                       .timeline = timeline};

    for (unsigned i = 0; i < blocks->count; i++) {
        requests[i].data = blocks->block[i].data;
        requests[i].length = blocks->block[i].length;
        offsets[i] = blocks->block[i].offset;
    }
    if (!reader_open(&r, why)) {
        printf("all off: %s\n", why);
        r.options = 0;
        if (!reader_open(&r, why))
            errx(1, "%s", why);
    }
    blocks_clear(blocks);
    timeline_start(timeline);
    reader_read(&r);
    timeline_stop(timeline);
    timeline_threads(timeline);
    io_uring_queue_exit(&r.ring);
    timeline_draw(timeline, timeline);
    timeline_facts(timeline, blocks_checksum(blocks));
    timeline_trace(trace, (struct timeline *[]){timeline, NULL});
    timeline_free(timeline);
}

/* --- The table ------------------------------------------------------------ */

struct row {
    const char *name;
    unsigned batch, options;
    char why[WHY]; /* Empty, or why it is not measured. */
    double rate[MAX_ROUNDS], calls[MAX_ROUNDS], cpu[MAX_ROUNDS];
};

static struct row rows[] = {
    {.name = "1 at a time", .batch = 1},
    {.name = "8 at a time", .batch = 8},
    {.name = "32 at a time", .batch = 32},
    {.name = "+ registered file", .batch = 32, .options = REGISTERED_FILE},
    {.name = "+ registered buffers", .batch = 32, .options = REGISTERED},
    {.name = "+ DEFER_TASKRUN",
     .batch = 32,
     .options = REGISTERED | DEFER_TASKRUN},
    {.name = "SQPOLL", .batch = 32, .options = REGISTERED | SQPOLL},
    {.name = "IOPOLL", .batch = 32, .options = REGISTERED | IOPOLL},
};
enum { ROWS = sizeof(rows) / sizeof(*rows) };

/* Pick what to read, and read it with pread(): that tells what each row's sum
   must be, and leaves all of it in the page cache. */
static uint64_t prepare(struct reader *r, off_t *offsets, off_t file_size)
{
    unsigned short seed[3] = {1, 2, 3}; /* The same reads each time. */
    struct request *q = r->requests;
    off_t pages = file_size / SMALL;
    uint64_t sum = 0;

    for (unsigned i = 0; i < operations; i++) {
        offsets[i] = pages > 0 ? nrand48(seed) % pages * SMALL : 0;
        for (size_t done = 0; done < q->length;) {
            ssize_t n = pread(r->fd, q->data + done, q->length - done,
                              offsets[i] + (off_t)done);
            if (n == 0)
                errx(1, "reading %s: it ends sooner than its size said",
                     r->path);
            if (n < 0 && errno != EINTR)
                err(1, "reading %s", r->path);
            done += n > 0 ? (size_t)n : 0;
        }
        sum += reader_sum(q->data, i);
    }
    return sum;
}

/* Has the disk below the file queues that can be polled? Where not, some kernels
   refuse IOPOLL, and others quietly wait for an interrupt. A partition has its
   queues one folder up. */
static bool has_poll_queues(const struct reader *r)
{
    static const char *const places[] = {
        "/sys/dev/block/%u:%u/queue/io_poll",
        "/sys/dev/block/%u:%u/../queue/io_poll"};
    struct stat s;
    bool has = false;

    if (fstat(r->fd, &s))
        err(1, "asking which device %s is on", r->path);
    for (int i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof(path), places[i], major(s.st_dev),
                 minor(s.st_dev));
        FILE *file = fopen(path, "re");
        has = has || (file && fgetc(file) == '1');
        if (file)
            fclose(file);
    }
    return has;
}

/* One row, one round. */
static void measure(struct reader *r, struct row *row, unsigned round,
                    uint64_t right)
{
    struct cost before, after;

    r->options = row->options;
    r->batch = row->batch;
    r->calls = 0;
    r->sum = 0;
    r->not_polled = false;
    cost_look(&before);
    unsigned threads = before.threads;
    if (!reader_open(r, row->why))
        return;
    cost_look(&before);
    int64_t began = timeline_now();
    reader_read(r);
    row->rate[round] = operations * 1e9 / (double)(timeline_now() - began);
    cost_look(&after);
    row->cpu[round] = cost_between(&before, &after) * 1e6 / operations;
    row->calls[round] = (double)r->calls / operations;
    io_uring_queue_exit(&r->ring);
    if (r->not_polled)
        snprintf(row->why, WHY, "the kernel refuses to poll %s", r->path);
    else if (r->sum != right)
        errx(1, "%s: other bytes than those from pread()", row->name);
    cost_await_threads(threads); /* The poller's end. */
}

static void print_rows(void)
{
    double first = 0;

    printf("\n%u random reads of 4 KiB %s, medians of %u round%s\n\n",
           operations, direct ? "with O_DIRECT" : "from the page cache", rounds,
           rounds == 1 ? "" : "s");
    printf("%-22s %10s %10s %12s %14s\n", "", "reads/s", "relative",
           "calls/read", "CPU us/read");
    for (unsigned i = 0; i < ROWS; i++) {
        struct row *row = &rows[i];
        if (*row->why) {
            printf("%-22s not measured: %s\n", row->name, row->why);
            continue;
        }
        double rate = cost_median(row->rate, rounds);
        first = first > 0 ? first : rate;
        printf("%-22s %10.0f %10.2f %12.3f %14.2f\n", row->name, rate,
               rate / first, cost_median(row->calls, rounds),
               cost_median(row->cpu, rounds));
    }
}

/* `fd`: the file, with O_DIRECT where that is asked for. */
static void table(const struct blocks *blocks, int fd)
{
    struct request requests[DEPTH];
    unsigned char *data = aligned_alloc(SMALL, (size_t)DEPTH * SMALL);
    off_t *offsets = calloc(operations, sizeof(*offsets));
    struct row *iopoll = &rows[ROWS - 1];
    struct reader r = {.path = blocks->path,
                       .fd = blocks->fd, /* What is right is read without. */
                       .offsets = offsets,
                       .operations = operations,
                       .spin = spin,
                       .requests = requests};

    if (!data || !offsets)
        err(1, "allocating %u reads", operations);
    memset(data, 0, (size_t)DEPTH * SMALL);
    size_t length =
        blocks->file_size < SMALL ? (size_t)blocks->file_size : SMALL;
    for (unsigned i = 0; i < DEPTH; i++)
        requests[i] = (struct request){data + (size_t)i * SMALL, length, 0, 0};
    uint64_t right = prepare(&r, offsets, blocks->file_size);

    if (!direct)
        snprintf(iopoll->why, WHY, "it polls the disk: see --direct");
    else if (length < SMALL)
        errx(1, "%s is too small for O_DIRECT", r.path);
    else if (!has_poll_queues(&r))
        snprintf(iopoll->why, WHY, "no poll queues below %s", r.path);

    r.fd = fd;
    /* A B C A B C: what disturbs the machine for a while disturbs all. */
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < ROWS; i++)
            if (!*rows[i].why)
                measure(&r, &rows[i], round, right);
    print_rows();
    printf("\nsum of each row: %016jx\n", (uintmax_t)right);
    free(offsets);
    free(data);
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;

    blocks_open(&blocks, &args);
    int fd = direct ? disk_open_direct(blocks.path) : blocks.fd;
    blocks_drop(&blocks);
    blocks_announce(&blocks);
    read_blocks(&blocks, args.trace);
    table(&blocks, fd);
    if (direct && close(fd))
        err(1, "closing %s", blocks.path);
    blocks_close(&blocks);
    return 0;
}
