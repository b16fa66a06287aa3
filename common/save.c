#define _GNU_SOURCE
#include "save.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char target[PATH_MAX];    /* What the caller called it, or its link. */
static char temporary[PATH_MAX]; /* Empty: there is none to be removed. */
static mode_t mode; /* Of the file that is replaced, or else of a new one. */
static atomic_bool naming; /* It is just being created. */

static void remove_temporary(void)
{
    if (temporary[0])
        unlink(temporary);
}

/* unlink(), signal() and raise() may be called in a signal handler:
   signal-safety(7). */
static void remove_and_die(int number)
{
    while (naming)
        ;
    remove_temporary();
    signal(number, SIG_DFL);
    raise(number);
}

/* Does the signal end a program that has said nothing about it? These don't, or
   can't be caught. */
static bool is_deadly(int number)
{
    static const int others[] = {SIGCHLD, SIGCONT, SIGURG,  SIGWINCH, SIGTSTP,
                                 SIGTTIN, SIGTTOU, SIGSTOP, SIGKILL};

    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        if (number == others[i])
            return false;
    return true;
}

/* Whoever handles a signal, or ignores it (nohup), keeps that. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = remove_and_die}, before;

    sigfillset(&action.sa_mask);
    for (int number = 1; number <= SIGRTMAX; number++)
        if (is_deadly(number) && sigaction(number, &action, &before) == 0 &&
            before.sa_handler != SIG_DFL)
            sigaction(number, &before, NULL);
}

/* A FIFO or a character device (/dev/null) has no old content that we would put
   another in place of. O_NONBLOCK, since else open() of a FIFO would wait here
   for somebody to read it. */
static int open_directly(void)
{
    int fd = open(target, O_WRONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fcntl(fd, F_SETFL, 0))
        err(1, "opening %s", target);
    return fd;
}

/* Sets `temporary` to a new file in the folder, and returns its descriptor. A
   signal between the file's creation and knowing its name would leave it behind.
   So all wait; one that comes to another thread, for `naming`. */
static int create_temporary(const char *path)
{
    sigset_t all, before;

    if (atexit(remove_temporary))
        errx(1, "atexit: no memory");
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    naming = true;
    catch_signals();
    int fd = mkostemp(strcpy(temporary, path), O_CLOEXEC);
    int error = errno;
    if (fd < 0)
        temporary[0] = '\0';
    naming = false;
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return fd;
}

int save_open(const char *path)
{
    char copy[PATH_MAX], name[PATH_MAX];
    struct stat there, out;
    mode_t mask = umask(0);

    umask(mask);
    mode = 0666 & ~mask;
    temporary[0] = '\0';
    if (strlen(path) >= sizeof(target))
        errx(1, "creating %s: %s", path, strerror(ENAMETOOLONG));
    strcpy(target, path);
    if (stat(path, &there) == 0) {
        /* It holds a whole disk, and has no name to be passed on. */
        if (S_ISBLK(there.st_mode))
            errx(1,
                 "writing %s: it is a block device, and would be overwritten",
                 path);
        if (!S_ISREG(there.st_mode))
            return open_directly();
        if (fstat(STDOUT_FILENO, &out) == 0 && out.st_dev == there.st_dev &&
            out.st_ino == there.st_ino)
            errx(1, "writing %s: that is where the output goes", path);
        /* rename() would replace a link, and not what it leads to. */
        if (!realpath(path, target))
            err(1, "opening %s", path);
        mode = there.st_mode & 0777;
    } else if (errno != ENOENT || lstat(path, &there) == 0) {
        /* It is there, or may be: a link to nothing, a ring of links. */
        err(1, "replacing %s", path);
    }

    if (snprintf(name, sizeof(name), "%s/.in-circles.XXXXXX",
                 dirname(strcpy(copy, target))) >= (int)sizeof(name))
        errx(1, "creating %s: %s", path, strerror(ENAMETOOLONG));
    int fd = create_temporary(name);
    if (fd < 0)
        err(1, "creating %s", path);
    return fd;
}

FILE *save_begin(const char *path)
{
    int fd = save_open(path);
    FILE *stream = fdopen(fd, "w");

    if (!stream)
        err(1, "creating %s", path);
    /* mkostemp() makes it 0600. */
    if (temporary[0] && fchmod(fd, mode))
        err(1, "setting the mode of %s", path);
    return stream;
}

/* Pass the name on to the file, which is closed. */
static void take_name(bool sync)
{
    char copy[PATH_MAX];
    int folder = -1;

    if (!temporary[0])
        return; /* A character device, a FIFO. */
    if (sync && (folder = open(dirname(strcpy(copy, target)),
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        err(1, "opening the folder of %s", target);
    if (rename(temporary, target))
        err(1, "renaming %s to %s", temporary, target);
    temporary[0] = '\0';

    /* The name is safe once the folder is on the disk too. */
    if (sync && (fsync(folder) || close(folder)))
        err(1, "syncing the folder of %s", target);
}

void save_close(int fd, bool sync)
{
    /* EINVAL: a FIFO, or a device without a disk. */
    if (sync && fsync(fd) && (temporary[0] || errno != EINVAL))
        err(1, "syncing %s", target);
    if (close(fd))
        err(1, "closing %s", target);
    take_name(sync);
}

void save_commit(FILE *stream)
{
    /* ferror(): after a write that failed, and whose bytes are lost, the next
       fflush() can succeed. */
    if (fflush(stream) || ferror(stream) ||
        (temporary[0] && fsync(fileno(stream))))
        err(1, "writing %s", target);
    if (fclose(stream))
        err(1, "closing %s", target);
    take_name(true);
}
