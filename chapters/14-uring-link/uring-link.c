/*
 * 14 · Linked requests
 *
 * Sends requests through a ring whose order matters: chains made with
 * IOSQE_IO_LINK, chains that break, hard links and a drain. Then replaces a
 * file as chapter 02 does, with one chain and one system call.
 *
 * Watch for: the column CQE, the order in which results came; with links it is
 * that of the entries. For -ECANCELED: what comes behind the place where a chain
 * broke was never begun. And for a failure that breaks no chain.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/14-uring-link/uring-link.c common/?*.c -lz \
 *           -o 14-uring-link
 *
 * Needs: Linux 5.6, for IORING_OP_WRITE; 5.11 to rename through the ring; 6.5
 * to count the pages that are not on the disk.
 * Manual pages: io_uring_enter(2), io_uring_register(2), rename(2).
 */
#define _GNU_SOURCE /* mkostemp(), strerrorname_np() */
#include "args.h"
#include "disk.h"
#include "ready.h"
#include "ring.h"
#include "scratch.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned own_fsync = 0, to_break = 0, keep = 0;

enum { NONE, WRITE, FSYNC, RENAME, FOLDER };
static const char *const breakable[] = {"none",   "write",  "fsync",
                                        "rename", "folder", NULL};

static void ready(const struct args *args)
{
    (void)args;
    ready_uring_register();
    ready_uring_worker("an fsync or a rename in the ring");
}

static const struct program program = {
    .name = "14-uring-link",
    .does = "Links requests in a ring, and replaces a file with one chain.",
    .ready = ready,
    .options =
        (const struct program_option[]){
            OPTION_SWITCH("fsync",
                          "give the sync an entry of its own, unsafely",
                          &own_fsync),
            OPTION_WORD("break", "what fails", &to_break, breakable),
            OPTION_SWITCH("keep", "leave the replaced file", &keep),
            OPTION_END},
};

enum {
    BYTES = 512 << 10,
    LIMIT = 64 << 10,
    LINK = IOSQE_IO_LINK,
    HARDLINK = IOSQE_IO_HARDLINK,
    DRAIN = IOSQE_IO_DRAIN
};

static char content[BYTES]; /* What is written, everywhere in here. */
static struct ring ring;
static int pipe_ends[2];
static bool in_ring; /* Renames too: can_rename(). */

/* --- Requests ------------------------------------------------------------ */

/* One entry of the submission queue, and what its completion says. */
struct step {
    const char *what;
    struct io_uring_sqe sqe;
    int res;
    unsigned nth; /* Which CQE it was, from 1; 0: there is none. */
    bool early;   /* It came while the pipe was still empty. */
};

static struct step step(const char *what, uint8_t opcode, int fd, uint8_t flags)
{
    return (struct step){.what = what,
                         .sqe = {.opcode = opcode, .fd = fd, .flags = flags}};
}

static struct step nop(uint8_t flags)
{
    return step("NOP", IORING_OP_NOP, -1, flags);
}

static struct step write_file(int fd, unsigned bytes, unsigned offset,
                              uint8_t flags)
{
    struct step it = step("write", IORING_OP_WRITE, fd, flags);

    it.sqe.addr = (uintptr_t)content;
    it.sqe.len = bytes;
    it.sqe.off = offset;
    return it;
}

/* A request that takes as long as we like: until we fill the pipe. */
static struct step read_pipe(uint8_t flags)
{
    static char byte;
    struct step it =
        step("read an empty pipe", IORING_OP_READ, pipe_ends[0], flags);

    it.sqe.addr = (uintptr_t)&byte;
    it.sqe.len = 1;
    return it;
}

/* --- Through the ring, as in chapter 13 ----------------------------------- */

