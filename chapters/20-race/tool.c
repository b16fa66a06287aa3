/*
 * 20 · The race: other programs that help it, fio and gnuplot.
 */
#define _GNU_SOURCE
#include "tool.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* In the child. When the parent dies, so shall the tool: chapter 06. */
__attribute__((noreturn)) static void become(const char *const arguments[],
                                             int in, int out, pid_t parent)
{
    /* Where our stdin or stdout was closed, `in` or `out` may be that one. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
        fcntl(in, F_SETFD, 0) == 0 && fcntl(out, F_SETFD, 0) == 0 &&
        dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0)
        execvp(arguments[0], (char *const *)arguments);
    warn("running %s", arguments[0]);
    _exit(1); /* Not exit(): stdout's buffer is the parent's to print. */
}

char *tool_run(const char *const arguments[], int in)
{
    int ends[2], status;
    pid_t parent = getpid();

    if (pipe2(ends, O_CLOEXEC))
        err(1, "making a pipe");
    pid_t child = fork();
    if (child < 0)
        err(1, "forking for %s", arguments[0]);
    if (child == 0)
        become(arguments, in, ends[1], parent);
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
