/*
 * 02 · Durable write
 *
 * Takes the eight blocks of a file and writes them to a scratch file: with
 * pwrite(2) and one fsync(2), the same with fdatasync(2), and with O_DSYNC.
 * Then replaces a file the way databases and editors do, step by step.
 *
 * Watch for: the thread does not sleep in the writes, and when they are done,
 * all pages are still to be written; that takes fsync(). And at each step of
 * replacing a file: what is still to be written, and which file has the name?
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/02-durable-write/durable-write.c common/?*.c -lz \
 *           -o 02-durable-write
 *
 * Needs: any Linux; 6.5 to count the pages that are still to be written.
 * Manual pages: write(2), fsync(2), open(2), rename(2), cachestat(2).
 */
#define _GNU_SOURCE /* mkostemp() */
#include "args.h"
#include "blocks.h"
#include "disk.h"
#include "scratch.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned keep = 0;

static const struct program program = {
    .name = "02-durable-write",
    .does = "Writes blocks to a scratch file, syncs them, and replaces a file.",
    .reads_blocks = true,
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_SWITCH("keep", "leave the replaced file", &keep),
            OPTION_END},
};

/* --- The evidence -------------------------------------------------------- */

static void print_pages(int width, long pages)
{
    if (pages < 0)
        printf("%*s", width, "unknown");
    else
        printf("%*ld", width, pages);
}

static void read_all(const struct blocks *blocks)
{
    blocks_clear(blocks);
    for (unsigned i = 0; i < blocks->count; i++) {
        int64_t res = blocks_read(blocks, i);
        if (res <= 0)
            blocks_failed(blocks, i, res);
    }
}

/* --- Writing, three ways -------------------------------------------------- */

/* One way to get blocks to the disk, and what came of it. */
struct pass {
    const char *name;
    int flags;           /* For open(). */
    int (*sync)(int fd); /* Called behind the last write; or NULL. */
    struct timeline *timeline;
    long before, written, synced; /* disk_pages_to_write(), then and then. */
    uint32_t checksum;            /* Of what the file holds. */
};

static void write_block(int fd, const char *name, const struct block *block,
                        struct timeline *timeline)
{
    size_t done = 0;

    while (done < block->length) {
        if (timeline)
            timeline_call(timeline, CALL_SUBMIT);
        ssize_t n = pwrite(fd, block->data + done, block->length - done,
                           block->offset + (off_t)done);
        if (timeline)
            timeline_return(timeline);

        /* As with pread(): a signal came before a byte was taken. */
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err(1, "writing %s at byte %jd", name,
                (intmax_t)block->offset + (intmax_t)done);
        /* Fewer than we gave: the disk is all but full, for one. The next
           write takes the rest, or says why it can't. */
        done += (size_t)n;
    }
}

static void write_pass(const struct blocks *blocks, struct pass *pass)
{
    struct timeline *timeline = pass->timeline;
    int fd = scratch_open(pass->flags);

    pass->before = disk_pages_to_write(fd);
    timeline_start(timeline);
    for (unsigned i = 0; i < blocks->count; i++) {
        timeline_submitted(timeline, i);
        write_block(fd, "the scratch file", &blocks->block[i], timeline);
        if (!pass->sync) /* O_DSYNC: the block is safe. */
            timeline_completed(timeline, i);
    }
    pass->written = disk_pages_to_write(fd);

    if (pass->sync) {
        timeline_call(timeline, CALL_WAIT);
        int failed = pass->sync(fd);
        timeline_return(timeline);
        /* Not again, whatever the error is, EINTR as well: the pages that could
           not be written may be clean by now, and the next fsync() would find
           nothing to do and succeed. Their data is safe only where it came
           from. */
        if (failed)
            err(1, "%s of the scratch file", pass->name);
        for (unsigned i = 0; i < blocks->count; i++)
            timeline_completed(timeline, i);
        pass->synced = disk_pages_to_write(fd);
    }
    timeline_stop(timeline);
    timeline_threads(timeline);

    /* What is in the file? Ask it, not the memory that it was written from. */
    struct blocks copy = *blocks;
    copy.path = "the scratch file";
    copy.fd = fd;
    read_all(&copy);
    pass->checksum = blocks_checksum(&copy);
    if (close(fd))
        err(1, "closing the scratch file");
}

