/*
 * 00 · Your machine
 *
 * Says which programs of this book this machine can show, and what helps with the
 * rest. It does not look up what a kernel of this release should have. It tries.
 *
 * Watch for: who is asked, and where. Each program beside this one is asked by itself,
 * in a process of its own, because some answers kill whoever asks.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/00-your-machine/?*.c common/?*.c -lz \
 *           -o 00-your-machine
 *
 * Needs: any Linux.
 * Manual pages: fork(2), pipe(7), waitpid(2), prctl(2), seccomp(2), io_uring_setup(2).
 */
#define _GNU_SOURCE /* pipe2() */
#include "ask.h"

#include "args.h"
#include "blocks.h"
#include "why.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned all;

static const struct program program = {
    .name = "00-your-machine",
    .does =
        "Says which programs this machine can show, and what helps with the "
        "rest.",
    .takes_file = true,
    .options =
        (const struct program_option[]){
            OPTION_SWITCH("all", "all that it can find out", &all), OPTION_END},
};

enum {
    PATIENCE = 10,      /* Seconds for an answer. */
    TRIES = 6,          /* Where memory is short. */
    NAP = 50 * 1000000, /* Nanoseconds between two of them. */
    MOST = 128          /* Questions. */
};

/* --- Asking, in a child ---------------------------------------------------- */

/* This is the child. Its stderr is the pipe, so what it prints there is its answer.
   What it tries may go wrong in any way, and that must harm nobody else:

   It must not live on when we are gone. The kernel kills it when its parent dies. If
   the parent died before the kernel was asked to, there is another parent by now.

   It must not take for ever. An alarm that nobody handles kills, and execve(2) leaves
   it on. But execve(2) also leaves a signal ignored or blocked that was so before. So
   both are undone first.

   It must leave nothing behind. A process that SIGSYS kills would write a core file.
   And what it has started is in a process group with it, so we can end them all. */
__attribute__((noreturn)) static void answer(const struct question *question,
                                             int pipe_end, pid_t parent)
{
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    setpgid(0, 0);
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(PATIENCE);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    /* The copy that dup2(2) makes is not closed by execve(2), as the pipe is. */
    if (dup2(pipe_end, STDERR_FILENO) < 0)
        _exit(1);
    question->find_out(question);
    _exit(0);
}

static int64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Read until the pipe ends, whether or not there is room. A pipe holds 64 KiB. If
   we stopped reading, or waited for the child first, a child with more to say would
   wait for us, and we for the child.

   The pipe ends when nobody can write to it any more. That may be long after the child
   has ended: what it has started holds the pipe as well. So there is a limit, a second
   after the child's own. Returns whether the pipe has ended by then. */
static bool listen_to(int pipe_end, char text[TEXT])
{
    struct pollfd from = {.fd = pipe_end, .events = POLLIN};
    int64_t end = milliseconds() + (PATIENCE + 1) * 1000, left;
    char rest[TEXT];
    size_t used = 0;
    bool ended = false;

    while (!ended && (left = end - milliseconds()) > 0) {
        bool room = used < TEXT - 1;
        ssize_t n = poll(&from, 1, (int)left);
        if (n > 0) {
            n = read(pipe_end, room ? text + used : rest,
                     room ? TEXT - 1 - used : TEXT);
            ended = n == 0;
        }
        if (n < 0 && errno != EINTR)
            err(1, "reading an answer");
        if (room && n > 0)
            used += (size_t)n;
    }
    text[used] = '\0';
    return ended;
}

static bool is_program(const char *name)
{
    return strspn(name, "0123456789") == 2 && name[2] == '-';
}

/* What a child has said: a reason in the first line, what helps in the second. A program
   begins its first line with its name. */
static void take_words(struct question *q)
{
    char *save = NULL;

    q->reason = strtok_r(q->text, "\n", &save);
    q->remedy = strtok_r(NULL, "\n", &save);
    if (q->reason && is_program(q->reason) && strstr(q->reason, ": "))
        q->reason = strstr(q->reason, ": ") + 2;
}

/* A signal has ended it. Then what it said before is not the reason. */
static void explain_death(struct question *q, int killer)
{
    q->reason = killer == SIGSYS    ? "a seccomp filter kills it (SIGSYS)"
                : killer == SIGALRM ? "it does not come to an end"
                                    : strsignal(killer);
    q->remedy = killer == SIGSYS ? CONTAINER_WAY_OUT : NULL;
}

/* How the child has ended says what its words mean. There are three ways:

   - It returned, with status 0: yes.

   - It returned, with another status: no. 77 says that a reason and a remedy are there.
     Any other number is a no as well. A policy may answer in a way that nobody has
     thought of, and then a program ends with a plain error. That error is the reason.

   - A signal killed it: no. WEXITSTATUS() means nothing then, and happens to be 0. So
     look for a signal first. SIGSYS is the one that a seccomp filter kills with. */
