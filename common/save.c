#define _GNU_SOURCE
#include "save.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char target[PATH_MAX];
static char temporary[PATH_MAX]; /* Empty: there is none to be removed. */

static void remove_temporary(void)
{
    if (temporary[0])
        unlink(temporary);
}

/* unlink(), signal() and raise() may be called in a signal handler:
   signal-safety(7). */
static void remove_and_die(int number)
{
    remove_temporary();
    signal(number, SIG_DFL);
    raise(number);
}

FILE *save_begin(const char *path)
{
    struct stat there;
    mode_t mask = umask(0);

    umask(mask);
    temporary[0] = '\0';
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) {
        FILE *stream = fopen(path, "w");
        if (!stream)
            err(1, "opening %s", path);
        return stream;
    }
    if (snprintf(target, sizeof(target), "%s", path) >= (int)sizeof(target) ||
        snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >=
            (int)sizeof(temporary)) {
        temporary[0] = '\0';
        errx(1, "creating %s: %s", path, strerror(ENAMETOOLONG));
    }

    /* A signal between the file's creation and knowing its name would leave it
       behind, so the deadly ones wait. Who ignores them (nohup) keeps that. */
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t block, before;
    sigemptyset(&block);
    for (int i = 0; i < 3; i++)
        sigaddset(&block, deadly[i]);
    sigprocmask(SIG_BLOCK, &block, &before);
    int fd = mkostemp(temporary, O_CLOEXEC);
    int error = errno;
    if (fd < 0)
        temporary[0] = '\0';
    for (int i = 0; i < 3; i++)
        if (signal(deadly[i], remove_and_die) == SIG_IGN)
            signal(deadly[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (atexit(remove_temporary))
        errx(1, "atexit: no memory");

    errno = error;
    FILE *stream = fd < 0 ? NULL : fdopen(fd, "w");
    if (!stream)
        err(1, "creating %s", path);
    /* mkostemp() makes it 0600; give it the mode that a new file has. */
    if (fchmod(fd, 0666 & ~mask))
        err(1, "setting the mode of %s", path);
    return stream;
}

void save_commit(FILE *stream)
{
    if (!temporary[0]) { /* Not a regular file. */
        if (fclose(stream))
            err(1, "writing");
        return;
    }
    if (fflush(stream) || fsync(fileno(stream)))
        err(1, "writing %s", target);
    if (fclose(stream))
        err(1, "closing %s", target);
    if (rename(temporary, target))
        err(1, "renaming %s to %s", temporary, target);
    temporary[0] = '\0';

    /* The name is safe once the folder is on the disk too. */
    char path[PATH_MAX];
    const char *folder = dirname(strcpy(path, target));
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) || close(fd))
        err(1, "syncing the folder %s", folder);
}
