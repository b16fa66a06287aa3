/*
 * 20 · The race: other programs that help it, fio and gnuplot.
 */
#define _GNU_SOURCE
#include "tool.h"

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

static char *read_all(int fd, const char *name)
{
    FILE *stream = fdopen(fd, "r");
    char *text = NULL;
    size_t room = 0;

    if (!stream)
        err(1, "reading what %s says", name);
    ssize_t n = getdelim(&text, &room, '\0', stream); /* To the end. */
    if (n < 0 && ferror(stream))
        err(1, "reading what %s says", name);
    if (n < 0) { /* It says nothing. */
        free(text);
        text = strdup("");
    }
    if (!text || fclose(stream))
        err(1, "reading what %s says", name);
    return text;
}

char *tool_run(const char *const arguments[], int in)
{
    posix_spawn_file_actions_t actions;
    int ends[2], status, error;
    pid_t child;

    if (pipe2(ends, O_CLOEXEC))
        err(1, "making a pipe");
    if ((error = posix_spawn_file_actions_init(&actions)) ||
        (error = posix_spawn_file_actions_adddup2(&actions, in, 0)) ||
        (error = posix_spawn_file_actions_adddup2(&actions, ends[1], 1)) ||
        (error = posix_spawnp(&child, arguments[0], &actions, NULL,
                              (char *const *)arguments, environ)))
        errx(1, "running %s: %s", arguments[0], strerror(error));
    posix_spawn_file_actions_destroy(&actions);
    if (close(ends[1]))
        err(1, "closing a pipe");

    char *text = read_all(ends[0], arguments[0]);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            err(1, "waiting for %s", arguments[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        errx(1, "%s has failed%s%.200s", arguments[0], *text ? ": " : "", text);
    return text;
}