/* Submit these in one call, which returns once `wait_for` are complete. */
static void submit(struct step *steps, unsigned n, unsigned wait_for)
{
    unsigned tail = atomic_load_explicit(ring.sq_tail, memory_order_relaxed);
    int taken;

    for (unsigned i = 0; i < n; i++, tail++) {
        unsigned slot = tail & ring.sq_mask;
        ring.sqes[slot] = steps[i].sqe;
        ring.sqes[slot].user_data = (uintptr_t)&steps[i];
        ring.sq_array[slot] = slot;
    }
    atomic_store_explicit(ring.sq_tail, tail, memory_order_release);

    do /* EINTR: a signal came before an entry was taken. */
        taken = ring_enter(&ring, n, wait_for);
    while (taken < 0 && errno == EINTR);
    if (taken < 0)
        err(1, "submitting %u requests", n);
    /* Chapter 13 came back for the others. With a chain that would be wrong:
       what is submitted later is no part of it, and waits for nobody. */
    if ((unsigned)taken < n)
        errx(1, "submitting %u requests: only %d were taken", n, taken);
}

/* Take the completions that are there. Returns how many have come in all. */
static unsigned reap(unsigned come)
{
    unsigned head = atomic_load_explicit(ring.cq_head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(ring.cq_tail, memory_order_acquire);

    for (; head != tail; head++) {
        const struct io_uring_cqe *cqe = &ring.cqes[head & ring.cq_mask];
        struct step *done = (struct step *)(uintptr_t)cqe->user_data;

        done->res = cqe->res;
        done->nth = ++come;
    }
    atomic_store_explicit(ring.cq_head, head, memory_order_release);
    return come;
}

static void reap_all(unsigned come, unsigned n)
{
    while ((come = reap(come)) < n)
        if (ring_enter(&ring, 0, n - come) < 0 && errno != EINTR)
            err(1, "waiting for %u requests", n - come);
}

/* All of it in one call: submit and wait. */
static void run(struct step *steps, unsigned n)
{
    submit(steps, n, n);
    reap_all(0, n);
}

static void print(const char *title, const struct step *steps, unsigned n)
{
    printf("\n%-26s flag      CQE  res\n", title);
    for (unsigned i = 0; i < n; i++) {
        const struct step *it = &steps[i];
        unsigned flags = it->sqe.flags;

        printf("%u %-24s %-9s ", i + 1, it->what,
               flags == LINK       ? "LINK"
               : flags == HARDLINK ? "HARDLINK"
               : flags == DRAIN    ? "DRAIN"
                                   : "-");
        if (it->nth)
            printf("%3u  %d", it->nth, it->res);
        else
            printf("  -  %d", it->res);
        if (it->res < 0)
            printf(" -%s", strerrorname_np(-it->res));
        puts(it->early ? ", while the pipe is empty" : "");
    }
}

/* --- Order --------------------------------------------------------------- */

/* Submit the first ones, and the others, if any, in a call of their own; wait
   until `early` of them are complete. Only then fill the pipe. */
static void run_with_pipe(const char *title, struct step *steps, unsigned first,
                          unsigned n, unsigned early)
{
    submit(steps, first, first == n ? early : 0);
    if (n > first)
        submit(steps + first, n - first, early);
    unsigned come = reap(0);
    for (unsigned i = 0; i < n; i++)
        steps[i].early = steps[i].nth > 0;
    if (write(pipe_ends[1], "x", 1) != 1)
        err(1, "filling the pipe");
    reap_all(come, n);
    print(title, steps, n);
}

/* Pages that are not on the disk yet: chapter 02. */
static void print_pages(int fd)
{
    long pages = disk_pages_to_write(fd);

    if (pages == PAGES_UNKNOWN)
        puts("pages to write: unknown");
    else
        printf("pages to write: %ld\n", pages);
}

static void write_and_sync(const char *title, uint8_t flag)
{
    int fd = scratch_open(0);
    /* The read keeps the write waiting. Does the write keep the fsync? */
    struct step steps[] = {read_pipe(LINK), write_file(fd, BYTES, 0, flag),
                           step("fsync", IORING_OP_FSYNC, fd, 0)};

    run_with_pipe(title, steps, 3, 3, flag == LINK ? 0 : 1);
    print_pages(fd);
    if (close(fd))
        err(1, "closing the scratch file");
}

static void show_order(void)
{
    struct step loose[] = {read_pipe(0), nop(0)};
    run_with_pipe("No link", loose, 2, 2, 1);
    write_and_sync("No link to the fsync", 0);
    write_and_sync("All linked", LINK);
    struct step mixed[] = {nop(LINK), read_pipe(LINK), nop(0), nop(0)};
    run_with_pipe("A chain of 3, and a NOP", mixed, 4, 4, 2);
    struct step cut[] = {read_pipe(LINK), nop(0)};
    run_with_pipe("A link, but two submits", cut, 1, 2, 1);
    struct step drained[] = {read_pipe(0), nop(DRAIN), nop(0)};
    run_with_pipe("A drain", drained, 3, 3, 0);
}

/* --- Chains that break --------------------------------------------------- */

/* Let files grow to so many bytes. A write across the limit is short, as on a
   disk that is all but full; one behind it fails with EFBIG. (There is SIGXFSZ
   as well, which args_parse() ignores.) Returns what the limit was. */
static rlim_t limit_files(rlim_t bytes)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_FSIZE, &limit))
        err(1, "asking for the largest size of files");
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = bytes;
    if (setrlimit(RLIMIT_FSIZE, &limit))
        err(1, "limiting the size of files");
    return before;
}

