/*
 * 15-listing · The listing that circulates, where it goes wrong
 *
 * Runs the listing at the head of the page, unchanged, once where all is well and
 * six times where something is not. Each time a child process runs it. The parent
 * reads what the listing says, looks into its memory for the truth, and sees how it
 * ends.
 *
 * Watch for: the first line, which is right. And where the listing says more than is
 * true, and says so with status 0.
 *
 * Build: cc -D_FILE_OFFSET_BITS=64 -Icommon \
 *           chapters/15-liburing-read/listing.c common/?*.c -luring -lz \
 *           -o 15-listing
 *
 * Needs: Linux 5.6, for IORING_OP_READ; liburing 2.3.
 * Manual pages: io_uring_get_sqe(3), io_uring_submit(3), io_uring_wait_cqe(3),
 *     setrlimit(2), setitimer(2), seccomp(2).
 */
#define _GNU_SOURCE /* pipe2() */
#include "args.h"
#include "ready.h"
#include "why.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct program program = {
    .name = "15-listing",
    .page = "15-liburing-read",
    .does = "Runs the listing that circulates where it goes wrong.",
    .ready = ready_uring_read,
};

enum { size = 4096, most = 9 };

/* The blocks. The child writes them and the parent looks at them: shared memory. */
static unsigned char (*data)[size];

static struct io_uring ring;

/* The listing, word for word. Its mistakes stay in. */
static void listing(int fd, int n)
{
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe;

    io_uring_queue_init(8, &ring, 0);
    for (int i = 0; i < n; i++) {
        sqe = io_uring_get_sqe(&ring);
        io_uring_prep_read(sqe, fd, data[i], size, (__u64)i * size);
        io_uring_sqe_set_data64(sqe, (__u64)i);
    }
    io_uring_submit(&ring);
    for (int i = 0; i < n; i++) {
        if (io_uring_wait_cqe(&ring, &cqe) < 0)
            perror("waiting");
        io_uring_cqe_seen(&ring, cqe);
        if (cqe->res < 0)
            perror("reading");
        else
            printf("block %u is there\n", (unsigned)cqe->user_data);
    }
}

/* A pipe, in a struct so that a function can return it. */
struct ends {
    int fd[2]; /* The end to read from, and the one to write to. */
};

static struct ends make_pipe(void)
{
    struct ends ends;

    if (pipe2(ends.fd, O_CLOEXEC))
        err(1, "making a pipe");
    return ends;
}

/* --- What may be otherwise ------------------------------------------------- */

/* Each of these changes one thing before the listing runs, and returns the descriptor
   that it shall read from. `fd` is a file with all the blocks. */

static int all_is_well(int fd)
{
    return fd;
}

/* Somebody cuts the file: it ends 100 bytes into block 3. */
static int cut_file(int fd)
{
    if (ftruncate(fd, 3 * size + 100))
        err(1, "cutting the file");
    return fd;
}

/* The end of a pipe that one can't read from. The reads fail with EBADF. */
static int not_to_be_read(int fd)
{
    (void)fd;
    return make_pipe().fd[1];
}

static void on_alarm(int signal)
{
    (void)signal;
}

/* Nobody writes into this pipe, so the read waits, and a timer sends signals. There
   is a handler for them, as most programs have one. A call that waits for completions
   is not restarted, and returns -EINTR. */
static int signal_in_wait(int fd)
{
    struct itimerval often = {{0, 10000}, {0, 10000}};

    (void)fd;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    return make_pipe().fd[0];
}

/* The ring needs a descriptor. All that the process may have are in use. */
static int no_descriptor(int fd)
{
    struct rlimit limit;
    int next = dup(fd); /* The lowest that is free. */

    if (next < 0 || close(next) || getrlimit(RLIMIT_NOFILE, &limit))
        err(1, "looking for a free descriptor");
    limit.rlim_cur = (rlim_t)next;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        err(1, "setting a limit of descriptors");
    return fd;
}

/* A kernel that is short of memory refuses a submit with EAGAIN. Here a seccomp
   filter does, to make it certain: io_uring_enter() with entries to submit, whose
   number is the second argument. A call that only waits may pass. */
static int refuse_submit(int fd)
{
    /* Its lower half: the filter looks at 32 bits at a time. */
    unsigned half = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[1]) + half),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog all = {sizeof(filter) / sizeof(*filter), filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all))
        err(1, "installing a seccomp filter");
    return fd;
}

