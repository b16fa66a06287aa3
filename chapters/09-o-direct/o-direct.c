/*
 * 09 · O_DIRECT
 *
 * Reads the eight blocks through Linux AIO as chapter 08 does, but past the
 * page cache: with O_DIRECT. Then writes to a scratch file, breaks each of the
 * rules that O_DIRECT brings with it, and reads at the end of a file.
 *
 * Watch for: now io_submit(2) returns before the reads are complete. No page is
 * in the cache afterwards, so the second pass goes to the disk again. And a
 * write that makes the file longer is done in io_submit(2) still.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon chapters/09-o-direct/o-direct.c \
 *           common/?*.c -lz -o 09-o-direct
 *
 * Needs: Linux 2.6 and a file system with O_DIRECT; 6.1 to be told the
 * alignment, and that one's headers to build; glibc 2.32.
 * Manual pages: open(2) on O_DIRECT, statx(2), fcntl(2), io_submit(2).
 */
#define _GNU_SOURCE /* O_DIRECT, statx(), strerrorname_np() */
#include "args.h"
#include "blocks.h"
#include "ready.h"
#include "scratch.h"
#include "timeline.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SCRATCH_HINT "TMPDIR says where scratch files go"

static void ready(const struct args *args);

static const struct program program = {
    .name = "09-o-direct",
    .does = "Reads blocks of a file with io_submit(2), past the page cache.",
    .ready = ready,
    .reads_blocks = true,
    .takes_file = true,
};

/* --- The system calls ---------------------------------------------------- */

/* glibc has no wrappers for these four. libaio has, but its wrappers return
   -errno and hide what we are here to see. */
static int io_setup(unsigned requests, aio_context_t *context)
{
    return (int)syscall(SYS_io_setup, requests, context);
}

static int io_submit(aio_context_t context, long n, struct iocb **iocbs)
{
    return (int)syscall(SYS_io_submit, context, n, iocbs);
}

static int io_getevents(aio_context_t context, long min, long max,
                        struct io_event *events, struct timespec *timeout)
{
    return (int)syscall(SYS_io_getevents, context, min, max, events, timeout);
}

static int io_destroy(aio_context_t context)
{
    return (int)syscall(SYS_io_destroy, context);
}

/* --- Alignment ----------------------------------------------------------- */

/* A multiple of every alignment that this program can serve. */
enum { PIECE = 4096 };

/* What must be a multiple of what, in bytes. */
struct alignment {
    unsigned memory; /* The address of the buffer. */
    unsigned file;   /* The offset in the file, and the length. */
    const char *source;
};

/* The old rule, where nobody tells: the logical block size of the disk. The
   ioctl BLKSSZGET wants the disk opened, which few may do; sysfs tells all (and
   of a partition one folder up). 0: not on one disk, as with Btrfs or tmpfs. */
static unsigned logical_block_size(const struct statx *file)
{
    static const char *const queues[] = {"queue", "../queue"};
    unsigned size = 0;

    for (int i = 0; i < 2 && size == 0; i++) {
        char path[80];
        snprintf(path, sizeof(path),
                 "/sys/dev/block/%u:%u/%s/logical_block_size",
                 file->stx_dev_major, file->stx_dev_minor, queues[i]);
        FILE *told = fopen(path, "re");
        if (told && fscanf(told, "%u", &size) != 1)
            size = 0;
        if (told)
            fclose(told);
    }
    return size;
}

static struct alignment ask_alignment(int fd, const char *path)
{
    struct statx file;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &file))
        err(1, "asking for the alignment of %s", path);
    /* A kernel or a file system that can't tell leaves the bit out. */
    if (file.stx_mask & STATX_DIOALIGN)
        return (struct alignment){file.stx_dio_mem_align,
                                  file.stx_dio_offset_align, "statx"};
    unsigned size = logical_block_size(&file);
    if (size > 0)
        return (struct alignment){size, size, "logical block size"};
    return (struct alignment){PIECE, PIECE, "a guess"};
}

/* From here on the file is as if opened with O_DIRECT. F_SETFL sets all flags
   at once: those that are there must be given again. */
static struct alignment go_direct(int fd, const char *path, const char *hint)
{
    struct alignment align = {0};
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0)
        align = ask_alignment(fd, path);
    else if (errno != EINVAL)
        err(1, "setting O_DIRECT on %s", path);
    if (align.file == 0) /* statx() says 0 where it would not be direct. */
        cannot_show("%s: its file system has no O_DIRECT for it.\n"
                    "ext4 and XFS have; %s",
                    path, hint);
    unsigned max = align.file > align.memory ? align.file : align.memory;
    if (max > PIECE)
        cannot_show("%s: O_DIRECT wants multiples of %u bytes, and this "
                    "program can do %d",
                    path, max, PIECE);
    return align;
}

/* --- The job ------------------------------------------------------------- */