/* Draws it to the scale of the longer of the two. */
static void print_pass(const struct pass *pass, const struct pass *other)
{
    timeline_draw(pass->timeline, other->timeline);
    timeline_facts(pass->timeline, pass->checksum);
    fputs("pages to write: ", stdout);
    print_pages(0, pass->before);
    fputs(" before, ", stdout);
    print_pages(0, pass->written);
    fputs(" after the writes", stdout);
    if (pass->sync) {
        fputs(", ", stdout);
        print_pages(0, pass->synced);
        printf(" after %s", pass->name);
    }
    puts("\n");
}

static void print_row(const struct pass *pass)
{
    const struct timeline *timeline = pass->timeline;
    int64_t blocked = timeline_waited(timeline);

    printf("%-9s", pass->name);
    print_pages(26, pass->written);
    printf("%9ld%9.0f%% %8.2f ms\n", timeline_slept(timeline),
           timeline->total > 0
               ? 100.0 * (double)blocked / (double)timeline->total
               : 0,
           (double)timeline->total / 1e6);
}

/* --- Replacing a file ---------------------------------------------------- */

static char folder[PATH_MAX];         /* Our own; empty while there is none. */
static char path[PATH_MAX + 32];      /* The file in it. */
static char temporary[PATH_MAX + 32]; /* Its successor; empty: there is none. */

/* At the end, and where err() calls exit(): take away what is half done. */
static void clean_up(void)
{
    if (temporary[0])
        unlink(temporary);
    if (folder[0] && keep) {
        printf("\nkept: %s\n", path);
    } else if (folder[0]) {
        unlink(path);
        if (rmdir(folder)) /* It must be empty. */
            warn("removing the scratch folder %s", folder);
    }
    folder[0] = '\0';
}

/* One line of the table: what is still to be written, and what the name leads
   to, now that this step is done. */
static void print_step(const char *step, int fd)
{
    struct stat ours, named;

    if (fstat(fd, &ours) || stat(path, &named))
        err(1, "asking which file %s is", path);
    printf("%-18s", step);
    print_pages(14, disk_pages_to_write(fd));
    printf("   %s\n", named.st_size == 0            ? "an empty file"
                      : named.st_ino == ours.st_ino ? "the new file"
                                                    : "the old file");
}

/* Put new content under the name: all of it or none. */
static void replace(int folder_fd, const struct blocks *blocks)
{
    struct stat old;

    if (stat(path, &old))
        err(1, "asking for the mode of %s", path);

    /* In the same folder, since rename() can't leave the file system. */
    snprintf(temporary, sizeof(temporary), "%s/.file.XXXXXX", folder);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        temporary[0] = '\0';
        err(1, "creating a temporary file in %s", folder);
    }
    /* mkostemp() makes it 0600. The new file is to have the old one's mode. */
    if (fchmod(fd, old.st_mode & 0777))
        err(1, "setting the mode of %s", temporary);
    for (unsigned i = 0; i < blocks->count; i++)
        write_block(fd, temporary, &blocks->block[i], NULL);
    print_step("write", fd);

    /* The data first, and only then the name that leads to it. */
    if (fsync(fd))
        err(1, "fsync of %s", temporary);
    print_step("fsync", fd);

    /* The name passes from one file to the other. There is no moment at which
       it leads to none, or to half of one. */
    if (rename(temporary, path))
        err(1, "renaming %s to %s", temporary, path);
    temporary[0] = '\0';
    print_step("rename", fd);

    /* The name is data too, but not the file's: the folder's. */
    if (fsync(folder_fd))
        err(1, "fsync of the folder %s", folder);
    print_step("fsync the folder", fd);
    if (close(fd))
        err(1, "closing %s", path);
}

