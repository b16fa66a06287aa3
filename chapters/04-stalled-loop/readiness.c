/*
 * 04-readiness · Can the loop wait for the file?
 *
 * Makes four calls that keep a program from waiting for a socket. It makes each on an
 * empty socket and on a cold file. epoll and poll are asked whether there is something
 * to read. O_NONBLOCK and RWF_NOWAIT ask a read not to wait.
 *
 * Watch for: the column of the file. Only RWF_NOWAIT says that the read would have to
 * wait. And look at what came into the page cache after that answer. The last line
 * shows what to do with it: take what is there now, then read the rest.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/04-stalled-loop/readiness.c common/?*.c -lz -o 04-readiness
 *
 * Needs: Linux 2.6.27, for epoll_create1(); 4.14 for RWF_NOWAIT, 6.5 on a socket.
 * Manual pages: epoll_ctl(2), poll(2), open(2), preadv2(2), pread(2).
 */
#define _GNU_SOURCE /* preadv2(), RWF_NOWAIT */
#include "args.h"
#include "blocks.h"
#include "disk.h"
#include "timeline.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned size = 65536;

static const struct program program = {
    .name = "04-readiness",
    .page = "04-stalled-loop",
    .does = "Asks a cold file whether a read of it would have to wait.",
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_SIZE("size", "bytes of a read", &size, 4096, 1 << 30),
            OPTION_END},
};

/* What is asked: a file or a socket, and the memory for what comes. */
struct source {
    const char *name;
    int fd;
    /* A file is read from its beginning. A socket has no offsets, and -1 says that to
       preadv2(2). */
    off_t offset;
    unsigned char *data;
    size_t length;
    const struct blocks *blocks; /* Of the file; NULL for the socket. */
};

enum { ANSWER = 32 }; /* Room for an answer, as text. */

/* The call has failed, and errno says why. Three errors are answers here. All others are
   errors. */
static void answer_error(char *answer, const char *what, const char *name)
{
    switch (errno) {
    case EAGAIN:
        snprintf(answer, ANSWER, "EAGAIN");
        break;
    case EPERM:
        snprintf(answer, ANSWER, "EPERM");
        break;
    case EOPNOTSUPP:
        snprintf(answer, ANSWER, "EOPNOTSUPP");
        break;
    default:
        err(1, "%s %s", what, name);
    }
}

/* --- Two questions about readiness ----------------------------------------- */

/* "Tell us when there is something to read." epoll watches what has a poll operation in
   the kernel. Sockets, pipes and timers have one. Files on a disk have none, and then
   the answer is EPERM. It does not mean permission here. */
static void ask_epoll(const struct source *source, char *answer)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0)
        err(1, "creating the epoll instance");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, source->fd, &event) == 0)
        snprintf(answer, ANSWER, "will watch it");
    else
        answer_error(answer, "adding to epoll:", source->name);
    if (close(epoll))
        err(1, "closing epoll");
}

/* "Is there something to read now?" A timeout of 0: it looks, and does not wait. Where
   there is no poll operation, the kernel says "ready" and looks at nothing. */