/* One block's way through the kernel. */
struct request {
    struct iocb iocb; /* "I/O control block": what the kernel reads. */
    size_t done;      /* Bytes read so far. */
};

/* Of the file that is read; main() asks for it. */
static struct alignment alignment;

/* The last block of a file may have any length. A read may not: it asks for
   more, up to the next multiple, and gets what there is. */
static size_t aligned(size_t length)
{
    return (length + alignment.file - 1) / alignment.file * alignment.file;
}

static void prepare(struct request *request, const struct blocks *blocks,
                    unsigned i)
{
    const struct block *block = &blocks->block[i];

    /* What is not named here is 0, as the reserved fields must be. aio_data
       comes back untouched in the event, and is how we tell which request it
       belongs to. */
    request->iocb = (struct iocb){
        .aio_data = i,
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)blocks->fd,
        .aio_buf = (uintptr_t)(block->data + request->done),
        .aio_nbytes = aligned(block->length) - request->done,
        .aio_offset = block->offset + (off_t)request->done,
    };
}

/* Hand over `n` requests. io_submit() may take fewer than it is given, and
   says how many; only when it takes none does it return -1. */
static void submit(aio_context_t context, struct iocb **iocbs, unsigned n,
                   struct timeline *timeline)
{
    while (n > 0) {
        timeline_call(timeline, CALL_SUBMIT);
        int taken = io_submit(context, (long)n, iocbs);
        timeline_return(timeline);

        /* EAGAIN would mean that the context is full. Ours has room for all
           the blocks at once, so any error is a real one. */
        if (taken < 0)
            err(1, "submitting %u reads", n);
        iocbs += taken;
        n -= (unsigned)taken;
    }
}

/* Collect what is complete: at least `min` events, and with 0 only what is
   there already. Returns how many blocks that finished. */
static unsigned collect(aio_context_t context, long min,
                        struct request *requests, const struct blocks *blocks,
                        struct timeline *timeline)
{
    struct io_event events[MAX_BLOCKS];
    struct timespec zero = {0};
    unsigned finished = 0;
    int n;

    do { /* A signal may end the wait before an event does. */
        timeline_call(timeline, min == 0 ? CALL_LOOK : CALL_WAIT);
        n = io_getevents(context, min, (long)blocks->count, events,
                         min == 0 ? &zero : NULL);
        timeline_return(timeline);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "collecting results");

    for (int k = 0; k < n; k++) {
        unsigned i = (unsigned)events[k].data;
        struct request *request = &requests[i];
        int64_t res = events[k].res;

        /* A count of bytes, as from read(), or -errno. */
        if (res == -EINTR)
            res = 0; /* A signal came before a byte did. */
        else if (res <= 0)
            blocks_failed(blocks, i, res);

        request->done += (size_t)res;
        if (request->done < blocks->block[i].length) {
            /* No multiple: it has met the end of the file, and too soon. From
               there on nobody may ask. */
            if (request->done % alignment.file)
                blocks_failed(blocks, i, 0);
            /* Short or interrupted, as with pread(): ask for the rest. */
            prepare(request, blocks, i);
            submit(context, &(struct iocb *){&request->iocb}, 1, timeline);
        } else {
            timeline_completed(timeline, i);
            finished++;
        }
    }
    return finished;
}

/* Read all blocks, `batch` of them in one io_submit(). */
static void read_all(aio_context_t context, const struct blocks *blocks,
                     unsigned batch, struct timeline *timeline)
{
    struct request *requests = calloc(blocks->count, sizeof(*requests));
    struct iocb **iocbs = calloc(blocks->count, sizeof(struct iocb *));
    unsigned finished = 0;

    if (!requests || !iocbs)
        err(1, "allocating %u requests", blocks->count);
    blocks_clear(blocks);
    for (unsigned i = 0; i < blocks->count; i++) {
        prepare(&requests[i], blocks, i);
        iocbs[i] = &requests[i].iocb;
    }

    timeline_start(timeline);
    for (unsigned i = 0; i < blocks->count; i += batch) {
        unsigned left = blocks->count - i, n = left < batch ? left : batch;

        for (unsigned k = i; k < i + n; k++)
            timeline_submitted(timeline, k);
        submit(context, &iocbs[i], n, timeline);

        /* The question of this chapter: how many are complete already? */
        finished += collect(context, 0, requests, blocks, timeline);
    }
    while (finished < blocks->count)
        finished += collect(context, 1, requests, blocks, timeline);
    timeline_stop(timeline);
    timeline_threads(timeline);
    free(iocbs);
    free(requests);
}

/* --- Writes, the three rules, and the end of a file ----------------------- */

static unsigned char _Alignas(PIECE) memory[16 * PIECE];

/* One request between the file at `offset` and the memory at `to`, and a line
   on what became of it. Returns its res. */
