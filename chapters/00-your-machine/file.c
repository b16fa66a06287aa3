/*
 * What 00 finds out about the file. Whether its reads can be cold, and whether they can go
 * past the page cache, belongs to the verdict. The rest is for --all.
 *
 * Nothing is concluded from the name of the file system, because one name stands for
 * many versions. A page is brought in and thrown out again, to see.
 */
#define _GNU_SOURCE /* statx(), AT_EMPTY_PATH */
#include "args.h"
#include "ask.h"
#include "blocks.h"
#include "disk.h"
#include "probe.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define OTHER_FILE "\nName a file of yours that is on a disk: ./tour 00 FILE"

/* No path: there is no sample file. The descriptor is closed when the child that asks
   has ended. */
static int open_file(const char *path)
{
    off_t size;

    if (!path)
        errx(1, "%s", args_no_sample);
    return blocks_open_file(path, false, &size);
}

/* Most chapters compare a cold read with a warm one. So read a page, which brings it into
   the page cache, ask the kernel to drop it, and look whether it has gone:
   probe_drop().

   The kernel need not do so. A page stays that is dirty, or that somebody has mapped.
   On tmpfs the page cache is all there is. And it need not tell: of a file that is
   neither ours nor ours to write, mincore(2) says that all pages are there. Else
   one could watch what others read. */
void find_cold(const struct question *q)
{
    int fd = open_file(q->path);
    const char *name = file_name(q->path), *where = probe_file_system(fd);

    switch (probe_drop(fd)) {
    case PROBE_DROPS:
        tell("yes");
        return;
    case PROBE_STAYS:
        cannot_show("a page of %s stays in the page cache. It is dirty, or "
                    "mapped, or its file system keeps all (%s)\n"
                    "sync FILE, if it is new. Else name a file of yours that "
                    "is on a disk: ./tour 00 FILE",
                    name, where ? where : "one without a name here");
    case PROBE_UNKNOWN:
        cannot_show("mincore(2) does not tell which pages of %s are in the "
                    "page cache: the file is not yours, or it can't be "
                    "mapped" OTHER_FILE,
                    name);
    case PROBE_FAILS:
        err(1, "dropping a page of %s", name);
    }
}

/* O_DIRECT asks to go past the page cache. Some file systems refuse that. Some take it,
   and read through the page cache all the same. The way to tell: read a page that
   is not there, and look whether it is there now. */
void find_direct(const struct question *q)
{
    int fd = open_file(q->path);
    const char *name = file_name(q->path);

    close(fd);
    switch (disk_direct(q->path)) {
    case DIRECT_WORKS:
        tell("yes");
        return;
    case DIRECT_IN_NAME:
        cannot_show("%s is taken with O_DIRECT, and read through the page "
                    "cache" OTHER_FILE,
                    name);
    case DIRECT_UNKNOWN:
        cannot_show("%s is read with O_DIRECT. Without a cold page nobody "
                    "can tell whether that goes past the page cache" OTHER_FILE,
                    name);
    case DIRECT_REFUSED:
        cannot_show("reading %s with O_DIRECT: %s" OTHER_FILE, name,
                    strerror(errno));
    }
}

/* For whoever wants to know why. fstatfs(2) gives a number, and there is no list of
   all of them. */
void find_file_system(const struct question *q)
{
    struct statfs where;
    int fd = open_file(q->path);
    const char *name = probe_file_system(fd);

    if (name)
        tell("%s", name);
    else if (fstatfs(fd, &where))
        err(1, "asking for the file system of %s", file_name(q->path));
    else
        tell("number %#x", (unsigned)where.f_type);
}

/* With O_DIRECT the address in memory, the place in the file and the length have to be
   multiples of these: chapter 09. */
void find_alignment(const struct question *q)
{
    struct statx file;
    int fd = open_file(q->path);

    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &file))
        err(1, "asking for the alignment of %s", file_name(q->path));
    if (!(file.stx_mask & STATX_DIOALIGN))
        tell("not told: that takes Linux 6.1, and a file system that "
             "answers");
    else if (file.stx_dio_offset_align == 0)
        tell("none: statx(2) says no direct I/O on this file");
    else
        tell("memory %u bytes, offset and length %u", file.stx_dio_mem_align,
             file.stx_dio_offset_align);
}
