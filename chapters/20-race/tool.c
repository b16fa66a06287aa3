/*
 * 20 · The race: other programs that help it, fio and gnuplot.
 */
#define _GNU_SOURCE
#include "tool.h"

#include "scratch.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

bool tool_exists(const char *name)
{
    const char *path = getenv("PATH");
    char file[4096];

    for (; path && *path; path += *path == ':') {
        int length = (int)strcspn(path, ":");
        snprintf(file, sizeof(file), "%.*s/%s", length, path, name);
        if (length > 0 && access(file, X_OK) == 0)
            return true;
        path += length;
    }
    return false;
}

static void write_all(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left > 0) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno != EINTR)
            err(1, "writing a scratch file");
        text += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    if (lseek(fd, 0, SEEK_SET))
        err(1, "rewinding a scratch file");
}

static char *read_all(int fd, const char *name)
{
    size_t length = 0, room = 1 << 16;
    char *text = malloc(room);

    for (;;) {
        if (text && length + 1 == room)
            text = realloc(text, room *= 2);
        if (!text)
            err(1, "allocating what %s says", name);
        ssize_t n = read(fd, text + length, room - 1 - length);
        if (n < 0 && errno != EINTR)
            err(1, "reading what %s says", name);
        if (n == 0)
            break;
        length += n > 0 ? (size_t)n : 0;
    }
    text[length] = '\0';
    return text;
}

char *tool_run(const char *const arguments[], const char *input, int fd)
{
    posix_spawn_file_actions_t actions;
    int in = scratch_open(0), ends[2], status, error;
    pid_t child;

    write_all(in, input);
    if (pipe2(ends, O_CLOEXEC))
        err(1, "making a pipe");
    if ((error = posix_spawn_file_actions_init(&actions)) ||
        (error = posix_spawn_file_actions_adddup2(&actions, in, 0)) ||
        (error = posix_spawn_file_actions_adddup2(&actions, ends[1], 1)) ||
        (fd >= 0 &&
         (error = posix_spawn_file_actions_adddup2(&actions, fd, 3))) ||
        (error = posix_spawnp(&child, arguments[0], &actions, NULL,
                              (char *const *)arguments, environ)))
        errx(1, "running %s: %s", arguments[0], strerror(error));
    posix_spawn_file_actions_destroy(&actions);
    if (close(ends[1]) || close(in))
        err(1, "closing a pipe");

    char *text = read_all(ends[0], arguments[0]);
    if (close(ends[0]))
        err(1, "closing a pipe");
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            err(1, "waiting for %s", arguments[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        errx(1, "%s has failed%s%.200s", arguments[0], *text ? ": " : "", text);
    return text;
}