static int64_t transfer(aio_context_t context, int fd, uint16_t opcode,
                        size_t offset, size_t length, size_t to)
{
    struct iocb iocb = {
        .aio_lio_opcode = opcode,
        .aio_fildes = (uint32_t)fd,
        .aio_buf = (uintptr_t)(memory + to),
        .aio_nbytes = length,
        .aio_offset = (off_t)offset,
    };
    struct io_event event;
    bool write = opcode == IOCB_CMD_PWRITE;

    /* It is taken, however it is aligned. What is wrong comes in res. */
    long before = timeline_sleeps();
    if (io_submit(context, 1, &(struct iocb *){&iocb}) != 1)
        err(1, "submitting a request for the scratch file");
    long sleeps = timeline_sleeps() - before;
    int n = io_getevents(context, 0, 1, &event, &(struct timespec){0});
    bool complete = n == 1; /* With nobody waiting for it. */

    while (n == 0 || (n < 0 && errno == EINTR))
        n = io_getevents(context, 1, 1, &event, NULL);
    if (n < 0)
        err(1, "waiting for the scratch file");
    printf("%-5s%8zu%8zu%8zu%8ld  %-7s%8" PRId64, write ? "write" : "read",
           offset, length, to, sleeps, complete ? "yes" : "no",
           (int64_t)event.res);
    if (event.res < 0)
        printf(" -%s", strerrorname_np((int)-event.res));
    putchar('\n');
    return event.res;
}

static void set_size(int fd, off_t size)
{
    if (ftruncate(fd, size))
        err(1, "changing the size of the scratch file");
    printf("the size is now %jd:\n", (intmax_t)size);
}

static void use_scratch(aio_context_t context, int fd)
{
    const uint16_t write = IOCB_CMD_PWRITE, read = IOCB_CMD_PREAD;
    const size_t end = PIECE + 100; /* No multiple of anything. */
    int64_t res = 0;

    puts("\n       offset  length  memory  sleeps  complete    res");
    puts("the same write twice:");
    for (int i = 0; i < 2; i++)
        res += transfer(context, fd, write, 0, sizeof(memory), 0);
    if (res != 2 * sizeof(memory))
        errx(1, "writing the scratch file failed, as res says");

    puts("one byte off:");
    transfer(context, fd, read, 0, PIECE, 0);
    transfer(context, fd, read, 1, PIECE, 0);
    transfer(context, fd, read, 0, PIECE - 1, 0);
    transfer(context, fd, read, 0, PIECE, 1);

    /* To ask for just what is there is an error. To ask for more, up to a
       multiple, gives just that. */
    set_size(fd, (off_t)end);
    transfer(context, fd, read, 0, end, 0);
    transfer(context, fd, read, 0, 2 * PIECE, 0);

    /* Somebody appends. The way on is not from where that read has ended, but
       from the multiple before. */
    set_size(fd, 2 * PIECE);
    transfer(context, fd, read, end, 2 * PIECE - end, end);
    transfer(context, fd, read, PIECE, PIECE, PIECE);
}

static void ready(const struct args *args)
{
    ready_aio(args);
    int scratch = scratch_open(0);
    go_direct(scratch, scratch_folder(), SCRATCH_HINT);
    if (close(scratch))
        err(1, "closing the scratch file");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;
    aio_context_t context = 0; /* Must be 0 before io_setup(). */

    if (io_setup(args.count, &context)) /* Room for all the blocks at once. */
        refused(AIO_SETUP, errno);
    ready_submit(context);
    int scratch = scratch_open(0);
    go_direct(scratch, scratch_folder(), SCRATCH_HINT);
    blocks_open(&blocks, &args);
    alignment = go_direct(blocks.fd, blocks.path, "copy the file to one");
    struct timeline *one = timeline_new("at once", blocks.count);
    struct timeline *many = timeline_new("singly", blocks.count);

    blocks_drop(&blocks);
    blocks_announce(&blocks);
    long before = blocks_resident(&blocks);
    read_all(context, &blocks, blocks.count, one);
    uint32_t checksum = blocks_checksum(&blocks);
    long between = blocks_resident(&blocks);
    read_all(context, &blocks, 1, many);
    long after = blocks_resident(&blocks);

    timeline_draw(one, many); /* Both to one scale. */
    timeline_facts(one, checksum);
    putchar('\n');
    timeline_draw(many, one);
    timeline_facts(many, blocks_checksum(&blocks));

    fputs("\npages in the cache: ", stdout);
    if (before < 0 || between < 0 || after < 0) /* PAGES_UNKNOWN */
        puts("unknown");
    else
        printf("%ld before, %ld between, %ld after\n", before, between, after);
    printf("alignment: memory %u, offset and length %u (%s)\n",
           alignment.memory, alignment.file, alignment.source);
    use_scratch(context, scratch);

    timeline_trace(args.trace, (struct timeline *[]){one, many, NULL});
    timeline_free(many);
    timeline_free(one);
    blocks_close(&blocks);
    if (close(scratch))
        err(1, "closing the scratch file");
    if (io_destroy(context))
        err(1, "destroying the AIO context");
    return 0;
}
