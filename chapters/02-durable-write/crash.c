/*
 * What a crash would leave of the file that 02-replace replaces.
 *
 * A disk is a file in memory, with an ext4 in it: image.h. A copy of that file is the
 * power cut, since what the kernel has only in its cache is not in the copy. Mounting
 * the copy is the reboot.
 */
#include "crash.h"

#include "image.h"
#include "scratch.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* mkfs is slow. So we make one empty disk, and copy it for each way to replace the file.
   It stays -1 where this user can't mount it. */
static int empty = -1;

/* The copy that is mounted, and that the steps write to. */
static int disk = -1;

/* Closing a file that was cut with O_TRUNC makes ext4 write it, whoever closes it:
   auto_da_alloc. A look must not change what a crash would leave. So a look never
   closes, until all steps are done. */
enum { MOST_LOOKS = 8 }; /* More than any way has steps. */
static int looked[MOST_LOOKS];
static unsigned looks;

const char *crash_word(char found)
{
    switch (found) {
    case FOUND_OLD:
        return "old";
    case FOUND_NEW:
        return "new";
    case FOUND_EMPTY:
        return "empty";
    case FOUND_NONE:
        return "none";
    case FOUND_ZEROS:
        return "zeros";
    default:
        return "other";
    }
}

/* May this user mount? Is there a loop device, and mkfs.ext4? No list of conditions
   would be right everywhere. Trying it is. */
bool crash_begin(void)
{
    empty = image_new(8 << 20);
    int root = empty < 0 ? -1 : image_mount(empty, NULL);

    if (root >= 0) {
        puts("after a crash: found on copies of the disk, an ext4");
        if (close(root))
            err(1, "unmounting the disk");
        return true;
    }
    printf("after a crash: recorded on Linux 6.18, ext4; here %s: %s\n",
           image_failed(), strerror(errno));
    crash_end();
    return false;
}

void crash_end(void)
{
    if (empty >= 0 && close(empty))
        err(1, "closing the disk");
    empty = -1;
}

/* The root of a new disk. It is mounted at no path, and this descriptor is all that
   leads to it. So nothing stays mounted, however the program ends. */
int crash_folder(const char *option, bool keep)
{
    if (empty < 0)
        return scratch_dir(keep); /* The steps are the same there. */
    disk = image_copy(empty);
    int root = image_mount(disk, option);
    if (root < 0)
        err(1, "%s", image_failed());
    return root;
}

void crash_folder_close(int folder)
{
    while (looks > 0)
        if (close(looked[--looks]))
            err(1, "closing the file");
    if (empty < 0)
        scratch_dir_close();
    else if (close(folder) || close(disk))
        err(1, "closing the disk");
}

/* By its name, as anybody would. -1: there is none. */
static int open_file(int folder)
{
    int fd = openat(folder, "file", O_RDONLY | O_CLOEXEC);

    if (fd < 0 && errno != ENOENT)
        err(1, "opening the file");
    return fd;
}

static char content(int fd)
{
    char bytes[FILE_SIZE + 1]; /* One more, to see that the file ends. */
    size_t done = 0;

    if (fd < 0)
        return FOUND_NONE;
    for (ssize_t n; (n = read(fd, bytes + done, sizeof(bytes) - done)) != 0;) {
        if (n < 0 && errno != EINTR)
            err(1, "reading the file");
        if (n > 0)
            done += (size_t)n;
    }
    if (done == 0)
        return FOUND_EMPTY;
    if (done != FILE_SIZE || memcmp(bytes, bytes + 1, FILE_SIZE - 1) != 0)
        return FOUND_OTHER; /* A part of a file, or parts of two. */
    /* Each file is one letter, again and again. The letter is the answer. */
    return bytes[0] == 0 ? FOUND_ZEROS : bytes[0];
}

char crash_look(int folder)
{
    int fd = open_file(folder);

    if (looks == MOST_LOOKS)
        errx(1, "more looks than room for them");
    if (fd >= 0)
        looked[looks++] = fd;
    return content(fd);
}

/* Has the kernel begun to write the file? FS_IOC_FIEMAP lists its extents: ranges of the
   file that lie in one piece on the disk. There are three kinds here. "Delayed": ext4 has
   not chosen a place for these bytes yet, and nobody is writing them. "Unwritten": it has
   a place, and the bytes are on their way. Who reads it after a crash gets zeros. The
   others are there. */
static bool being_written(int fd)
{
    union {
        struct fiemap map;
        char room[sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent)];
    } ask = {.map = {.fm_length = FILE_SIZE, .fm_extent_count = 64}};
    bool unwritten = false;

    if (ioctl(fd, FS_IOC_FIEMAP, &ask.map))
        err(1, "asking where the file is on the disk");
    for (unsigned i = 0; i < ask.map.fm_mapped_extents; i++)
        unwritten |= ask.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN;
    return unwritten;
}

/* A copy takes time. If the kernel wrote meanwhile, the copy could have a later write
   and miss an earlier one. So wait until it has written what it has begun to write. A
   crash in the middle of that would leave zeros in one run, and not in the next.

   This starts no write: bytes that are "delayed" stay so. No call waits for that alone,
   so look again and again, for ten seconds at most. */
void crash_settle(void)
{
    if (empty < 0 || looks == 0)
        return;
    for (int i = 0; being_written(looked[looks - 1]); i++) {
        if (i == 10000)
            errx(1, "the file is not written after ten seconds");
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

/* What the disk has been given until now is in the copy. What is in the kernel's
   memory only is not. When the copy is mounted, ext4 reads its journal and puts in
   order what it finds, as it does after a real crash. */
char crash_now(void)
{
    if (empty < 0)
        return 0;
    int copy = image_copy(disk); /* The power goes now. */
    int root = image_mount(copy, NULL);
    if (root < 0)
        err(1, "%s", image_failed());
    int fd = open_file(root);
    char found = content(fd);
    if ((fd >= 0 && close(fd)) || close(root) || close(copy))
        err(1, "closing a copy of the disk");
    return found;
}

/* What would have happened after some more seconds, in less time. ext4 writes its
   journal, with all that was done to names and sizes until then. It does so every five
   seconds, and whenever anybody syncs any file on it. So we sync another file. */
char crash_later(int folder)
{
    if (empty < 0)
        return 0;
    int fd = openat(folder, "other", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                    0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) || close(fd))
        err(1, "syncing another file");
    return crash_now();
}
