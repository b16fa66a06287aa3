#define _GNU_SOURCE /* memfd_create(), SEEK_DATA */
#include "image.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *failed = "";

const char *image_failed(void)
{
    return failed;
}

/* Close, and leave errno as it is. */
static int give_up(int fd, const char *what)
{
    int error = errno;

    failed = what;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static int in_memory(off_t bytes)
{
    int fd = memfd_create("disk", MFD_CLOEXEC);

    if (fd >= 0 && ftruncate(fd, bytes) == 0)
        return fd;
    return give_up(fd, "making a disk in memory");
}

/* By its full name: not everybody's PATH has that folder. The lazy options would
   have the kernel write to the disk in its own time, later on. */
static int format(const char *path)
{
    char *argv[] = {"mkfs.ext4",
                    "-q",
                    "-F",
                    "-b1024",
                    "-Jsize=1",
                    "-N64",
                    "-Elazy_itable_init=0,lazy_journal_init=0,nodiscard",
                    (char *)path,
                    NULL};
    pid_t child;
    int status;

    errno = posix_spawn(&child, "/sbin/mkfs.ext4", NULL, NULL, argv, NULL);
    if (errno)
        return -1;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    errno = EIO; /* It has said on stderr what is wrong. */
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

int image_new(off_t bytes)
{
    char path[64];
    int fd = in_memory(bytes);

    if (fd < 0)
        return -1;
    snprintf(path, sizeof(path), "/proc/%jd/fd/%d", (intmax_t)getpid(), fd);
    if (format(path))
        return give_up(fd, "running /sbin/mkfs.ext4");
    return fd;
}

int image_copy(int image)
{
    static char bytes[65536];
    struct stat file;
    off_t at, end = 0;

    if (fstat(image, &file))
        err(1, "asking for the size of a disk in memory");
    int copy = in_memory(file.st_size);
    if (copy < 0)
        err(1, "%s", failed);
    /* Only what is not a hole. */
    while ((at = lseek(image, end, SEEK_DATA)) >= 0) {
        end = lseek(image, at, SEEK_HOLE);
        while (at < end) {
            size_t want = end - at < (off_t)sizeof(bytes) ? (size_t)(end - at)
                                                          : sizeof(bytes);
            ssize_t n = pread(image, bytes, want, at);
            if (n > 0)
                n = pwrite(copy, bytes, (size_t)n, at);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                err(1, "copying a disk in memory");
            at += n;
        }
        if (end < 0)
            break;
    }
    if (errno != ENXIO) /* The last one's: no more data. */
        err(1, "looking for what a disk in memory holds");
    return copy;
}

/* A loop device makes a block device of a file. This one is free again when nobody
   has it open or mounted. Another process may be faster than we to take it. */
static int loop(int image, char *path, size_t room)
{
    struct loop_config config = {.fd = (unsigned)image,
                                 .info.lo_flags = LO_FLAGS_AUTOCLEAR};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int device = -1;

    while (control >= 0) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        snprintf(path, room, "/dev/loop%d", number);
        device = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
        if (device < 0 || ioctl(device, LOOP_CONFIGURE, &config) == 0)
            break;
        int error = errno;
        close(device);
        device = -1;
        errno = error;
        if (error != EBUSY)
            break;
    }
    int error = errno;
    if (control >= 0)
        close(control);
    errno = error;
    return device;
}

/* fsopen(2) and its like: glibc has them since 2.36 only. */
static int set(int context, unsigned command, const char *key,
               const char *value)
{
    return (int)syscall(SYS_fsconfig, context, command, key, value, 0);
}

int image_mount(int image, const char *option)
{
    char path[64];
    int device = loop(image, path, sizeof(path));

    if (device < 0)
        return give_up(-1, "setting up a loop device");
    int context = (int)syscall(SYS_fsopen, "ext4", FSOPEN_CLOEXEC);
    if (context < 0)
        return give_up(device, "mounting an ext4");
    int mount = -1, root = -1;
    if (set(context, FSCONFIG_SET_STRING, "source", path) == 0 &&
        (!option || set(context, FSCONFIG_SET_FLAG, option, NULL) == 0) &&
        set(context, FSCONFIG_CMD_CREATE, NULL, NULL) == 0)
        mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
    /* What comes from fsmount() is no open folder: nobody can sync it. Once one is
       open, that one keeps the mount. */
    if (mount >= 0)
        root = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    give_up(mount, "mounting an ext4");
    give_up(context, "mounting an ext4");
    give_up(device, "mounting an ext4"); /* The mount has it open now. */
    return root;
}