static const struct situation {
    const char *name;
    int blocks; /* How many the listing is to read. */
    int (*arrange)(int fd);
    unsigned limit; /* Milliseconds. Whoever is not done by then is killed. */
} situations[] = {
    {"all is well", 4, all_is_well, 30000},
    {"nine blocks, eight entries", 9, all_is_well, 30000},
    {"the file ends in block 3", 4, cut_file, 30000},
    {"a descriptor for writing", 4, not_to_be_read, 30000},
    {"a signal while it waits", 1, signal_in_wait, 30000},
    {"no descriptor is free", 4, no_descriptor, 30000},
    {"the submit is refused", 4, refuse_submit, 500},
};

/* --- One run of the listing ------------------------------------------------ */

/* The file is all zeros, and the memory is not: a block that was not read is not
   right. */
static FILE *make_file(void)
{
    FILE *file = tmpfile();

    if (!file || ftruncate(fileno(file), most * size))
        err(1, "making a temporary file");
    memset(data, 0xff, most * size);
    return file;
}

static int count_right(int blocks)
{
    static const unsigned char zeros[size];
    int right = 0;

    for (int i = 0; i < blocks; i++)
        right += memcmp(data[i], zeros, size) == 0;
    return right;
}

/* A hang is an answer, too. Where the signal comes from this timer, the listing has
   waited for something that can't come. */
static void kill_after(unsigned milliseconds)
{
    struct sigevent how = {.sigev_notify = SIGEV_SIGNAL,
                           .sigev_signo = SIGKILL};
    struct itimerspec once = {
        .it_value = {milliseconds / 1000, milliseconds % 1000 * 1000000L}};
    timer_t timer;

    if (timer_create(CLOCK_MONOTONIC, &how, &timer) ||
        timer_settime(timer, 0, &once, NULL))
        err(1, "setting a timer");
}

/* The child. What it prints goes into the pipe, line by line, so that a crash does
   not take it along. It leaves no core file, and no process if the parent dies. */
static void run_listing(const struct situation *s, int fd, int to)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    signal(SIGSEGV, SIG_DFL); /* A sanitizer has a handler that tells. */
    if (dup2(to, STDOUT_FILENO) < 0 || dup2(to, STDERR_FILENO) < 0)
        err(1, "turning the output into the pipe");
    setvbuf(stdout, NULL, _IOLBF, 0);
    kill_after(s->limit);
    fd = s->arrange(fd);
    errno = 0; /* As in a program that has met no error yet. */
    listing(fd, s->blocks);
    _exit(0);
}

static void print_end(const struct situation *s, int status)
{
    if (WIFEXITED(status))
        printf("status %d\n", WEXITSTATUS(status));
    else if (WTERMSIG(status) == SIGKILL)
        printf("still waits after %.1f s\n", s->limit / 1000.0);
    else
        puts(strsignal(WTERMSIG(status)));
}

/* What the listing says, what is true, and how it ended. */
static void show(const struct situation *s, FILE *from, pid_t child)
{
    char line[200], said[200] = "";
    int there = 0, status;

    while (fgets(line, sizeof(line), from)) {
        there += strstr(line, " is there") != NULL;
        if (!said[0]) /* The first line is enough. */
            sscanf(line, "%[^\n]", said);
    }
    if (ferror(from))
        err(1, "reading what the listing says");
    if (there > 0)
        snprintf(said, sizeof(said), "%d blocks are there", there);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            err(1, "waiting for the listing");
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        errx(1, "%s: %s", s->name, said); /* It did not get to the listing. */
    printf("%-26s  %-19s  %d of %d  ", s->name, said[0] ? said : "nothing",
           count_right(s->blocks), s->blocks);
    print_end(s, status);
}

static void try_listing(const struct situation *s)
{
    FILE *file = make_file();
    struct ends ends = make_pipe();
    FILE *from = fdopen(ends.fd[0], "r");

    fflush(stdout); /* Else the child would print what is in it once more. */
    pid_t child = fork();
    if (!from || child < 0)
        err(1, "making a child%s", why_no_thread(errno));
    if (child == 0)
        run_listing(s, fileno(file), ends.fd[1]);
    if (close(ends.fd[1])) /* While it is open, the pipe has no end. */
        err(1, "closing the pipe");
    show(s, from, child);
    fclose(from);
    fclose(file);
}

int main(int argc, char **argv)
{
    args_parse(argc, argv, &program);
    ready_uring_read(NULL);
    data = mmap(NULL, sizeof(*data) * most, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        err(1, "mapping the blocks");

    printf("%-26s  %-19s  %-6s  %s\n", "", "it says", "true", "how it ends");
    for (size_t i = 0; i < sizeof(situations) / sizeof(*situations); i++)
        try_listing(&situations[i]);
    return 0;
}