static void ask_poll(const struct source *source, char *answer)
{
    struct pollfd file = {.fd = source->fd, .events = POLLIN};
    int n;

    do
        n = poll(&file, 1, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        err(1, "polling %s", source->name);
    snprintf(answer, ANSWER, "%s",
             n == 1 && (file.revents & POLLIN) ? "ready" : "not ready");
}

/* --- Two reads that shall not wait ----------------------------------------- */

/* One read. preadv2(2) is pread(2) with two additions. It takes a list of pieces of
   memory, each a struct iovec; ours has one. And it takes flags for this call. It may
   return fewer bytes than we ask for, and that is a success.

   Returns what the call has returned. -1 is one of the errors that are answers. */
static ssize_t ask_read(const struct source *source, int flags, char *answer)
{
    struct iovec memory = {source->data, source->length};
    ssize_t n;

    do
        n = preadv2(source->fd, &memory, 1, source->offset, flags);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        answer_error(answer, "reading", source->name);
    else
        snprintf(answer, ANSWER, "%zd bytes", n);
    return n;
}

/* A flag of the open file: no call on this descriptor shall wait. A socket obeys. For a
   file on a disk the flag has no effect today, says open(2). And it says that this may
   change, so nobody should depend on it.

   It stays set until somebody clears it. The next question is asked without it. */
static void ask_nonblock(const struct source *source, char *answer)
{
    int flags = fcntl(source->fd, F_GETFL);

    if (flags < 0 || fcntl(source->fd, F_SETFL, flags | O_NONBLOCK))
        err(1, "setting O_NONBLOCK on %s", source->name);
    ask_read(source, 0, answer);
    if (fcntl(source->fd, F_SETFL, flags))
        err(1, "taking O_NONBLOCK from %s", source->name);
}

/* A flag of this one call: return only what is in memory now. Nothing there: EAGAIN.
   Only the beginning there: a short read. Some file systems say EOPNOTSUPP, and so did
   sockets before Linux 6.5.

   Since 5.9 the kernel begins to read what is missing, all the same. That is why a second
   try may find it. But nobody says when. */
static void ask_nowait(const struct source *source, char *answer)
{
    ask_read(source, RWF_NOWAIT, answer);
}

/* --- A read that waits ------------------------------------------------------ */

/* Bytes `from` to `to` of the file, to their place in memory, with a read that waits.
   A loop must not call this. It hands these two numbers to a thread that may wait. */
static void read_waiting(const struct source *file, size_t from, size_t to)
{
    while (from < to) {
        ssize_t n = pread(file->fd, file->data + from, to - from, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err(1, "reading %s", file->name);
        if (n == 0)
            errx(1, "reading %s: the file ends sooner than its size said",
                 file->name);
        from += (size_t)n;
    }
}

/* --- Both tables ----------------------------------------------------------- */

/* How many of the file's pages are in the cache when no more come? There is no event to
   wait for, so this looks again and again. That is the point of this chapter. */
static long pages_later(const struct source *file)
{
    return disk_resident_settled(file->fd, 0, file->length);
}

typedef void ask_fn(const struct source *source, char *answer);

/* One question, to both. The file is cold each time. */
static void ask_both(const char *question, ask_fn *ask,
                     const struct source *socket, const struct source *file)
{
    char of_socket[ANSWER], of_file[ANSWER];

    ask(socket, of_socket);
    blocks_drop(file->blocks);
    long sleeps = timeline_sleeps();
    ask(file, of_file);
    sleeps = timeline_sleeps() - sleeps;
    printf("%-20s%-16s%-16s", question, of_socket, of_file);
    disk_print_pages(-14, pages_later(file));
    printf("%ld\n", sleeps);
}

/* RWF_NOWAIT twice, when the first bytes of the file are in the cache. */
static void try_twice(const struct source *file, size_t length)
{
    char first[ANSWER], again[ANSWER];

    blocks_drop(file->blocks);
    read_waiting(file, 0, length); /* Just that much is in the cache now. */
    long before = blocks_resident(file->blocks);
    ask_nowait(file, first);
    long later = pages_later(file);
    ask_nowait(file, again);
    disk_print_pages(-20, before);
    printf("%-16s", first);
    disk_print_pages(-14, later);
    puts(again);
}

/* --- What to do with a part ------------------------------------------------ */

/* How programs read a file that may be cold: take what is there now, and then wait for
   the rest. EAGAIN says that nothing is there. A file system that knows no RWF_NOWAIT
   says EOPNOTSUPP. In both cases all of it is the rest.

   Returns how many bytes were there. */
static size_t read_whole(const struct source *file)
{
    char answer[ANSWER];
    ssize_t n = ask_read(file, RWF_NOWAIT, answer);
    size_t now = n > 0 ? (size_t)n : 0;

    read_waiting(file, now, file->length);
    return now;
}

int main(int argc, char **argv)
{
    struct args args = args_parse(argc, argv, &program);
    struct blocks blocks;
    int ends[2];

    args.count = 1; /* One block, as long as --size says. */
    args.size = size;
    blocks_open(&blocks, &args);
    blocks_drop(&blocks);
    blocks_announce(&blocks);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        err(1, "opening a pair of sockets");
    struct source file = {.name = blocks.path,
                          .fd = blocks.fd,
                          .data = blocks.memory,
                          .length = blocks.block[0].length,
                          .blocks = &blocks};
    struct source socket = {.name = "an empty socket",
                            .fd = ends[0],
                            .offset = -1,
                            .data = file.data,
                            .length = file.length};

    printf("%-20s%-16s%-16s%-14s%s\n", "question", "empty socket", "the file",
           "pages later", "sleeps");
    ask_both("epoll_ctl, add", ask_epoll, &socket, &file);
    ask_both("poll, timeout 0", ask_poll, &socket, &file);
    ask_both("read, O_NONBLOCK", ask_nonblock, &socket, &file);
    ask_both("read, RWF_NOWAIT", ask_nowait, &socket, &file);

    printf("\n%-20s%-16s%-14s%s\n", "pages cached", "RWF_NOWAIT", "pages later",
           "asked again");
    try_twice(&file, 0);
    try_twice(&file, file.length / 2);

    blocks_drop(&blocks);
    read_waiting(&file, 0, file.length / 2);
    blocks_clear(&blocks); /* Only a read can fill it now. */
    printf("\nhalf of it cached: %zu bytes now, then the rest; ",
           read_whole(&file));
    printf("checksum %08x\n", (unsigned)blocks_checksum(&blocks));

    if (close(ends[0]) || close(ends[1]))
        err(1, "closing the sockets");
    blocks_close(&blocks);
    return 0;
}
