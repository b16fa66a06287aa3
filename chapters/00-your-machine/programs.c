/*
 * The programs that 00 asks: all that stand beside it, such as 13-uring-read.
 *
 * There is no list here of what each of them needs, which would be wrong one day. Each
 * program knows that itself.
 */
#define _GNU_SOURCE /* memrchr() */
#include "ask.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The book's programs begin with the number of their chapter. A build folder has other
   files, too, and none of those may be started by mistake. */
bool is_program(const char *name)
{
    return strspn(name, "0123456789") == 2 && name[2] == '-';
}

/* With --check a program only says whether this machine can show it. It does what its
   run would do first: it sets up a ring, makes a thread, reads with O_DIRECT. Our stderr
   is the pipe to whoever asks, and execl(3) leaves it open for the program. */
static void find_program(const struct question *q)
{
    char path[PATH_MAX];
    /* What --check prints on stdout is meant for whoever calls it by hand. It must not come
       between the lines of the verdict. */
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

    snprintf(path, sizeof(path), "%s/%s", q->path, q->name);
    if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0)
        err(1, "sending its output nowhere");
    execl(path, path, "--check", NULL);
    err(1, "running it");
}

static int is_entry(const struct dirent *entry)
{
    return is_program(entry->d_name);
}

/* We may have been started by a relative path, by a link, or through PATH. So argv[0] may
   not lead here, and the kernel is asked, who knows what it runs.

   Find the folder that this program is in, and return the program's name in there. */
static const char *own_folder(char path[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    char *slash = length < 0 ? NULL : memrchr(path, '/', (size_t)length);

    if (!slash)
        err(1, "asking where this program is: /proc/self/exe");
    path[length] = *slash = '\0';
    return slash + 1;
}

/* In the order of the alphabet, which is that of the chapters. So two runs can be
   compared. We do not ask ourselves: that would never end.

   What `entries` points to stays: the questions have the names in there. */
unsigned list_programs(struct question *questions, int most)
{
    static char folder[PATH_MAX];
    const char *self = own_folder(folder);
    struct dirent **entries;
    unsigned count = 0;
    int n = scandir(folder, &entries, is_entry, alphasort);

    if (n < 0)
        err(1, "listing %s", folder);
    if (n > most)
        errx(1, "%d programs in %s: more than %d", n, folder, most);
    for (int i = 0; i < n; i++) {
        if (strcmp(entries[i]->d_name, self) == 0)
            free(entries[i]);
        else
            questions[count++] = (struct question){.name = entries[i]->d_name,
                                                   .find_out = find_program,
                                                   .path = folder};
    }
    free(entries);
    return count;
}