static void break_chain(const char *title, unsigned offset, uint8_t flag)
{
    int fd = scratch_open(0);
    struct step steps[] = {write_file(fd, 2 * LIMIT, offset, flag),
                           step("fsync", IORING_OP_FSYNC, fd, flag), nop(0)};

    rlim_t before = limit_files(LIMIT);
    run(steps, 3);
    limit_files(before); /* Before we print: stdout may be a file. */
    print(title, steps, 3);
    if (close(fd))
        err(1, "closing the scratch file");
}

static void show_breaking(void)
{
    break_chain("A short write", 0, LINK);
    break_chain("A write that fails", LIMIT, LINK);
    break_chain("Short, hard links", 0, HARDLINK);
    break_chain("Fails, hard links", LIMIT, HARDLINK);
    /* A pipe can't be synced: EINVAL. Does the next one begin? */
    struct step steps[] = {step("fsync", IORING_OP_FSYNC, pipe_ends[0], LINK),
                           nop(0)};
    run(steps, 2);
    print("An fsync that fails", steps, 2);
    /* Nothing is open under -1, so this one can't even begin: EBADF. */
    struct step no_file[] = {step("fsync", IORING_OP_FSYNC, -1, LINK), nop(0)};
    run(no_file, 2);
    print("An fsync of no file", no_file, 2);
}

/* --- Replacing a file, as chapter 02 does --------------------------------- */

static char folder[PATH_MAX];         /* Our own; empty while there is none. */
static char path[PATH_MAX + 32];      /* The file in it. */
static char temporary[PATH_MAX + 32]; /* Its successor; empty: there is none. */

/* For exit(): take away what is half done. */
static void clean_up(void)
{
    if (temporary[0])
        unlink(temporary);
    if (folder[0] && !keep) {
        unlink(path);
        rmdir(folder);
    }
}

/* A chain with an opcode that the kernel does not know is canceled, or done up
   to there. So ask first. */
static bool can_rename(void)
{
    enum { OPS = IORING_OP_RENAMEAT + 1 };
    struct io_uring_probe *probe =
        calloc(1, sizeof(*probe) + OPS * sizeof(probe->ops[0]));

    if (!probe || syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PROBE,
                          probe, OPS))
        err(1, "asking what the ring can do");
    bool can = probe->ops_len >= OPS &&
               probe->ops[IORING_OP_RENAMEAT].flags & IO_URING_OP_SUPPORTED;
    free(probe);
    return can;
}

/* The first step that did not do all of its work; .what is NULL: they did. */
static struct step failed(const struct step *steps, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (steps[i].res != (i == 0 ? BYTES : 0))
            return steps[i];
    return (struct step){0};
}

/* Put new content under the name, all of it or none. Returns what failed. */
static struct step replace(const char *title, int folder_fd, unsigned to_fail)
{
    bool own = own_fsync || to_fail == FSYNC;
    struct stat old, named;

