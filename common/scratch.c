#define _GNU_SOURCE
#include "scratch.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *scratch_folder(void)
{
    const char *folder = getenv("TMPDIR");

    return folder && *folder ? folder : "/var/tmp";
}

int scratch_open(int flags)
{
    char path[PATH_MAX];
    sigset_t all, before;

    snprintf(path, sizeof(path), "%s/in-circles.XXXXXX", scratch_folder());
    /* A signal that ended us now would leave the file behind. (O_TMPFILE makes
       one without a name, where the file system can.) */
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, &before))
        err(1, "blocking signals");
    int fd = mkostemp(path, O_CLOEXEC | flags);
    if (fd < 0 || unlink(path))
        err(1, "creating a scratch file %s", path);
    if (sigprocmask(SIG_SETMASK, &before, NULL))
        err(1, "letting signals in again");
    return fd;
}

static char dir[PATH_MAX]; /* Empty: there is none. */
static bool dir_stays;
static int dir_fd;
static sigset_t dir_signals; /* Those that were blocked before. */

static void remove_files(void)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    while (list && (entry = readdir(list)))
        unlinkat(dir_fd, entry->d_name, 0); /* Not "." and "..": EISDIR. */
    if (list)
        closedir(list);
    else if (fd >= 0)
        close(fd);
}

/* At the end, and where err() calls exit(). */
static void remove_dir(void)
{
    if (!dir[0])
        return;
    if (dir_stays) {
        printf("kept: %s\n", dir);
    } else {
        remove_files();
        if (rmdir(dir)) /* It must be empty. */
            warn("removing the scratch folder %s", dir);
    }
    dir[0] = '\0';
}

int scratch_dir(bool keep)
{
    static bool registered;
    char path[PATH_MAX];
    sigset_t all;

    if (!registered && atexit(remove_dir))
        errx(1, "atexit: no memory");
    registered = true;
    snprintf(path, sizeof(path), "%s/in-circles.XXXXXX", scratch_folder());
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, &dir_signals))
        err(1, "blocking signals");
    if (!mkdtemp(path))
        err(1, "creating a scratch folder %s", path);
    strcpy(dir, path);
    dir_stays = keep;
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        err(1, "opening the scratch folder %s", dir);
    return dir_fd;
}

void scratch_dir_close(void)
{
    remove_dir();
    if (close(dir_fd))
        err(1, "closing a scratch folder");
    if (sigprocmask(SIG_SETMASK, &dir_signals, NULL))
        err(1, "letting signals in again");
}