static void judge(struct question *q, int status, bool late)
{
    int killer = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    bool explained = !killer && WEXITSTATUS(status) == EXIT_CANNOT_SHOW;

    take_words(q);
    q->yes = !killer && WEXITSTATUS(status) == 0;
    if (q->yes)
        return;
    if (!explained) /* The second line of a plain error is no remedy. */
        q->remedy =
            why_filtered() ? FILTER_IN_FORCE " " CONTAINER_WAY_OUT : NULL;
    if (killer)
        explain_death(q, late && killer == SIGKILL ? SIGALRM : killer);
    if (!q->reason)
        q->reason = "it ended with an error, and gave no reason";
}

/* The life of a question. We make a pipe, and a child that has its other end. The child
   tries, and talks into the pipe. It ends, of its own will or not. With it ends the
   pipe, so we have heard all. Only then we wait for the child, which tells how it ended.

   If no child can be made, that is a no, too. Then the reason is ours. */
static void ask_once(struct question *q)
{
    int ends[2], status;
    pid_t parent = getpid();

    args_flush(); /* Else the child has a copy of what is not printed yet. */
    if (pipe2(ends, O_CLOEXEC))
        err(1, "making a pipe to ask %s", q->name);
    pid_t child = fork();
    if (child == 0)
        answer(q, ends[1], parent);
    if (child < 0) {
        snprintf(q->text, TEXT, "making a process: %s%s", strerror(errno),
                 why_no_thread(errno));
        take_words(q);
        close(ends[0]);
        close(ends[1]);
        return;
    }
    /* While we hold that end open, the pipe does not end. */
    if (close(ends[1]))
        err(1, "closing our end of the pipe to %s", q->name);
    bool late = !listen_to(ends[0], q->text);
    close(ends[0]);
    if (late) /* The child, and all that it has started. */
        kill(-child, SIGKILL);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            err(1, "waiting for %s", q->name);
    judge(q, status, late);
}

/* The kernel takes some time to give the memory of a closed ring back. Until then it
   counts against the memlock limit. So what was asked last can take the memory away
   from what is asked now. That no would be false. */
void ask(struct question *q)
{
    ask_once(q);
    for (int i = 1; i < TRIES && !q->yes && strstr(q->reason, strerror(ENOMEM));
         i++) {
        nanosleep(&(struct timespec){.tv_nsec = NAP}, NULL);
        ask_once(q);
    }
}

/* --- Whom to ask ------------------------------------------------------------ */

/* With --check a program only says whether this machine can show it. It does what its
   run would do first: it sets up a ring, makes a thread, reads with O_DIRECT. So there
   is no list here of what each of them needs, which would be wrong one day. */
static void find_program(const struct question *q)
{
    char path[PATH_MAX];
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

/* A question for each program in this one's folder, and two about the file. Returns
   how many programs there are. */
static unsigned list_questions(struct question questions[MOST],
                               const char *file)
{
    static char self[PATH_MAX];
    struct dirent **found;
    unsigned count = 0;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash = length < 0 ? NULL : memrchr(self, '/', (size_t)length);

    if (!slash)
        err(1, "asking where this program is: /proc/self/exe");
    *slash = '\0';
    int n = scandir(self, &found, is_entry, alphasort);
    if (n < 0)
        err(1, "listing %s", self);
    for (int i = 0; i < n && count < MOST - OF_FILE; i++) {
        if (strcmp(found[i]->d_name, slash + 1) == 0)
            free(found[i]);
        else
            questions[count++] = (struct question){.name = found[i]->d_name,
                                                   .find_out = find_program,
                                                   .path = self};
    }
    questions[count] = (struct question){
        .name = "cold reads", .find_out = find_cold, .path = file};
    questions[count + 1] = (struct question){
        .name = "direct reads", .find_out = find_direct, .path = file};
    free(found);
    return count;
}

/* What whoever started us has left us may not be what we count on. With SIGCHLD ignored
   there is nobody to wait for: waitpid(2) fails with ECHILD. And where one of the
   first three descriptors is closed, a pipe would get its number. (Read only: that the
   output can't be written is still found out.) */
static void begin_clean(void)
{
    int fd;

    signal(SIGCHLD, SIG_DFL);
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    static struct question questions[MOST];
    struct args args = args_parse(argc, argv, &program);
    const char *file = args.file;
    off_t size;

    begin_clean();
    /* That there is no sample file yet is one more thing to say. Any other file was
       asked for, and has to be there. */
    if (!args.sample || access(args.file, F_OK) == 0)
        close(blocks_open_file(args.file, args.sample, &size));
    else
        file = NULL;
    unsigned programs = list_questions(questions, file);
    for (unsigned i = 0; i < programs + OF_FILE; i++)
        ask(&questions[i]);
    verdict(questions, programs, args.file, all);
    if (all)
        report(file);
    return 0;
}