    if (stat(path, &old))
        err(1, "asking for the mode of %s", path);
    snprintf(temporary, sizeof(temporary), "%s/.file.XXXXXX", folder);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        temporary[0] = '\0';
        err(1, "creating a temporary file in %s", folder);
    }
    if (fchmod(fd, old.st_mode & 0777))
        err(1, "setting the mode of %s", temporary);

    const char *from = strrchr(temporary, '/') + 1, *to = "file";
    struct step all[] = {
        write_file(fd, BYTES, 0, LINK),
        step("fsync", IORING_OP_FSYNC, fd, LINK),
        step("rename", IORING_OP_RENAMEAT, folder_fd, LINK),
        step("fsync the folder", IORING_OP_FSYNC, folder_fd, 0)};
    struct step *steps = all, *rename = &all[2], *last = &all[3];
    unsigned n = 4;

    rename->sqe.addr = (uintptr_t)from; /* In the folder that is in fd. */
    rename->sqe.len = (unsigned)folder_fd;
    rename->sqe.off = (uintptr_t)to; /* In the folder that is in len. */
    if (to_fail != NONE)
        all[to_fail - 1].sqe.fd = pipe_ends[0];
    if (!own) {
        /* A failed fsync would not keep the rename from being done. A failed
           write does, so let the write do the sync as well. */
        all[1] = all[0];
        all[1].what = "write and sync";
        all[1].sqe.rw_flags = RWF_SYNC;
        steps = &all[1];
        n = 3;
    }

    if (in_ring) {
        run(steps, n);
    } else { /* Before Linux 5.11. */
        run(steps, n - 2);
        rename->res = last->res = -ECANCELED;
        if (!failed(steps, n - 2).what)
            rename->res =
                renameat(rename->sqe.fd, from, folder_fd, to) ? -errno : 0;
        if (rename->res == 0)
            last->res = fsync(last->sqe.fd) ? -errno : 0;
    }
    print(title, steps, n);

    /* Once it has its new name, there is no temporary file any more. */
    if (rename->res != 0 && unlink(temporary))
        err(1, "removing %s", temporary);
    temporary[0] = '\0';
    if (stat(path, &named))
        err(1, "asking which file %s is", path);
    printf("the name leads to: the %s file, %jd KiB\n",
           named.st_ino == old.st_ino ? "old" : "new",
           (intmax_t)named.st_size >> 10);
    if (close(fd))
        err(1, "closing the file");
    return failed(steps, n);
}

static void replace_a_file(void)
{
    sigset_t all, before;

    /* Ctrl-C waits until the folder is gone again, as in chapter 02. */
    fflush(stdout);
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, &before))
        err(1, "blocking signals");
    if (atexit(clean_up))
        errx(1, "atexit: no memory");

    snprintf(path, sizeof(path), "%s/uring-link.XXXXXX", scratch_folder());
    if (!mkdtemp(path))
        err(1, "creating a scratch folder %s", path);
    strcpy(folder, path);
    snprintf(path, sizeof(path), "%s/file", folder);
    int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (folder_fd < 0 || fd < 0 || ftruncate(fd, LIMIT) ||
        pwrite(fd, "old", 3, 0) != 3 || close(fd))
        err(1, "creating %s", path); /* The old file. */

    in_ring = can_rename();
    if (!in_ring)
        puts(
            "\nIORING_OP_RENAMEAT: it needs Linux 5.11. Done by system calls.");
    replace("Replace, the write fails", folder_fd, WRITE);
    struct step bad = replace("Replace", folder_fd, to_break);
    if (close(folder_fd))
        err(1, "closing the folder %s", folder);
    if (keep)
        printf("\nkept: %s\n", path);
    else if (unlink(path) || rmdir(folder))
        err(1, "removing the scratch folder %s", folder);
    folder[0] = '\0';
    if (sigprocmask(SIG_SETMASK, &before, NULL))
        err(1, "letting signals in again");
    if (bad.what)
        errx(1, "replacing the file: %s: %s", bad.what,
             bad.res < 0 ? request_error(-bad.res) : "not all of it");
}

int main(int argc, char **argv)
{
    args_parse(argc, argv, &program);

    if (ring_open(&ring, 8)) /* Chapter 12. */
        refused(URING_SETUP, errno);
    memset(content, 'n', sizeof(content));
    if (pipe2(pipe_ends, O_CLOEXEC))
        err(1, "making a pipe");
    show_order();
    show_breaking();
    replace_a_file();
    if (close(pipe_ends[0]) || close(pipe_ends[1]))
        err(1, "closing the pipe");
    ring_close(&ring);
    return 0;
}