/* How not to: the old bytes are gone before the first new one is written. */
static void overwrite(const struct blocks *blocks)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    if (fd < 0)
        err(1, "opening %s", path);
    print_step("open with O_TRUNC", fd);
    for (unsigned i = 0; i < blocks->count; i++)
        write_block(fd, path, &blocks->block[i], NULL);
    print_step("write", fd);
    if (fsync(fd))
        err(1, "fsync of %s", path);
    print_step("fsync", fd);
    if (close(fd))
        err(1, "closing %s", path);
}

/* What is to be replaced: the last block alone. The first would not do, since
   the new file begins with it too. */
static void make_old_file(int folder_fd, const struct blocks *blocks)
{
    struct block old = blocks->block[blocks->count - 1];
    int parent = openat(folder_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0 || parent < 0)
        err(1, "creating %s", path);
    old.offset = 0;
    write_block(fd, path, &old, NULL);

    /* A crash during the replacement is to find the old file. So that has to
       be on the disk first: its bytes, its name, and our new folder's name. */
    if (fsync(fd) || fsync(folder_fd) || fsync(parent))
        err(1, "fsync of %s and its folders", path);
    if (close(fd) || close(parent))
        err(1, "closing %s", path);
}

static void replace_a_file(const struct blocks *blocks)
{
    static const char heading[] = "pages to write   the name leads to";
    sigset_t all, before;

    /* Ctrl-C waits until the folder is gone again, and so does every signal, that
       of a closed pipe too. None need wait for a reader of our output: what is
       in the buffer goes out now, and what comes has room in it. Nothing waits
       with SIGKILL: a program that lives on removes at its start what it finds.
     */
    fflush(stdout);
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, &before))
        err(1, "blocking signals");
    if (atexit(clean_up))
        errx(1, "atexit: no memory");

    snprintf(path, sizeof(path), "%s/durable-write.XXXXXX", scratch_folder());
    if (!mkdtemp(path))
        err(1, "creating a scratch folder %s", path);
    strcpy(folder, path);
    snprintf(path, sizeof(path), "%s/file", folder);
    /* Open the folder before anything is changed, while failing is cheap. */
    int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0)
        err(1, "opening the folder %s", folder);

    make_old_file(folder_fd, blocks);
    printf("%-18s%s\n", "Replaced:", heading);
    replace(folder_fd, blocks);
    printf("\n%-18s%s\n", "Overwritten:", heading);
    overwrite(blocks);

    if (close(folder_fd))
        err(1, "closing the folder %s", folder);
    clean_up();
    if (sigprocmask(SIG_SETMASK, &before, NULL))
        err(1, "letting signals in again");
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct pass passes[] = {{.name = "fsync", .sync = fsync},
                            {.name = "fdatasync", .sync = fdatasync},
                            {.name = "O_DSYNC", .flags = O_DSYNC}};
    struct pass *one = &passes[0], *each = &passes[2];
    struct blocks blocks;

    blocks_open(&blocks, &args);
    read_all(&blocks);
    /* The job from here on: the same blocks, one behind the other. */
    for (unsigned i = 0; i < blocks.count; i++)
        blocks.block[i].offset = (off_t)(i * blocks.size);
    for (int i = 0; i < 3; i++) {
        passes[i].timeline = timeline_new(passes[i].name, blocks.count);
        write_pass(&blocks, &passes[i]);
    }

    printf("%u block%s of %zu KiB, %ld pages, to a scratch file in %s\n\n",
           blocks.count, blocks.count == 1 ? "" : "s", blocks.size >> 10,
           blocks_pages(&blocks), scratch_folder());
    print_pass(one, each);
    print_pass(each, one);
    puts("          to write after the writes   sleeps   blocked     total");
    for (int i = 0; i < 3; i++)
        print_row(&passes[i]);
    putchar('\n');
    replace_a_file(&blocks);

    timeline_trace(args.trace,
                   (struct timeline *[]){one->timeline, passes[1].timeline,
                                         each->timeline, NULL});
    for (int i = 0; i < 3; i++)
        timeline_free(passes[i].timeline);
    blocks_close(&blocks);
    return 0;
}
